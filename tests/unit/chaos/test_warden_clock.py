"""What docs/faults.md promises of a hung conductor, an overdue fault and the hold after the previous fault."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faultload.chaos import warden as module
from faultload.chaos.gate import _hold_problems
from faultload.chaos.warden import Warden
from faultload.record.directory import RunDirectory
from faultload.record.events import Note
from faultload.record.faults import FaultLine


class Fault(SimpleNamespace):
    """An open fault as the warden sees it; its injector lives."""

    label, fault_id = "cut#1", "cut#1@run"
    one_shot = False
    injector = None


class World:
    """A warden whose clock and open faults are the test's, and what it undid."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, *, standalone: bool = False) -> None:
        self.now = 100.0
        self.faults: list[Any] = []
        self.undone: list[str] = []
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(module, "still_open", lambda run: self.faults)
        monkeypatch.setattr(module, "undo", lambda fault, by: self.undone.append(f"{by}: {fault.label}"))
        monkeypatch.setattr(module, "undo_all", lambda faults, by: self.undone.append(f"{by}: all {len(faults)}"))
        self.run = RunDirectory.create(path)
        self.run.begin({})
        self.warden = Warden(self.run, -1, standalone=standalone)

    def look(self, after_s: float) -> list[str]:
        """Look so many seconds after the last beat; returns what was noted so far."""
        self.now = 100.0 + after_s
        self.warden._look()
        return [str(note.what) for note in self.run.events_of(Note)]


def test_a_conductor_silent_for_fifteen_seconds_has_everything_undone_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "run", monkeypatch)
    world.faults = [Fault(state="ACTIVE", overdue_s=-9.0)]
    assert world.look(15.0) == []
    assert world.undone == []
    assert world.look(15.5) == ["conductor_hung"]
    assert world.look(20.0) == ["conductor_hung"]
    assert world.undone == ["warden: all 1"]


def test_a_warden_without_a_conductor_waits_for_no_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "run", monkeypatch, standalone=True)
    assert world.look(1000.0) == []
    assert world.undone == []


@pytest.mark.parametrize(
    ("state", "overdue_s", "undone"),
    [("ACTIVE", 5.0, 0), ("ACTIVE", 5.1, 1), ("INJECTING", 20.0, 0), ("INJECTING", 20.1, 1), ("UNDOING", 99.0, 0)],
)
def test_an_overdue_fault_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, overdue_s: float, undone: int
) -> None:
    world = World(tmp_path / "run", monkeypatch)
    world.faults = [Fault(state=state, overdue_s=overdue_s)]
    assert world.look(1.0) == ["overdue"] * undone
    assert world.undone == ["warden: cut#1"] * undone


@pytest.mark.parametrize(("now", "held"), [(14.9, True), (15.0, False), (20.0, False)])
def test_the_hold_after_the_last_undone_fault_must_be_over(now: float, held: bool) -> None:
    lines = [
        FaultLine(t=10.0, state="UNDONE", fault="late", k=2, kind="pause", max_duration_s=5.0),
        FaultLine(t=4.0, state="UNDONE", fault="early", k=1, kind="pause", max_duration_s=5.0),
        FaultLine(t=99.0, state="ACTIVE", fault="open", k=1, kind="pause", max_duration_s=5.0),
    ]
    run: Any = SimpleNamespace(faults=lambda: lines, clock=SimpleNamespace(now=lambda: now))
    scenario: Any = SimpleNamespace(recovery=SimpleNamespace(hold=5.0))
    expected = ["late#2 was undone 4.9 s ago, the hold is 5 s"] if held else []
    assert _hold_problems(run, scenario) == expected
