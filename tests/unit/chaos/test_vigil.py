"""A fault that ends early: seen twice, recorded with its true end, undone at once; and what is no early end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from faultload.chaos import journal
from faultload.chaos.journal import OpenFault, open_faults, plan_fault
from faultload.chaos.undo import PERSON, undo
from faultload.chaos.vigil import Vigil
from faultload.errors import TargetError
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.host.processes import ProcessId
from faultload.host.state import write_json
from faultload.platforms.base import Instance
from faultload.record.directory import RunDirectory
from faultload.record.events import Note
from faultload.record.measured import fault_times
from faultload.spec.target import TargetFile

TARGET = TargetFile.model_validate(
    {"id": "shop", "name": "shop", "platform": "local", "services": {"web": {"port": 80}}}
)
THERE, GONE = WitnessReport(True, "still stopped"), WitnessReport(False, "web:80 runs again")
Look = WitnessReport | Exception | None


class Scripted(PlatformFault):
    """A fault whose looks see what a test says, the last again and again."""

    gone_within_s = 0.0
    look_every_s = 0.001
    looks: list[Look]
    undone = 0
    after_look: Any = None

    def resolve(self) -> list[Instance]:
        return [Instance("web", "1", 2.0)]

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        raise AssertionError("nothing is injected here")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        return THERE

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport | None:
        assert instances == self.resolve()
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if self.after_look is not None:
            self.after_look(look)
        if isinstance(look, Exception):
            raise look
        return look

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self.undone += 1

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        return WitnessReport(True, "looked")


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    made = Scripted(TARGET, FaultRequest("freeze#1@run", "pause", {"service": "web"}, 12.0))
    monkeypatch.setattr(journal, "fault_for", lambda target, request: made)
    return made


def active(run: RunDirectory, handler: Scripted) -> OpenFault:
    settings: dict[str, Any] = {"fault": "freeze", "k": 1, "one_shot": False, "max_duration_s": 12.0}
    fault = plan_fault(run, TARGET, handler.request, handler.resolve(), {}, **settings)
    return fault.mark("INJECTING", "chaos", injected_ns=1).mark("ACTIVE", "chaos", active_ns=time.monotonic_ns())


def watched(run: RunDirectory, handler: Scripted, *looks: Look, for_s: float = 30.0) -> Vigil:
    """A vigil that has come to its end."""
    handler.looks = list(looks)
    now_ns = time.monotonic_ns()
    vigil = Vigil(run, active(run, handler), handler, now_ns, now_ns + int(for_s * 1e9))
    vigil._thread.join(60)
    assert not vigil._thread.is_alive()
    return vigil


def states(run: RunDirectory) -> list[str]:
    return [line.state for line in run.faults()]


def test_a_fault_that_ends_early_is_recorded_with_its_true_end_and_undone_at_once(
    run: RunDirectory, handler: Scripted
) -> None:
    vigil = watched(run, handler, THERE, THERE, GONE)
    assert states(run) == ["PLANNED", "INJECTING", "ACTIVE", "ENDED", "UNDOING", "UNDONE"]
    assert vigil.ended == "freeze#1 ended early: web:80 runs again"
    assert handler.undone == 1 and open_faults() == []
    active_line, ended = run.faults()[2:4]
    assert ended.seen_until is not None and active_line.t < ended.seen_until < ended.t
    assert ended.what == "web:80 runs again"
    (fault,) = fault_times(run.faults(), run.events())
    assert (fault.ended_at, fault.ended_what) == (ended.seen_until, "web:80 runs again")
    assert fault.over_at == fault.ended_at and not fault.still_open
    assert [note.text for note in run.events_of(Note) if note.what == "ended_early"] == [vigil.ended]


def test_a_fault_that_a_person_undoes_while_its_run_counts_on_it_ended_early(
    run: RunDirectory, handler: Scripted
) -> None:
    assert undo(active(run, handler), PERSON)
    assert states(run) == ["PLANNED", "INJECTING", "ACTIVE", "ENDED", "UNDOING", "UNDONE"]
    (fault,) = fault_times(run.faults(), run.events())
    assert fault.ended_what == "`faultload undo` ended it" and fault.over_at == fault.ended_at


@pytest.mark.parametrize(
    ("by", "entry"),
    [
        ("chaos", {}),
        (PERSON, {"process": ProcessId(999_999_999, 1.0).to_json()}),
        (PERSON, {"max_duration_s": 0.0}),
        (PERSON, {"state": "UNDO_FAILED"}),
    ],
    ids=["by its own process", "of a process that is gone", "that is overdue", "that is being undone"],
)
def test_the_undo_of_a_fault_is_no_early_end(
    run: RunDirectory, handler: Scripted, by: str, entry: dict[str, Any]
) -> None:
    fault = active(run, handler)
    write_json(fault.path, {**fault.entry, **entry})
    assert undo(open_faults()[0], by)
    assert states(run)[3:] == ["UNDOING", "UNDONE"]


def test_one_look_that_misses_it_is_no_end(run: RunDirectory, handler: Scripted) -> None:
    vigil = watched(run, handler, THERE, GONE, THERE, for_s=0.05)
    assert states(run)[-1] == "ACTIVE" and vigil.ended is None


@pytest.mark.parametrize("error", [TargetError("the engine does not answer"), ValueError("no JSON")])
def test_a_look_that_fails_tells_nothing(run: RunDirectory, handler: Scripted, error: Exception) -> None:
    assert watched(run, handler, error, for_s=0.05).ended is None
    assert states(run)[-1] == "ACTIVE"
    handler.looks = []
    undo(open_faults()[0], "chaos")


def test_a_look_that_fails_is_followed_by_one_that_tells(run: RunDirectory, handler: Scripted) -> None:
    assert watched(run, handler, TargetError("busy"), GONE).ended is not None


def test_a_fault_with_nothing_to_look_at_is_looked_at_once(run: RunDirectory, handler: Scripted) -> None:
    looked: list[Look] = []
    handler.after_look = looked.append
    assert watched(run, handler, None).ended is None
    assert looked == [None]


def test_a_fault_that_was_undone_in_its_time_did_not_end_early(run: RunDirectory, handler: Scripted) -> None:
    """Whoever undoes it, the look that came in between sees it gone."""

    def undone_meanwhile(look: Look) -> None:
        for fault in open_faults():
            undo(fault, "warden")

    handler.after_look = undone_meanwhile
    assert watched(run, handler, GONE).ended is None
    assert states(run) == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"]


def test_nobody_looks_after_the_time_is_over(run: RunDirectory, handler: Scripted) -> None:
    looked: list[Look] = []
    handler.after_look = looked.append
    assert watched(run, handler, GONE, for_s=-1.0).ended is None
    assert looked == []
