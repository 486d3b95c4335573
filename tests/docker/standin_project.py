"""A compose-like project of light containers that a test disturbs: made by the SDK, removed whatever happens."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultload.faults import fault_for
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.platforms import platform_of
from faultload.platforms.base import Instance
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker import image as helper_image
from faultload.spec.target import TargetFile, target_from_json

if TYPE_CHECKING:
    from docker.models.containers import Container

PORT = 8000
SERVER = """
import http.server, json, os, signal, sys, uuid
BORN = uuid.uuid4().hex
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = json.dumps({'born': BORN, 'host': os.uname().nodename}).encode()
        self.send_response(200 if self.path in ('/', '/health') else 404)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
def ask_to_end(signum, frame):
    print('asked to end', flush=True)
    if 'stubborn' not in sys.argv:
        os._exit(0)
signal.signal(signal.SIGTERM, ask_to_end)
http.server.ThreadingHTTPServer(('', 8000), Handler).serve_forever()
"""
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_until(condition: Callable[[], Any], timeout_s: float = 30.0, what: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s {what()}"
        time.sleep(0.05)


def now(container: Container) -> Container:
    """A container as it is now."""
    found = docker_client.container(str(container.id))
    assert found is not None, f"{container.name} is gone"
    return found


def life(container: Container) -> tuple[Any, ...]:
    """What changes when a container is touched: its start, state, process, and restarts."""
    found = now(container)
    state = found.attrs["State"]
    return state["StartedAt"], state["Status"], state["Pid"], found.attrs["RestartCount"]


def born(container: Container, timeout_s: float = 1.0) -> str | None:
    """Which process answers on a container's own address, asked from here; None when none does."""
    networks = now(container).attrs["NetworkSettings"]["Networks"].values()
    addresses = [one["IPAddress"] for one in networks if one["IPAddress"]]
    if not addresses:
        return None
    try:
        with _direct.open(f"http://{addresses[0]}:{PORT}/health", timeout=timeout_s) as response:
            return str(json.load(response)["born"])
    except (OSError, HTTPException):
        return None


def processes_in(container: Container) -> list[int]:
    """The processes of this machine that are in a container's control group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(container.id) in (entry / "cgroup").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


class Project:
    """Containers with the labels of compose, and the faults that a test made on them."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"faultloadtest{secrets.token_hex(4)}"
        self.client = docker_client.client()
        self.image = helper_image.ensure(self.client)
        self.made: list[Container] = []
        self.networks: list[Any] = []
        self.opened: list[Injected] = []

    def start(self, service: str, number: int = 1, *, argv: Sequence[str] = (), **options: Any) -> Container:
        """Start one container of a service and wait until it answers."""
        labels = {
            docker_client.PROJECT: self.name,
            docker_client.SERVICE: service,
            docker_client.NUMBER: str(number),
            docker_client.ONE_OFF: "False",
            **options.pop("labels", {}),
        }
        options = {"restart_policy": {"Name": "always"}, "init": True, **options}
        container = self.client.containers.create(
            self.image,
            ["python3", "-c", SERVER, *argv],
            name=options.pop("name", f"{self.name}-{service}-{number}"),
            labels=labels,
            **options,
        )
        self.made.append(container)
        container.start()
        wait_until(lambda: born(container), what=lambda: f"{container.name}: {container.logs().decode()}")
        return container

    def network(self) -> Any:
        network = self.client.networks.create(f"{self.name}_default", driver="bridge")
        self.networks.append(network)
        return network

    def target(self, *services: str, health: bool = True, **more: Any) -> TargetFile:
        """A target file as a person would write it for this project."""
        declared = {
            name: {"compose": name, "port": PORT, **({"health": "/health"} if health else {})} for name in services
        }
        value = {
            "name": self.name,
            "platform": "docker",
            "project": self.name,
            "services": declared,
            "guard": {"max_share": "100%"},
            **more,
        }
        target = TargetFile.model_validate(value)
        return target.model_copy(update={"id": platform_of(target).identity()})

    def fault(self, target: TargetFile, kind: str, duration_s: float = 30.0, **arguments: Any) -> Injected:
        """A fault on a target, undone after the test whatever becomes of it."""
        request = FaultRequest(f"{kind}#1@{self.name}-{secrets.token_hex(3)}", kind, arguments, duration_s)
        return Injected(self, target, request)

    def end(self) -> None:
        try:
            for fault in reversed(self.opened):
                fault.undo()
        finally:
            mine = {"label": f"{docker_client.PROJECT}={self.name}"}
            left = self.client.containers.list(all=True, filters=mine, ignore_removed=True)
            for container in {str(one.id): one for one in (*left, *self.made)}.values():
                if docker_client.container(str(container.id)) is not None:
                    container.remove(force=True, v=True)
            for network in self.networks:
                network.remove()


class Injected:
    """A fault's way from resolve to gone as the actions go it; undo knows no more than the JSON."""

    def __init__(self, project: Project, target: TargetFile, request: FaultRequest) -> None:
        self.project, self.target, self.request = project, target, request
        self.here = fault_for(target, request)
        self.instances: list[Instance] = []
        self.plan: Mapping[str, Any] = {}

    def planned(self) -> Injected:
        self.instances = self.here.resolve()
        self.plan = json.loads(json.dumps(self.here.undo_plan(self.instances)))
        self.project.opened.append(self)
        self.here.prepare(self.instances)
        return self

    def inject(self) -> Injected:
        self.planned()
        self.here.inject(self.instances, self.plan)
        return self

    def elsewhere(self) -> PlatformFault:
        """The fault as another process makes it from what was written down."""
        request = FaultRequest.from_json(json.loads(json.dumps(self.request.to_json())))
        return fault_for(target_from_json(json.loads(json.dumps(self.target.to_json()))), request)

    def witness(self) -> WitnessReport:
        return self.here.witness(self.instances)

    def undo(self) -> None:
        self.elsewhere().undo(self.instances, self.plan)

    def gone(self) -> WitnessReport:
        return self.elsewhere().gone(self.instances, self.plan)

    def wait_gone(self) -> WitnessReport:
        wait_until(lambda: self.gone().seen, self.here.gone_within_s, lambda: self.gone().what)
        return self.gone()

    def left(self) -> list[str]:
        """Every container that the fault made and that is still there."""
        wanted = {"label": f"{docker_client.FAULT_LABEL}={self.request.fault_id}"}
        found = self.project.client.containers.list(all=True, filters=wanted, ignore_removed=True)
        return [str(one.name) for one in found]
