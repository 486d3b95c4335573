"""The network agent in two namespaces joined by a cable, without any container engine; IPv4 and IPv6."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from faultload.agents.network import nftables
from faultload.agents.network.spec import Flow, Spec

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(name) is None for name in ("unshare", "nsenter", "ip", "tc", "nft")),
    reason="needs root, nftables and iproute2 to make network namespaces",
)
PORT = 8080
FAMILIES = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd09::1", "fd09::2")}
_SERVER = """
import socket, socketserver
class Talk(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline():
            while self.rfile.readline() not in (b"\\r\\n", b""):
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    address_family = socket.AF_INET6
server = Server(("::", 8080), Talk)
print("ready", flush=True)
server.serve_forever()
"""


class Cable:
    """A client's and a server's namespace."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen[str]] = []
        self.pids = [self._start(["unshare", "-n", "sleep", "600"]).pid for _ in range(2)]
        deadline = time.monotonic() + 10
        mine = Path("/proc/self/ns/net").readlink()
        while any(Path(f"/proc/{pid}/ns/net").readlink() == mine for pid in self.pids):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        name = uuid.uuid4().hex[:8]
        ends = [f"fl{name}{end}" for end in "ab"]
        run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for index, (end, pid) in enumerate(zip(ends, self.pids, strict=True)):
            run("ip", "link", "set", end, "netns", str(pid), "name", "eth0")
            self.inside(index, "ip", "link", "set", "lo", "up")
            self.inside(index, "ip", "addr", "add", f"{FAMILIES[4][index]}/24", "dev", "eth0")
            self.inside(index, "ip", "addr", "add", f"{FAMILIES[6][index]}/64", "dev", "eth0", "nodad")
            self.inside(index, "ip", "link", "set", "eth0", "up")
        server = self._start(["nsenter", "-t", str(self.pids[1]), "-n", sys.executable, "-c", _SERVER])
        assert server.stdout is not None and server.stdout.readline() == "ready\n"

    def _start(self, argv: list[str]) -> subprocess.Popen[str]:
        self.children.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        return self.children[-1]

    def inside(self, index: int, *argv: str) -> str:
        return run("nsenter", "-t", str(self.pids[index]), "-n", *argv)

    def rules(self, index: int = 0) -> str:
        return self.inside(index, "sh", "-c", "nft --stateless list ruleset; tc qdisc show; tc class show dev eth0")

    def connect(self, family: int, timeout_s: float = 1.0) -> socket.socket:
        """A connection from the client's namespace, held by this process: a socket keeps its namespace."""
        made: list[Any] = []

        def within() -> None:
            from faultload.agents.network.namespace import enter

            enter(self.pids[0])
            try:
                made.append(socket.create_connection((FAMILIES[family][1], PORT), timeout_s))
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=within)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def agent(self, spec: Spec, do: str, *more: str, index: int = 0) -> dict[str, Any]:
        done = subprocess.run(self.argv(spec, do, *more, index=index), capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def argv(self, spec: Spec, do: str, *more: str, index: int = 0) -> list[str]:
        module = [sys.executable, "-m", "faultload.agents.network.agent"]
        return [*module, "--netns", str(self.pids[index]), "--spec", spec.text(), do, *more]

    def order(self, spec: Spec, do: str) -> dict[str, Any]:
        return self.agent(spec, "ask", json.dumps({"do": do}))

    @contextmanager
    def serving(self, spec: Spec) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
        """An agent that has prepared; it is told to end whatever happens."""
        child = self._start(self.argv(spec, "serve"))
        assert child.stdout is not None
        try:
            yield child, json.loads(child.stdout.readline())
        finally:
            child.terminate()
            child.wait(20)
            self.agent(spec, "clean")

    def end(self) -> None:
        for child in reversed(self.children):
            child.kill()
            child.wait(10)


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    made = Cable()
    try:
        yield made
    finally:
        made.end()


def spec(word: str, family: int = 4, duration_s: float = 30.0, **arguments: Any) -> Spec:
    flow = Flow("client", PORT, "http", (FAMILIES[family][1],))
    return Spec(f"{word}-{uuid.uuid4().hex[:6]}#1@test", word, (flow,), arguments, duration_s)


def talks(connection: socket.socket, timeout_s: float = 1.0) -> bool:
    connection.settimeout(timeout_s)
    connection.sendall(b"HEAD / HTTP/1.1\r\n\r\n")
    try:
        return connection.recv(100).startswith(b"HTTP/1.1 200")
    except TimeoutError:
        return False


def test_a_loss_of_all_packets_lets_nothing_through(cable: Cable) -> None:
    before = cable.rules()
    fault = spec("loss", share=1.0)
    with cable.connect(4) as connection, cable.serving(fault) as (_, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        assert cable.order(fault, "witness")["seen"]
        assert not talks(connection)
        assert cable.order(fault, "undo") == {"state": "undone", "left": []}
    assert cable.rules() == before


def test_probes_get_through_a_firewall_that_knows_connections(cable: Cable) -> None:
    """It drops answers that belong to no connection, as kube-proxy's rules do, and these come one by one."""
    wall = "table inet wall { chain coming { type filter hook input priority 0; ct state invalid drop; }; }"
    slow = ("tbf", "rate", "200kbit", "burst", "2kb", "latency", "1s")
    cable.inside(0, "nft", wall)
    cable.inside(1, "tc", "qdisc", "add", "dev", "eth0", "root", *slow)
    try:
        with cable.serving(spec("loss", share=0.5)) as (_, ready):
            assert ready == {"ready": {"lost": 0.0}}
    finally:
        cable.inside(0, "nft", "delete", "table", "inet", "wall")
        cable.inside(1, "tc", "qdisc", "del", "dev", "eth0", "root")


@pytest.mark.parametrize("family", [4, pytest.param(6, marks=pytest.mark.long)])
def test_a_partition_holds_what_is_sent_and_delivers_it_at_its_end(cable: Cable, family: int) -> None:
    before = cable.rules()
    fault = spec("partition", family)
    with cable.connect(family) as connection, cable.serving(fault) as (_, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        assert cable.order(fault, "witness")["seen"]
        assert not talks(connection)
        with pytest.raises(TimeoutError):
            cable.connect(family)
        assert cable.order(fault, "undo") == {"state": "undone", "left": []}
        connection.settimeout(10)
        assert connection.recv(100).startswith(b"HTTP/1.1 200"), "what was held arrives"
        assert cable.rules() == before
        assert cable.order(fault, "undo") == {"state": "undone", "left": []}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_idle_connection_is_reset_without_saying_a_word(cable: Cable, family: int) -> None:
    fault = spec("reset_connections", family)
    with cable.connect(family) as idle, cable.serving(fault) as (_, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        idle.settimeout(5)
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
        with cable.connect(family) as fresh:
            assert talks(fresh)
        deadline = time.monotonic() + 5
        while len(established := cable.inside(1, "ss", "-Htn", "state", "established").splitlines()) > 1:
            assert time.monotonic() < deadline, f"the server's end still lives: {established}"
            time.sleep(0.1)


@pytest.mark.parametrize("family", [pytest.param(4, marks=pytest.mark.long), 6])
def test_latency_by_proxy_leaves_connections_outside_the_link_alone(cable: Cable, family: int) -> None:
    before = cable.rules()
    fault = spec("latency", family, delay_ms=120.0)
    with cable.serving(fault) as (_, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        assert cable.order(fault, "witness")["seen"]
        with cable.connect(family) as slow:
            started = time.monotonic()
            assert talks(slow)
            assert time.monotonic() - started >= 0.12
            with cable.connect(10 - family) as other:
                assert talks(other)
            assert cable.order(fault, "undo")["left"] == []
            assert cable.agent(fault, "look", json.dumps(ready["ready"]))["seen"]
        assert cable.rules() == before


def test_a_connection_that_is_busy_when_latency_ends_gets_its_answer(cable: Cable) -> None:
    fault = spec("latency", delay_ms=400.0)
    with cable.serving(fault) as (_, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        with cable.connect(4) as slow:
            slow.sendall(b"HEAD / HTTP/1.1\r\n\r\n")
            assert cable.order(fault, "undo") == {"state": "undone", "left": []}
            slow.settimeout(5)
            assert slow.recv(100).startswith(b"HTTP/1.1 200")


def test_sigterm_takes_the_fault_away(cable: Cable) -> None:
    before = cable.rules()
    fault = spec("bandwidth", bytes_per_s=200_000)
    with cable.serving(fault) as (agent, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        assert "504d" in cable.rules()
        agent.terminate()
        assert agent.wait(20) == 0
        assert cable.rules() == before


def test_an_agent_ends_by_itself_shortly_after_the_duration(cable: Cable) -> None:
    before = cable.rules()
    flow = Flow("client", PORT, "http", (FAMILIES[4][1],))
    fault = Spec(f"short-{uuid.uuid4().hex}", "partition", (flow,), {}, 0.5, 0.5)
    with cable.serving(fault) as (agent, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        assert agent.wait(20) == 0
        assert cable.rules() == before


def test_rules_of_a_killed_agent_are_cleaned_and_expire_by_themselves(cable: Cable) -> None:
    before = cable.rules()
    flow = Flow("client", PORT, "http", (FAMILIES[4][1],))
    fault = Spec(f"killed-{uuid.uuid4().hex}", "partition", (flow,), {}, 1.0, 1.0)
    with cable.serving(fault) as (agent, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        agent.send_signal(signal.SIGKILL)
        agent.wait(20)
        with pytest.raises(TimeoutError):
            cable.connect(4, 0.5)
        deadline = time.monotonic() + 15
        while True:
            try:
                cable.connect(4).close()
                break
            except TimeoutError:
                assert time.monotonic() < deadline, "the kernel did not end it"
        assert fault.table in cable.rules()
        assert cable.agent(fault, "look")["left"] == [f"table {fault.table}"]
        assert cable.agent(fault, "clean") == {"left": []}
        assert cable.rules() == before
        assert cable.agent(fault, "clean") == {"left": []}


def test_latency_of_a_killed_agent_does_not_become_an_outage(cable: Cable) -> None:
    """Its redirect would lead to a proxy that is dead: the rules go with the agent."""
    fault = spec("latency", duration_s=600.0, delay_ms=120.0)
    with cable.serving(fault) as (agent, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        agent.send_signal(signal.SIGKILL)
        agent.wait(20)
        with _connected_again(cable) as connection:
            assert talks(connection), "past where the proxy was"


def _connected_again(cable: Cable) -> socket.socket:
    deadline = time.monotonic() + 30
    while True:
        try:
            return cable.connect(4)
        except OSError:
            assert time.monotonic() < deadline, "the rules outlive their agent"
            time.sleep(0.1)


@pytest.mark.long
def test_a_fault_lasts_longer_than_the_lease_of_its_rules_while_its_agent_lives(cable: Cable) -> None:
    fault = spec("partition")
    with cable.serving(fault) as (_, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        time.sleep(nftables.LEASE_S + 1.5)
        assert cable.order(fault, "state")["state"] == "injected"
        with pytest.raises(TimeoutError):
            cable.connect(4, 0.5)


@pytest.mark.parametrize("how", ["removed", pytest.param("stopped", marks=pytest.mark.long)])
def test_an_agent_whose_fault_somebody_ended_says_so_and_does_not_bring_it_back(cable: Cable, how: str) -> None:
    before = cable.rules()
    fault = spec("partition")
    with cable.serving(fault) as (agent, ready):
        assert "ready" in ready, ready
        cable.order(fault, "inject")
        if how == "removed":
            cable.inside(0, "nft", "delete", "table", "inet", fault.table)
        else:
            agent.send_signal(signal.SIGSTOP)
            time.sleep(nftables.LEASE_S + 1.0)
            cable.connect(4).close()
            agent.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 20
        while (state := cable.order(fault, "state")["state"]) == "injected":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert state == "lapsed"
        cable.connect(4).close()
        assert cable.order(fault, "undo") == {"state": "undone", "left": []}
        assert cable.rules() == before


@pytest.mark.parametrize("word", [pytest.param("partition", marks=pytest.mark.long), "latency"])
def test_a_client_that_goes_to_a_published_port_is_refused(cable: Cable, word: str) -> None:
    """The fault is on the servers' own addresses; where their port is published another way leads to them."""
    published = ((FAMILIES[6][1], PORT),)
    flow = Flow("client", PORT, "http", (FAMILIES[4][1],), published=published)
    fault = Spec(f"past-{uuid.uuid4().hex}", word, (flow,), {"delay_ms": 50.0})
    with cable.connect(6), cable.serving(fault) as (_, said):
        assert "where the servers are published" in said["error"] and FAMILIES[6][1] in said["error"]
    elsewhere = Flow("client", PORT, "http", (FAMILIES[4][1],), published=(("10.9.0.77", PORT),))
    with cable.serving(Spec(f"own-{uuid.uuid4().hex}", word, (elsewhere,), {"delay_ms": 50.0})) as (_, said):
        assert "ready" in said, said


def test_a_server_that_does_not_answer_before_the_fault_is_refused(cable: Cable) -> None:
    flow = Flow("client", PORT + 1, "http", (FAMILIES[4][1],))
    with cable.serving(Spec(f"down-{uuid.uuid4().hex}", "partition", (flow,))) as (_, said):
        assert "even without a fault" in said["error"]


def test_orders_come_in_their_order(cable: Cable) -> None:
    fault = spec("partition")
    with cable.serving(fault):
        assert "orders are" in cable.order(fault, "dance")["error"]
        assert cable.order(fault, "state")["state"] == "prepared"
        cable.order(fault, "undo")
        assert "injects once" in cable.order(fault, "inject")["error"]
