"""What a run says while it goes on, and which processes it knows to be ready or to have failed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from synthetic_run import SCENARIO

from faultload.record.directory import RunDirectory
from faultload.report.live import Screen
from faultload.run.narration import Narration
from faultload.run.watch import Watch
from faultload.spec.scenario import Scenario


class Heard:
    def __init__(self, folder: Path) -> None:
        self.run = RunDirectory.create(folder)
        self.run.begin({})
        self.watch = Watch(self.run, Scenario.model_validate(SCENARIO), "full", 0.99)
        self._stream = io.StringIO()
        self.narration = Narration(Screen(self._stream), self.watch)
        self.lines()

    def lines(self) -> list[str]:
        """What is said of what is new; without times, and without the line of figures."""
        self._stream.seek(0)
        self._stream.truncate()
        self.narration.follow()
        said = self._stream.getvalue().splitlines()
        return [line.partition(" s  ")[2] for line in said if "open faults" not in line]


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(tmp_path / "run")


def test_a_fault_is_told_from_gate_to_undo(heard: Heard) -> None:
    run = heard.run
    run.event("gate", fault="cut", k=1, passed=False, why="db is not ready")
    run.event("gate", fault="cut", k=2, passed=True)
    run.event("witness", fault="cut", k=2, of="there", seen=True, what="no answer")
    assert heard.lines() == ["cut#1 gate holds: db is not ready", "cut#2 gate passed", "cut#2 witnessed: no answer"]
    assert heard.watch.state().open_faults == ("cut#2",)
    run.event("witness", fault="cut", k=2, of="gone", seen=True, what="answers")
    assert heard.lines() == ["cut#2 undone: answers"]
    assert heard.watch.state().open_faults == ()
    run.event("witness", fault="cut", k=3, of="there", seen=False, what="still answers")
    run.event("witness", fault="cut", k=3, of="gone", seen=False, what="still cut")
    assert heard.lines() == ["cut#3 NOT WITNESSED: still answers", "cut#3 NOT UNDONE: still cut"]


def test_of_notes_only_what_a_person_can_act_on_is_said(heard: Heard) -> None:
    heard.run.event("note", what="late", text="3 s late")
    heard.run.event("note", what="slots", offered=5)
    heard.run.event("note", what="remark", text="for the report")
    heard.run.event("alert", name="of a newer version")
    assert heard.lines() == ["3 s late"]


def test_it_knows_who_is_ready_and_who_failed(heard: Heard) -> None:
    for name, state, why in (
        ("load-0", "ready", ""),
        ("load-1", "failed", "no such file"),
        ("target", "failed", "said elsewhere"),
        ("load-0", "ended", ""),
    ):
        heard.run.event("process", process=name, state=state, why=why)
    assert heard.lines() == []
    assert heard.narration.ready == {"load-0"}
    assert heard.narration.failed == {"load-1": "load-1 failed: no such file"}
