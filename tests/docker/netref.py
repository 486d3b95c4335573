"""Containers on a network of their own, for tests of network faults: an application that says what it feels.

Each `app` container keeps one connection to `db` and opens new ones, asks a neighbour that no fault may touch, and
looks its names up; every outcome is a line of its log.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from faultload.faults import fault_for
from faultload.faults.base import FaultRequest, PlatformFault
from faultload.faults.network.docker_agents import SITE_LABEL
from faultload.platforms.docker import image as helper_image
from faultload.spec.target import TargetFile, target_from_json

PORT = 8080
_LINES_PER_S = 100
"""More than an application says: it has five loops, each with a pause of at least 0.05 s."""

_SERVER = """
import socketserver, socket
class Talk(socketserver.StreamRequestHandler):
    def handle(self):
        while (line := self.rfile.readline()):
            length = 0
            while (header := self.rfile.readline()) not in (b"\\r\\n", b""):
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            self.rfile.read(length)
            method, path = line.split()[:2]
            body = b"x" * (int(path.rpartition(b"/")[2]) if path.startswith(b"/bytes/") else 2)
            head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
            self.wfile.write(head + (b"" if method == b"HEAD" else body))
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128
    address_family = socket.AF_INET6
Server(("::", 8080), Talk).serve_forever()
"""

_APP = """
import json, os, socket, struct, sys, threading, time
DB, OTHER, PORT = sys.argv[1], sys.argv[2], 8080
lock = threading.Lock()
def say(kind, began, outcome, **more):
    line = json.dumps({"t": began, "kind": kind, "outcome": outcome, "ms": (time.time() - began) * 1000, **more})
    with lock:
        print(line, flush=True)
def answer(sock, stream):
    status = int(stream.readline().split()[1])
    length = 0
    while (header := stream.readline()) not in (b"\\r\\n", b""):
        if header.lower().startswith(b"content-length:"):
            length = int(header.split(b":")[1])
    stream.read(length)
    return status
def name_of(error):
    return {ConnectionResetError: "reset", ConnectionRefusedError: "refused", TimeoutError: "timeout",
            BrokenPipeError: "reset", IndexError: "closed"}.get(type(error), type(error).__name__)
def kept(idle):
    number = 0
    while True:
        number += 1
        began = time.time()
        try:
            with socket.create_connection((DB, PORT), 5.0) as sock:
                sock.settimeout(60)
                stream = sock.makefile("rb")
                while True:
                    began = time.time()
                    sock.sendall(b"GET / HTTP/1.1\\r\\nHost: db\\r\\n\\r\\n")
                    status = answer(sock, stream)
                    resent = struct.unpack_from("I", sock.getsockopt(6, socket.TCP_INFO, 104), 100)[0]
                    say("idle" if idle else "kept", began, "ok", connection=number, status=status, resent=resent)
                    time.sleep(0.05)
                    if idle:
                        sock.settimeout(None)
                        sock.recv(1)
                        raise ConnectionResetError
        except (OSError, IndexError) as error:
            say("idle" if idle else "kept", time.time() if idle else began, name_of(error), connection=number)
            time.sleep(0.05)
def fresh(kind, host, timeout_s):
    while True:
        began = time.time()
        try:
            with socket.create_connection((host, PORT), timeout_s) as sock:
                sock.sendall(b"GET / HTTP/1.1\\r\\nHost: db\\r\\n\\r\\n")
                say(kind, began, "ok", status=answer(sock, sock.makefile("rb")))
        except (OSError, IndexError) as error:
            say(kind, began, name_of(error))
        time.sleep(0.1)
def names():
    while True:
        began = time.time()
        try:
            socket.getaddrinfo(sys.argv[3], PORT, socket.AF_INET)
            say("name", began, "ok")
        except OSError as error:
            say("name", began, "unknown")
        time.sleep(0.1)
loops = (kept, False), (kept, True), (fresh, "new", DB, 1.0), (fresh, "other", OTHER, 10.0), (names,)
for loop, *given in loops:
    threading.Thread(target=loop, args=given).start()
"""

_MOVE = """
import socket, sys, time
host, way, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
with socket.create_connection((host, 8080), 30) as sock:
    began = time.time()
    if way == "down":
        sock.sendall(b"GET /bytes/%d HTTP/1.1\\r\\nHost: db\\r\\n\\r\\n" % size)
        got = 0
        while got < size:
            got += len(sock.recv(65536))
    else:
        sock.sendall(b"POST / HTTP/1.1\\r\\nHost: db\\r\\nContent-Length: %d\\r\\n\\r\\n" % size + b"x" * size)
        sock.recv(100)
    print(size / (time.time() - began))
"""


class Town:
    """The containers, and what their applications felt."""

    clients = ("app1", "app2")

    def __init__(self, client: Any) -> None:
        self.client = client
        self.suffix = f"faultload-test-{uuid.uuid4().hex[:8]}"
        self.image = helper_image.ensure(client)
        self.network = client.networks.create(self.suffix, driver="bridge", labels={"faultload-test": self.suffix})
        self.all: dict[str, Any] = {}
        self._beside: dict[tuple[str, str], Any] = {}
        try:
            for name in ("db", "other"):
                self.all[name] = self.run(name, name, ["python3", "-c", _SERVER])
            for name in self.clients:
                self.all[name] = self.another(name)
            for name in self.clients:
                self.wait(name, lambda events: {"kept", "idle", "new", "other", "name"} <= oks(events))
        except BaseException:
            self.down()
            raise

    def run(self, name: str, role: str, argv: list[str], **more: Any) -> Any:
        made = self.client.containers.run(
            self.image,
            argv,
            name=f"{self.suffix}-{name}",
            detach=True,
            network=self.suffix,
            labels={"faultload-test": self.suffix, "role": role},
            dns_opt=["timeout:1", "attempts:1"],
            stop_signal="SIGKILL",
            **more,
        )
        made.reload()
        return made

    def another(self, name: str) -> Any:
        """One more `app` container."""
        argv = ["python3", "-uc", _APP, self.address("db"), self.address("other"), f"{self.suffix}-db"]
        return self.run(name, "app", argv)

    def helpers(self) -> list[Any]:
        """The helper containers in these containers' networks."""
        mine = {one.id for one in self.all.values()}
        found = self.client.containers.list(all=True, filters={"label": SITE_LABEL}, ignore_removed=True)
        return [one for one in found if one.labels[SITE_LABEL] in mine]

    def address(self, name: str) -> str:
        return str(self.all[name].attrs["NetworkSettings"]["Networks"][self.suffix]["IPAddress"])

    def down(self) -> None:
        for one in self.client.containers.list(all=True, filters={"label": f"faultload-test={self.suffix}"}):
            one.remove(force=True)
        self.network.remove()

    def target(self, *, second: bool = False) -> TargetFile:
        where = {"faultload-test": self.suffix}
        return target_from_json(
            {
                "id": f"docker:{self.suffix}",
                "name": "town",
                "platform": "docker",
                "services": {
                    "app": {"labels": {**where, "role": "app"}},
                    "db": {"labels": {**where, "role": "db"}, "port": PORT},
                    "other": {"labels": {**where, "role": "other"}, "port": PORT},
                },
                "links": {
                    "app -> db": {"protocol": "http"},
                    **({"app -> other": {"protocol": "http"}} if second else {}),
                },
            }
        )

    def events(self, name: str, since: float | None = None) -> list[dict[str, Any]]:
        """What an application felt of what it began since then; of the last minute when left out."""
        since = time.time() - 60 if since is None else since
        last = int(_LINES_PER_S * (time.time() - since + 5.0))  # the engine would read the whole log to find a time
        lines = self.all[name].logs(stdout=True, stderr=True, since=int(since), tail=last).decode().splitlines()
        assert len(lines) < last, f"{name} says more than {_LINES_PER_S} lines a second"
        return [event for line in lines if (event := json.loads(line))["t"] >= since]

    def wait(self, name: str, for_: Callable[[list[dict[str, Any]]], bool], since: float | None = None) -> None:
        deadline = time.monotonic() + 30
        while not for_(self.events(name, since)):
            assert time.monotonic() < deadline, self.events(name, since)[-20:]
            time.sleep(0.1)

    def inside(self, name: str, *argv: str) -> str:
        """What a command says in the network namespace of a container, from a container beside it."""
        found = self.all[name]
        found.reload()
        place = (found.id, found.attrs["State"]["StartedAt"])
        if place not in self._beside:
            self._beside[place] = self.client.containers.run(
                self.image,
                ["sleep", "infinity"],
                detach=True,
                network_mode=f"container:{found.id}",
                cap_add=["NET_ADMIN"],
                labels={"faultload-test": self.suffix},
            )
        done = self._beside[place].exec_run(list(argv), stderr=False)
        assert done.exit_code == 0, done.output
        return str(done.output.decode())

    def rules(self, name: str) -> str:
        """All rules and qdiscs of a container's network; there is a qdisc always, though the engine may lose it."""
        for _ in range(5):
            if said := self.inside(name, "sh", "-c", "nft list tables; tc qdisc show; tc class show dev eth0"):
                return said
        raise AssertionError(f"{name}: no rule and no qdisc at all")

    def bytes_per_s(self, name: str, way: str, size: int) -> float:
        """How fast an application's bytes go to `db` (`up`) or come from there (`down`)."""
        done = self.all[name].exec_run(["python3", "-c", _MOVE, self.address("db"), way, str(size)])
        assert done.exit_code == 0, done.output
        return float(done.output)


def oks(events: list[dict[str, Any]]) -> set[str]:
    return {event["kind"] for event in events if event["outcome"] == "ok"}


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == kind]


class Made:
    """A fault that was injected, and undone as another process would: from JSON alone."""

    def __init__(self, target: TargetFile, word: str, arguments: dict[str, Any], duration_s: float) -> None:
        self.target = target
        self.request = FaultRequest(f"{word}-{uuid.uuid4().hex[:6]}#1@test", word, arguments, duration_s)
        self.handler = fault_for(target, self.request)
        self.instances = self.handler.resolve()
        self.handler.prepare(self.instances)
        self.plan = json.loads(json.dumps(self.handler.undo_plan(self.instances)))

    def inject(self) -> None:
        self.asked = time.time()
        self.handler.inject(self.instances, self.plan)
        self.at = time.time()

    def elsewhere(self) -> PlatformFault:
        target = target_from_json(json.loads(json.dumps(self.target.to_json())))
        return fault_for(target, FaultRequest.from_json(json.loads(json.dumps(self.request.to_json()))))

    def undo(self) -> None:
        self.elsewhere().undo(self.instances, self.plan)

    def gone(self) -> Any:
        return self.elsewhere().gone(self.instances, self.plan)


@contextmanager
def made(target: TargetFile, word: str, arguments: dict[str, Any], duration_s: float = 40.0) -> Iterator[Made]:
    """A fault while it is there; undone whatever happens."""
    fault = Made(target, word, arguments, duration_s)
    try:
        fault.inject()
        yield fault
    finally:
        fault.undo()
