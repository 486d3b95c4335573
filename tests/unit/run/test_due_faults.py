"""When a chaos process injects: at its time after the load began, which it learns late; a late one says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from faultload.chaos import session as module
from faultload.chaos.session import Session
from faultload.record.directory import RunDirectory
from faultload.record.events import Note
from faultload.record.orders import ChaosOrder

LOAD_START_S = 7.0
AT_S = 5.0


class Clock:
    """A clock that goes on by sleeping alone; something may happen at a moment."""

    def __init__(self, t0_ns: int, now_s: float, then: dict[float, Callable[[], None]]) -> None:
        self.ns = t0_ns + int(now_s * 1e9)
        self._t0_ns, self._then = t0_ns, then

    @property
    def now_s(self) -> float:
        return (self.ns - self._t0_ns) / 1e9

    def monotonic_ns(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)
        for at_s in [at_s for at_s in self._then if at_s <= self.now_s]:
            self._then.pop(at_s)()


def waited(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, now_s: float, load_known_at_s: float | None = None
) -> float:
    """The run's second at which a process that is ready at `now_s` goes on to inject."""
    then = {} if load_known_at_s is None else {load_known_at_s: lambda: run.update({"load_start_s": LOAD_START_S})}
    clock = Clock(run.clock.t0_ns, now_s, then)
    monkeypatch.setattr(module, "time", clock)
    session = Session.__new__(Session)
    session.run, session.stopping, session.opened, session.vigils = run, None, {}, {}
    session.order = ChaosOrder(fault="kill_api", at_s=AT_S)
    session.sleep_until_due("kill")
    return clock.now_s


def late_notes(run: RunDirectory) -> list[str]:
    return [note.text for note in run.events_of(Note) if note.what == "late"]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    found = RunDirectory.create(tmp_path / "run")
    found.begin({})
    return found


def test_a_process_that_is_ready_before_the_load_waits_for_it(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waited(run, monkeypatch, now_s=2.0, load_known_at_s=6.5) == pytest.approx(LOAD_START_S + AT_S)
    assert late_notes(run) == []


def test_a_process_that_is_ready_in_time_waits_until_its_fault_is_due(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.update({"load_start_s": LOAD_START_S})
    assert waited(run, monkeypatch, now_s=11.0) == pytest.approx(LOAD_START_S + AT_S)
    assert late_notes(run) == []


def test_a_process_that_is_ready_too_late_goes_on_at_once_and_says_so(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.update({"load_start_s": LOAD_START_S})
    assert waited(run, monkeypatch, now_s=15.4) == pytest.approx(15.4)
    assert late_notes(run) == ["kill_api#1 begins 3.4 s late: its process was not ready"]


def test_an_experiments_second_fault_follows_its_first_whenever_that_is(
    run: RunDirectory,
) -> None:
    run.update({"load_start_s": LOAD_START_S})
    session = Session.__new__(Session)
    session.run, session.stopping, session.opened = run, None, {"first": SimpleNamespace()}  # type: ignore[dict-item]
    session.order = ChaosOrder(at_s=AT_S)
    session.sleep_until_due("second")
    assert late_notes(run) == []
