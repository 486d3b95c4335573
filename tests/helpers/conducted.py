"""A conductor in a world of its own: a clock that only its ticks move, and processes that do as a test says."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from run_files import events

from faultload.record.directory import RunDirectory
from faultload.report.live import LiveState, Screen
from faultload.run.conductor import Conductor
from faultload.run.injections import Injection
from faultload.run.interrupts import Interrupts
from faultload.run.target import Target
from faultload.run.warm import Servers
from faultload.spec.scenario import Scenario
from faultload.spec.target import TargetFile

EXTERNAL = TargetFile.model_validate(
    {"id": "shop", "name": "shop", "platform": "external", "url": "http://127.0.0.1:9/"}
)
NOBODY_PID = 2**22 + 1
"""A pid that no process has."""


@dataclass
class Proc:
    """A process that ends when told to, or never."""

    world: World
    name: str
    argv: list[str]
    env: dict[str, str]
    life_fd: int | None
    ready_after_s: float | None = 0.5
    """After its start it says that it is ready; None never."""
    ends_at_s: float | None = None
    code: int = 0
    on_interrupt: float | None = 1.0
    """So long after SIGINT it ends; None never."""
    on_stop: float | None = 1.0
    """So long after the order to stop a load process ends; None never."""
    orders: list[tuple[float, str]] = field(default_factory=list)
    signals: list[tuple[float, int]] = field(default_factory=list)
    leaves: bool = True
    """Whether a warden ends when it is told goodbye."""
    heard: bytes = b""
    """What a warden was told."""
    pid: int = NOBODY_PID
    silent_from_s: float = math.inf
    """From this second of the run on a load process says no more how it is."""

    @property
    def stdin(self) -> Proc:
        return self

    def write(self, data: bytes) -> None:
        word = data.decode().strip()
        self.orders.append((self.world.now_s, word))
        if word.startswith("start"):
            self.ends_at_s = int(word.split()[1]) / 1e9 + self.world.load_lasts_s
        elif self.on_stop is not None:
            self.ends_at_s = self.world.now_s + self.on_stop

    def flush(self) -> None:
        return

    def beat(self) -> None:
        """A load process says every second of its load how it is."""
        loads = self.name.startswith("load-") and bool(self.orders) and self.poll() is None
        if loads and self.world.now_s < self.silent_from_s:
            self.world.run.event("health", worker=int(self.name.removeprefix("load-")))

    def listen(self) -> bytes:
        """Everything that a warden was told so far."""
        assert self.life_fd is not None
        os.set_blocking(self.life_fd, False)
        with suppress(BlockingIOError):
            self.heard += os.read(self.life_fd, 4096)
        return self.heard

    def poll(self) -> int | None:
        if self.name == "warden" and b"q" in self.listen() and self.leaves:
            return 0
        over = self.ends_at_s is not None and self.world.now_s >= self.ends_at_s
        return self.code if over else None

    def wait(self, timeout: float | None = None) -> int:
        assert timeout is not None, "a wait without an end would hang the conductor"
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.name, timeout)
        return code

    def send_signal(self, signum: int) -> None:
        self.signals.append((self.world.now_s, signum))
        if signum == signal.SIGINT and self.on_interrupt is not None:
            self.ends_at_s = self.world.now_s + self.on_interrupt

    def kill(self) -> None:
        self.signals.append((self.world.now_s, signal.SIGKILL))
        self.end(-9)

    def end(self, code: int) -> None:
        """End now."""
        self.ends_at_s, self.code = self.world.now_s, code


class Server:
    """Starts processes for a world; ready after a while."""

    lost = None

    def __init__(self, world: World) -> None:
        self.world = world
        self.ready_at_s = 0.0

    def ready(self) -> bool:
        return self.world.now_s >= self.ready_at_s

    def spawn(self, argv: Sequence[str], *, env: Any = None, pass_fds: Any = (), **_: Any) -> Proc:
        return self.world.spawned(list(argv), dict(env or {}), [os.dup(one) for one in pass_fds])


class Shown(Screen):
    """What a person would have seen."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.said: list[str] = []
        self.statuses: list[str] = []
        self.open_faults: list[tuple[str, ...]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def update(self, state: LiveState) -> None:
        if not self.statuses or self.statuses[-1] != state.status:
            self.statuses.append(state.status)
        if not self.open_faults or self.open_faults[-1] != state.open_faults:
            self.open_faults.append(state.open_faults)


class World:
    """Time passes when the conductor sleeps; `then` happens on the way."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ns = 10**12
        monkeypatch.setattr(time, "monotonic_ns", lambda: self._ns)
        monkeypatch.setattr(time, "monotonic", lambda: self._ns / 1e9)
        monkeypatch.setattr(time, "sleep", self._sleep)
        self.run = RunDirectory.create(folder / "run")
        self.run.begin({"load": {"workers": 1}})
        self.load_lasts_s, self.workers = 30.0, 1
        self.then: list[tuple[float, Callable[[], None]]] = []
        self.changes: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, Proc] = {}
        self.wardens: list[Proc] = []
        self.started: list[tuple[float, str]] = []
        self.screen, self.interrupts = Shown(), Interrupts()
        self.target, self.keep_target = Target(declared=EXTERNAL), False
        self.servers = Servers(Server(self), Server(self))  # type: ignore[arg-type]
        self.conductor: Conductor

    # -- time

    @property
    def now_s(self) -> float:
        """Seconds since the run's zero."""
        return self.run.clock.now()

    def _sleep(self, seconds: float) -> None:
        before_s = self.now_s
        self._ns += round(seconds * 1e9)
        if int(before_s) < int(self.now_s):
            for one in [*self.processes.values()]:
                one.beat()
        for one in [one for one in self.then if one[0] <= self.now_s]:
            self.then.remove(one)
            one[1]()

    def at(self, t_s: float, act: Callable[[], object]) -> None:
        """Let something happen at a second of the run."""
        self.then.append((t_s, lambda: (act(), None)[1]))

    def interrupt(self) -> None:
        self.interrupts.handle(signal.SIGINT, None)

    # -- processes

    def spawned(self, argv: list[str], env: dict[str, str], descriptors: list[int]) -> Proc:
        module = argv[2].rpartition(".")[2]
        name = {"worker": f"load-{argv[-1]}", "warden": "warden", "verify": "verify"}.get(module, "")
        if not name:
            name = Path(env["FAULTLOAD_ORDER"]).stem
        made = Proc(self, name, argv, env, descriptors[0] if descriptors else None, **self.changes.get(name, {}))
        self.started.append((self.now_s, name))
        if name == "warden":
            self.wardens.append(made)
        else:
            self.processes[name] = made
            if made.ready_after_s is not None:
                event = {"process": name, "state": "ready", "pid": made.pid}
                self.at(self.now_s + made.ready_after_s, lambda: self.run.event("process", **event))
        if name == "verify" and made.ends_at_s is None and "ends_at_s" not in self.changes.get(name, {}):
            made.ends_at_s = self.now_s + 2.0
        if name.startswith("chaos") and "ends_at_s" not in self.changes.get(name, {}):
            made.ends_at_s = self.now_s + 15.0
        return made

    def start_of(self, name: str) -> float:
        return next(t_s for t_s, started in self.started if started == name)

    def close(self) -> None:
        for one in [*self.wardens, *self.processes.values()]:
            if one.life_fd is not None:
                os.close(one.life_fd)

    # -- the run

    def conduct(self, injections: Sequence[Injection] = (), **scenario: Any) -> list[str]:
        """Conduct a load of `load_lasts_s`; returns the notes of the run."""
        declared = {
            "name": "shop",
            "target": "http://127.0.0.1:9",
            "load": {
                "journeys": "j.py",
                "rate": [{"ramp": "10/s", "over": "5s"}, {"hold": "25s"}],
                "timeout": "3s",
            },
            "objectives": ["availability >= 99%"],
            **scenario,
        }
        self.conductor = Conductor(
            run=self.run,
            scenario=Scenario.model_validate(declared),
            profile="full",
            target=self.target,
            injections=list(injections),
            workers=self.workers,
            slo=0.99,
            screen=self.screen,
            interrupts=self.interrupts,
            servers=self.servers,
            keep_target=self.keep_target,
            kinds=frozenset({"pause"} if injections else ()),
        )
        self.conductor.conduct()
        return [str(note["what"]) for note in events(self.run, "note")]


def injection(at_s: float, k: int = 1, max_duration_s: float = 5.0, *, overlap: bool = False) -> Injection:
    """One of the fault `cut`."""
    variables = {"seed": k, "share": 0.5, "deep": True, "mode": "x"}
    return Injection("cut", k, Path("e.yaml"), at_s, variables, overlap, max_duration_s)
