"""Experiments played by Chaos Toolkit in this process, on a fault that only notes when it came and went."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from chaoslib.experiment import run_experiment
from chaoslib.types import Strategy
from quiet_fault import Quiet

from faultload.chaos import actions, journal
from faultload.chaos.session import Session
from faultload.platforms.base import Instance
from faultload.record.directory import RunDirectory

TARGET = """
id: shop
name: shop
platform: local
services: {web: {port: 9}}
"""


class World:
    """When the fault came and went, on the monotonic clock."""

    def __init__(self) -> None:
        self.came: list[float] = []
        self.went: list[float] = []

    @property
    def there(self) -> bool:
        return len(self.came) > len(self.went)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """Every fault word is a fault that notes its coming and going; the gate is open and the guard content."""
    world = World()

    class Noted(Quiet):
        def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
            world.came.append(time.monotonic())

        def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
            world.went.append(time.monotonic())

        def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> Any:
            return type(self.witness(instances))(not world.there, "looked")

    monkeypatch.setattr(actions, "fault_for", Noted)
    monkeypatch.setattr(journal, "fault_for", Noted)
    monkeypatch.setattr(actions, "problems", lambda *_, **__: [])
    monkeypatch.setattr(actions, "check_fault", lambda *_: None)
    monkeypatch.setattr(actions, "check_target", lambda *_: None)
    monkeypatch.setattr(Session, "need_warden", lambda _: None)
    monkeypatch.setattr(Session, "_current", None)
    (tmp_path / "target.yaml").write_text(TARGET)
    monkeypatch.setenv("FAULTLOAD_TARGET", str(tmp_path / "target.yaml"))
    before = signal.getsignal(signal.SIGINT)
    yield world
    signal.signal(signal.SIGINT, before)


def ours(func: str, **arguments: Any) -> dict[str, Any]:
    """An action of faultload."""
    provider = {"type": "python", "module": "faultload.chaos.actions", "func": func, "arguments": arguments}
    return {"type": "action", "name": func, "provider": provider}


def probe(name: str, module: str, func: str, **arguments: Any) -> dict[str, Any]:
    """A probe of the team's."""
    provider = {"type": "python", "module": module, "func": func, "arguments": arguments}
    return {"type": "probe", "name": name, "provider": provider}


def experiment(duration_s: Any = 0.3, **changes: Any) -> dict[str, Any]:
    """An experiment that pauses `web`, as a team would write it."""
    return {
        "title": "web is frozen",
        "description": "for a while",
        "configuration": {"duration_s": duration_s, "seed": 1},
        "method": [ours("pause", service="web"), ours("hold", duration_s="${duration_s}")],
        "rollbacks": [ours("undo", fault="pause")],
        "runtime": {"rollbacks": {"strategy": "always"}},
        **changes,
    }


def play(content: Mapping[str, Any]) -> dict[str, Any]:
    """Play an experiment as `chaos run` does, rollbacks in any case; returns Chaos Toolkit's journal."""
    settings = {"runtime": {"rollbacks": {"strategy": "always"}, "hypothesis": {"strategy": "default"}}}
    journal_of: dict[str, Any] = run_experiment(dict(content), settings=settings, strategy=Strategy.DEFAULT)
    return journal_of


def record_of(state: Path) -> RunDirectory:
    """What the actions wrote where no run is under way."""
    (folder,) = (state / "chaos").iterdir()
    return RunDirectory(folder)


def lasted_s(state: Path) -> float:
    """How long the fault was there, in seconds: from INJECTING to UNDOING."""
    began = {line.state: line.t for line in reversed(record_of(state).faults())}
    return began["UNDOING"] - began["INJECTING"]
