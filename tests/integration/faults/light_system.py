"""A system of light processes behind a link proxy, and faults on it as the actions and the warden live them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from faultload.faults import fault_for
from faultload.faults.base import FaultRequest, WitnessReport
from faultload.host.processes import ProcessId, end, identify, spawn
from faultload.platforms.base import Instance
from faultload.platforms.local.matching import all_argv
from faultload.platforms.local.processes import instances_of
from faultload.reference.kit.ports import free_ports
from faultload.spec.target import TargetFile

HERE = Path(__file__).parent
SERVER = str(HERE / "light_server.py")
TOKEN = "a-token-of-the-tests"


def wait_for(condition: Any, timeout_s: float, what: str) -> None:
    """Wait until a condition holds; fails the test at the time-out."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


class LightSystem:
    """Services edge, web (two instances) and store; the links edge -> web and web -> store have two pairs each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = free_ports(9)
        self.edge, self.store, self.control = ports[:3]
        self.web = sorted(ports[3:5])
        self.to_web, self.to_store = ports[5:7], ports[7:9]
        self.ports = (self.edge, self.store, *self.web)
        self.command = [sys.executable, SERVER, "--port", "{port}"]
        for port in self.ports:
            self.start(port)
        config = folder / "links.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"control": self.control, "token": TOKEN, "links": self._links()}))
        argv = [sys.executable, "-m", "faultload.agents.link.proxy", "--config", str(config)]
        proxy = spawn(argv, log=folder / "links.log")
        found = identify(proxy.pid)
        assert found is not None
        self.proxy: ProcessId = found
        self.target = TargetFile.model_validate(self._target())
        from faultload.faults.network.local import listens

        wait_for(lambda: listens(f"http://127.0.0.1:{self.control}"), 20, "the link proxy listens")
        wait_for(lambda: len(self.running()) == 4 and all(map(_answers, self.ports)), 20, "every server answers")

    def start(self, port: int) -> None:
        argv = [part.replace("{port}", str(port)) for part in self.command]
        spawn(argv, log=self.folder / f"{port}.log", cwd=self.folder)

    def _links(self) -> dict[str, Any]:
        def pair(name: str, listen: int, client: str, server: int, service: str) -> dict[str, Any]:
            return {
                "name": name,
                "listen": listen,
                "upstream": ["127.0.0.1", server],
                "protocol": "http",
                "client": client,
                "server": f"{service}:{server}",
            }

        to_web = [
            pair(f"edge-web{n}", listen, f"edge:{self.edge}", port, "web")
            for n, (listen, port) in enumerate(zip(self.to_web, self.web, strict=True))
        ]
        to_store = [
            pair(f"web{n}-store", listen, f"web:{port}", self.store, "store")
            for n, (listen, port) in enumerate(zip(self.to_store, self.web, strict=True))
        ]
        return {"edge -> web": to_web, "web -> store": to_store}

    def _target(self) -> dict[str, Any]:
        proxy = {"proxy": f"http://127.0.0.1:{self.control}", "token": TOKEN}
        return {
            "id": f"light-{uuid.uuid4().hex[:8]}",
            "name": "light",
            "platform": "local",
            "services": {
                name: {"command": self.command, "ports": ports, "health": "/health"}
                for name, ports in (("edge", [self.edge]), ("web", self.web), ("store", [self.store]))
            },
            "links": {"edge -> web": proxy, "web -> store": proxy},
        }

    def running(self) -> set[tuple[str, float]]:
        """Which processes of the system run now, by pid and start time."""
        return {(i.id, i.started) for name in self.target.services for i in instances_of(self.target, name)}

    def all_well(self) -> bool:
        """Whether all four servers answer, each past and through the proxy."""
        return all(map(_answers, (*self.ports, *self.to_web, *self.to_store)))

    def end(self) -> None:
        mine = [
            found
            for pid, argv in all_argv()
            if SERVER in argv and argv[-1] in map(str, self.ports) and (found := identify(pid)) is not None
        ]
        end([*mine, self.proxy])


def _answers(port: int) -> bool:
    from faultload.platforms.local.processes import http_status

    return http_status(f"http://127.0.0.1:{port}/health", 2.0) == 200


class System(Protocol):
    """Whatever faults are made on."""

    target: TargetFile


class Fault:
    """One fault: made here, undone elsewhere, by a process that knows its JSON only."""

    def __init__(self, system: System, word: str, arguments: dict[str, Any], duration_s: float) -> None:
        request = FaultRequest(f"{word}#1@{uuid.uuid4().hex[:8]}", word, arguments, duration_s, 3)
        self.handler = fault_for(system.target, request)
        if problems := self.handler.gate():
            raise AssertionError("; ".join(problems))
        self.instances: list[Instance] = self.handler.resolve()
        self.handler.prepare(self.instances)
        self.plan = json.loads(json.dumps(self.handler.undo_plan(self.instances)))
        self.known = json.dumps(
            {
                "target": system.target.to_json(),
                "request": request.to_json(),
                "instances": [one.to_json() for one in self.instances],
                "plan": self.plan,
            }
        )

    def inject(self) -> WitnessReport:
        self.handler.inject(self.instances, self.plan)
        return self.handler.witness(self.instances)

    def gone(self) -> WitnessReport:
        return self.handler.gone(self.instances, self.plan)

    def undo_elsewhere(self) -> WitnessReport:
        done = subprocess.run(
            [sys.executable, str(HERE / "undo_elsewhere.py")],
            input=self.known,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env=os.environ,
        )
        assert done.returncode == 0, done.stderr
        return WitnessReport(**json.loads(done.stdout))


@contextmanager
def prepared(system: System, word: str, duration_s: float = 60.0, **arguments: Any) -> Iterator[Fault]:
    """A fault that is ready to be made; undone whatever happens."""
    fault = Fault(system, word, arguments, duration_s)
    try:
        yield fault
    finally:
        fault.handler.undo(fault.instances, fault.plan)


@contextmanager
def injected(system: System, word: str, duration_s: float = 60.0, **arguments: Any) -> Iterator[Fault]:
    """A fault that is made, and seen by its witness; undone whatever happens."""
    with prepared(system, word, duration_s, **arguments) as fault:
        sight = fault.inject()
        assert sight.seen, sight.what
        print(sight.what)
        yield fault
