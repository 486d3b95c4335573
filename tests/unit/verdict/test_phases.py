"""Phases: what `during` selects, and the unbroken stretches of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from faultload.record.info import RunInfo
from faultload.record.measured import FaultTimes, Measured
from faultload.record.rows import InMemory, Labels, Samples, Series
from faultload.verdict.phases import Phases, Span, phases_of
from faultload_analysis.recovery.faults import Recovery

NOBODY = Labels(np.zeros(0, dtype=np.int32), [])
NOTHING = np.zeros(0)


def measured(*faults: FaultTimes, **info: Any) -> Measured:
    """A load of 100 s from 10 on: ten of warm-up, ten of cool-down."""
    stages = [
        {"kind": "ramp", "start_s": 0.0, "end_s": 10.0, "low": 0.0, "high": 9.0, "phase": None},
        {"kind": "hold", "start_s": 10.0, "end_s": 90.0, "low": 9.0, "high": 9.0, "phase": None},
        {"kind": "ramp", "start_s": 90.0, "end_s": 100.0, "low": 9.0, "high": 0.0, "phase": None},
    ]
    return Measured(
        info=RunInfo.from_json({"load": {"stages": stages}, "load_start_s": 10.0, "ended": 120.0, **info}),
        events=[],
        record=InMemory(Samples(*[NOTHING] * 4, NOTHING.astype(np.bool_), *[NOBODY] * 4)),
        metrics=Series(NOTHING, NOBODY, NOTHING, {}),
        faults=faults,
        write_checks=None,
    )


def fault(start: float, end: float | None, k: int = 1, name: str = "cut") -> FaultTimes:
    return FaultTimes(name, k, "pause", injected_at=start, undone_at=end)


def recovered(hold_end_s: float | None, *, absorbed: bool = False) -> Recovery:
    return Recovery(None, None, None, None, absorbed, True, None, None, True, "", hold_end_s=hold_end_s)


def spans(phases: Phases, *, of: str = "") -> list[tuple[str, float, float]]:
    return [(one.name, one.start, one.end) for one in phases.spans if one.name.startswith(of)]


def test_a_load_begins_with_its_warm_up_and_its_cool_down_lasts_for_ever() -> None:
    assert spans(phases_of(measured(), {})) == [("warmup", 10, 20), ("cooldown", 100, math.inf)]


def test_a_load_without_ramps_has_no_warm_up_and_cools_down_at_its_end() -> None:
    hold = {"kind": "hold", "start_s": 0.0, "end_s": 50.0, "low": 9.0, "high": 9.0, "phase": None}
    assert spans(phases_of(measured(load={"stages": [hold]}), {})) == [("cooldown", 60, math.inf)]


@pytest.mark.parametrize(
    ("recovery", "end"),
    [(None, 100), (recovered(47.0), 47), (recovered(None), 100), (recovered(130.0), 100)],
    ids=["not known", "held", "never held", "held beyond the load"],
)
def test_a_recovery_lasts_from_the_undo_until_the_hold_is_over_or_the_load_cools_down(
    recovery: Recovery | None, end: float
) -> None:
    known = {} if recovery is None else {"cut#1": recovery}
    found = spans(phases_of(measured(fault(40, 43)), known), of="recovery")
    assert found == [("recovery:cut#1", 43, end)]


def test_a_recovery_ends_with_the_next_fault_of_any_name() -> None:
    found = phases_of(measured(fault(40, 43), fault(60, 61, 2), fault(50, 51, name="kill")), {})
    assert spans(found, of="recovery:cut#1") == [("recovery:cut#1", 43, 50)]
    assert spans(found, of="recovery:kill") == [("recovery:kill#1", 51, 60)]


@pytest.mark.parametrize("recovery", [recovered(None, absorbed=True), recovered(43.0), recovered(42.0)])
def test_what_was_over_with_the_undo_has_no_recovery_phase(recovery: Recovery) -> None:
    assert spans(phases_of(measured(fault(40, 43)), {"cut#1": recovery}), of="recovery") == []


def test_a_fault_that_was_never_undone_lasts_until_the_cool_down() -> None:
    found = phases_of(measured(fault(40, None)), {})
    assert spans(found, of="fault") == [("fault:cut#1", 40, 100)]
    assert spans(found, of="recovery") == []


def test_a_fault_that_never_came_has_no_phase() -> None:
    assert spans(phases_of(measured(FaultTimes("cut", 1, "pause")), {}), of="fault") == []


SURGES = {
    "stages": [
        {"kind": "hold", "start_s": 0.0, "end_s": 30.0, "low": 9.0, "high": 9.0, "phase": None},
        {"kind": "surge", "start_s": 30.0, "end_s": 40.0, "low": 27.0, "high": 27.0, "phase": None},
        {"kind": "hold", "start_s": 40.0, "end_s": 60.0, "low": 9.0, "high": 9.0, "phase": None},
        {"kind": "surge", "start_s": 60.0, "end_s": 65.0, "low": 27.0, "high": 27.0, "phase": "rush"},
        {"kind": "hold", "start_s": 65.0, "end_s": 90.0, "low": 9.0, "high": 9.0, "phase": None},
    ]
}


def test_a_surge_is_a_phase_of_its_own_and_one_with_a_name_is_selected_by_both() -> None:
    found = phases_of(measured(load=SURGES), {})
    assert found.stretches("surge") == [(40, 50), (70, 75)]
    assert found.stretches("rush") == [(70, 75)]
    assert found.stretches("baseline") == [(10, 40), (50, 70), (75, 100)]


def test_a_recovery_ends_with_the_next_surge_but_not_with_one_during_the_fault() -> None:
    found = phases_of(measured(fault(20, 25), load=SURGES), {})
    assert spans(found, of="recovery") == [("recovery:cut#1", 25, 40)]
    found = phases_of(measured(fault(38, 55), load=SURGES), {})
    assert spans(found, of="recovery") == [("recovery:cut#1", 55, 70)]


@pytest.mark.parametrize(
    ("intended", "ended", "moment"),
    [
        (39.9, 40.0, 40.0),
        (39.9, 42.9, 40.0),
        (30.0, 41.0, 40.0),
        (39.9, 39.99, 39.9),
        (39.9, 43.0, 39.9),
        (40.0, 41.0, 40.0),
        (44.0, 46.0, 44.0),
        (49.0, 50.5, 50.0),
        (39.0, 50.5, 50.0),
    ],
)
def test_what_was_in_flight_at_the_injection_and_ended_before_the_undo_belongs_to_the_fault(
    intended: float, ended: float, moment: float
) -> None:
    found = phases_of(measured(fault(40, 43), fault(50, 51, 2)), {})
    assert found.moments(np.array([intended]), np.array([ended])).tolist() == [moment]


def test_what_was_in_flight_at_two_injections_belongs_to_the_first() -> None:
    found = phases_of(measured(fault(41, 45, name="second"), fault(40, 43)), {})
    assert found.moments(np.array([39.0, 39.0]), np.array([42.0, 44.0])).tolist() == [40.0, 41.0]


# -- what is selected


PHASES = Phases(
    [
        Span("warmup", 0, 10),
        Span("cooldown", 90, math.inf),
        Span("fault:cut#1", 20, 25),
        Span("recovery:cut#1", 25, 30),
        Span("fault:cut-all#1", 60, 62),
    ],
    0.0,
    100.0,
    [Span("step:2", 40, 50)],
)


@pytest.mark.parametrize(
    ("phase", "stretches"),
    [
        ("all", [(0, 100)]),
        (None, [(10, 90)]),
        ("baseline", [(10, 20), (30, 60), (62, 90)]),
        ("fault", [(20, 25), (60, 62)]),
        ("fault:cut", [(20, 25)]),
        ("fault:cut#1", [(20, 25)]),
        ("recovery", [(25, 30)]),
        ("recovery:cut", [(25, 30)]),
        ("step:2", [(40, 50)]),
        ("warmup", [(0, 10)]),
        ("cooldown", [(90, 100)]),
        ("rush", []),
    ],
)
def test_the_stretches_of_a_phase(phase: str | None, stretches: list[tuple[float, float]]) -> None:
    assert PHASES.stretches(phase) == stretches
    assert PHASES.duration_s(phase) == pytest.approx(sum(end - start for start, end in stretches), abs=0.11)


def test_the_longest_stretch_is_the_first_of_those_that_last_as_long() -> None:
    assert PHASES.longest_stretch("baseline") == (30, 60)
    assert PHASES.longest_stretch("fault") == (20, 25)
    assert PHASES.longest_stretch("rush") is None
    even = Phases([Span("a", 0, 5), Span("a", 7, 12)], 0.0, 20.0)
    assert even.longest_stretch("a") == (0, 5)


def test_one_second_of_another_phase_breaks_a_stretch() -> None:
    cut = Phases([Span("fault:cut#1", 5, 6)], 0.0, 10.0)
    assert cut.stretches("baseline") == [(0, 5), (6, 10)]
    assert cut.stretches("fault") == [(5, 6)]


def test_a_second_belongs_to_the_phase_of_its_middle_and_seconds_are_whole() -> None:
    found = Phases([Span("fault:cut#1", 5.4, 8.6)], 1.3, 10.2)
    assert found.seconds("fault").tolist() == [5.5, 6.5, 7.5, 8.5]
    assert found.seconds("all").tolist() == [at + 0.5 for at in range(1, 11)]
    assert found.stretches("fault") == [(5, 9)]


def test_a_span_has_its_first_moment_and_not_its_last_and_never_lasts_less_than_nothing() -> None:
    times = np.array([19.9, 20.0, 24.9, 25.0])
    assert PHASES.mask(times, "fault").tolist() == [False, True, True, False]
    assert PHASES.mask(times, "baseline").tolist() == [True, False, False, False]
    assert (Span("a", 3, 5).duration_s, Span("a", 5, 3).duration_s) == (2, 0)
