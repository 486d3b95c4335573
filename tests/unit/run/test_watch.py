"""The watch of a running load: an abort condition holds in every one of its seconds; live figures are recent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faultload.record.directory import RunDirectory
from faultload.run.watch import Watch
from faultload.spec.scenario import Scenario

START_S = 2.0


def watch(tmp_path: Path, *abort: str, slo: float = 0.99) -> tuple[Watch, RunDirectory]:
    run = RunDirectory.create(tmp_path / "run")
    run.begin({})
    scenario = Scenario.model_validate(
        {
            "name": "shop",
            "target": "http://127.0.0.1",
            "load": {"journeys": "j.py", "rate": [{"ramp": "10/s", "over": "5s"}, {"hold": "60s"}]},
            "objectives": ["availability >= 99%"],
            "abort": list(abort),
        }
    )
    one = Watch(run, scenario, "full", slo)
    one.load_start_s = START_S
    return one, run


def second(run: RunDirectory, t: float, ok: int, failed: int, worker: int = 0, **fields: Any) -> None:
    run.event("health", t=t, worker=worker, ok=ok, failed=failed, **fields)


def reasons(one: Watch, run: RunDirectory, shares: list[float | None], first: float = START_S + 1) -> list[bool]:
    """Whether the run was to be aborted after each second, given the share that failed (None: nothing ended)."""
    found = []
    for index, share in enumerate(shares):
        failed = 0 if share is None else round(share * 100)
        second(run, first + index, 0 if share is None else 100 - failed, failed)
        one.look()
        found.append(one.abort_reason() is not None)
    return found


def test_an_abort_condition_must_hold_for_its_whole_time(tmp_path: Path) -> None:
    one, run = watch(tmp_path, "error_rate > 50% for 3s")
    assert reasons(one, run, [0, 0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.2]) == [False] * 6 + [True, False]


def test_it_says_which_condition(tmp_path: Path) -> None:
    one, run = watch(tmp_path, "availability < 10% for 1s", "error_rate > 50% for 2s")
    reasons(one, run, [0, 0.6, 0.6])
    assert one.abort_reason() == "abort condition: error_rate > 50% for 2s"


def test_the_bound_itself_does_not_abort(tmp_path: Path) -> None:
    one, run = watch(tmp_path, "error_rate > 50% for 1s")
    assert reasons(one, run, [0, 0.5, 0.51]) == [False, False, True]


def test_a_second_without_a_request_holds_no_condition(tmp_path: Path) -> None:
    one, run = watch(tmp_path, "error_rate >= 0% for 3s")
    assert reasons(one, run, [0.9, 0.9, None, 0.9, 0.9, 0.9]) == [False] * 5 + [True]


def test_seconds_before_the_load_count_nothing(tmp_path: Path) -> None:
    one, run = watch(tmp_path, "error_rate > 50% for 2s")
    assert reasons(one, run, [1, 1, 1, 1], first=START_S) == [False, False, True, True]
    one.load_start_s = None
    assert one.abort_reason() is None


def test_a_hole_in_the_health_of_the_load_breaks_a_condition(tmp_path: Path) -> None:
    one, run = watch(tmp_path, "error_rate > 50% for 3s")
    for t in (4, 5, 9):
        second(run, t, 0, 9)
        one.look()
    assert one.abort_reason() is None


@pytest.mark.parametrize(
    ("condition", "aborts"), [("p99(latency) > 2s for 2s", True), ("p50(latency) > 2s for 2s", False)]
)
def test_conditions_on_latency(tmp_path: Path, condition: str, aborts: bool) -> None:
    one, run = watch(tmp_path, condition)
    for t in (4, 5):
        second(run, t, 9, 0, p50_ms=5.0, p99_ms=2100.0)
    one.look()
    assert (one.abort_reason() is not None) == aborts


def test_workers_are_added_by_the_second(tmp_path: Path) -> None:
    one, run = watch(tmp_path, "error_rate > 50% for 1s")
    second(run, 4.1, 0, 60, worker=0, started=7, p99_ms=5.0, users=3)
    second(run, 4.4, 100, 0, worker=1, started=8, p99_ms=9.0, users=4)
    one.look()
    assert one.abort_reason() is None, "60 of 160 failed"
    assert one.state().users == 7


def test_other_events_are_handed_on_once(tmp_path: Path) -> None:
    one, run = watch(tmp_path)
    second(run, 4, 1, 0)
    run.event("gate", fault="cut", k=1, passed=True)
    assert [event.kind for event in one.look()] == ["gate"]
    assert one.look() == []


def test_the_live_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, run = watch(tmp_path)
    monkeypatch.setattr(one, "_clock", type("Clock", (), {"now": lambda self: 12.0})())
    for t in range(3, 13):
        second(run, t, 9, int(t > 10), started=10, p50_ms=5.0, p99_ms=float(t))
    one.look()
    state = one.state()
    assert (state.elapsed_s, state.total_s, state.phase) == (10.0, 65.0, "baseline")
    assert (state.offered_per_s, state.achieved_per_s) == (10.0, 10.0)
    assert (state.p50_ms, state.p99_ms) == (5.0, 12.0)
    assert state.error_share == pytest.approx(2 / 47)
    assert state.failed == 2
    assert state.budget_left == pytest.approx(1 - 2 / 92 / 0.01)
    one.fault_opened("cut#1")
    assert (one.state().phase, one.state().open_faults) == ("fault:cut#1", ("cut#1",))
    one.fault_closed("cut#1")
    assert one.state().phase == "baseline"


def test_old_figures_are_not_shown_as_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, run = watch(tmp_path)
    second(run, 3, 9, 0, started=10, p99_ms=5.0)
    one.look()
    monkeypatch.setattr(one, "_clock", type("Clock", (), {"now": lambda self: 20.0})())
    assert (one.state().p99_ms, one.state().achieved_per_s, one.state().error_share) == (None, None, None)
