"""A client, two servers behind a service, and a bystander, whose pods tell what they feel of a network fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conftest import PYTHON_IMAGE, Space, wait_until

from faultload.platforms.kubernetes.client import core, execute, open_exec

SERVER = [
    PYTHON_IMAGE,
    "python3",
    "-m",
    "http.server",
    "8080",
    "--protocol",
    "HTTP/1.1",
    "--directory",
    "/usr/share",
]
IDLE = [PYTHON_IMAGE, "sleep", "3600"]
_ASK = """
import http.client, json, sys, time
found = []
for address in sys.argv[2:]:
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=2.0)
    started = time.monotonic()
    try:
        connection.request("HEAD", "/")
        connection.getresponse().read()
        if sys.argv[1] == "again":  # over the connection that is established
            started = time.monotonic()
            connection.request("HEAD", "/")
            connection.getresponse().read()
        found.append(time.monotonic() - started)
    except OSError:
        found.append(None)
print(json.dumps(found))
"""
_HOLD = """
import http.client, sys, time
connection = http.client.HTTPConnection(sys.argv[1], 8080, timeout=2.0)
connection.request("HEAD", "/"); connection.getresponse().read()
print("open", flush=True)
sys.stdin.readline()
try:
    connection.request("HEAD", "/"); connection.getresponse().read()
    print("answered", flush=True)
except TimeoutError:
    print("silent", flush=True)
except http.client.RemoteDisconnected:
    print("closed", flush=True)
except ConnectionError:
    print("reset", flush=True)
sys.stdin.readline()  # what a process says right before its end may be lost
"""


class Shop:
    """A client and two servers behind a service, and a bystander that the same servers answer."""

    def __init__(self, space: Space) -> None:
        self.space = space
        space.deploy("server", 2, command=SERVER)
        space.deploy("client", 1, command=IDLE)
        space.deploy("bystander", 1, command=IDLE)
        service: Any = {
            "metadata": {"name": "shop"},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
        self.address = str(core(space.api).create_namespaced_service(space.name, service).spec.cluster_ip)
        wait_until(lambda: len(self._endpoints()) == 2)
        self.target = space.target(
            "client", "server", "bystander", links={"client -> server": {"port": 8080, "protocol": "http"}}
        )
        wait_until(lambda: None not in self.ask("client"))

    def _endpoints(self) -> list[Any]:
        found = core(self.space.api).read_namespaced_endpoints("shop", self.space.name).subsets or []
        return [address for subset in found for address in subset.addresses or []]

    def pod(self, app: str) -> Any:
        return next(iter(self.space.pods(app).values()))

    def run(self, app: str, *argv: str) -> str:
        return self.run_in(self.pod(app).name, *argv)

    def run_in(self, pod: str, *argv: str) -> str:
        return execute(self.space.api, self.space.name, pod, "web", list(argv), 60.0).out

    def addresses(self) -> list[str]:
        """The servers and the service, in the order of `ask`, as `host:port`."""
        return [*(f"{pod.ip}:8080" for pod in self.space.pods("server").values()), f"{self.address}:80"]

    @contextmanager
    def holding(self, app: str) -> Iterator[Any]:
        """A process in an app's pod that has talked to a server over a connection, and will again when told."""
        server = next(iter(self.space.pods("server").values()))
        argv = ["python3", "-c", _HOLD, server.ip]
        held = open_exec(self.space.api, self.space.name, self.pod(app).name, "web", argv, stdin=True)
        try:
            assert held.readline_stdout(timeout=20) == "open"
            yield held
        finally:
            held.close()

    def ask(self, app: str, how: str = "new") -> list[float | None]:
        """Seconds for an answer of each server and of the service's address, as a process in the pod sees it."""
        found: list[float | None] = json.loads(self.run(app, "python3", "-c", _ASK, how, *self.addresses()))
        return found


def tell(held: Any) -> str:
    """What becomes of its next request over the connection that it holds."""
    held.write_stdin("go\n")
    return str(held.readline_stdout(timeout=20))
