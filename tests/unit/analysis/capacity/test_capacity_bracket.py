"""The bracket says what a sweep proved and no more."""

from __future__ import annotations

import math

import pytest

from faultload_analysis.capacity.bracket import (
    BracketState,
    Step,
    capacity_bracket,
    capacity_estimate,
    interpolated_capacity,
)
from faultload_analysis.capacity.search import Search
from faultload_analysis.evidence.verdict import Decision, Estimate, Verdict, decide

PASS, FAIL, UNSURE, INVALID = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INVALID


def step(rate: float, verdict: Verdict, **more: object) -> Step:
    return Step(rate, rate, verdict, **more)  # type: ignore[arg-type]


def sweep(**rates: Verdict) -> list[Step]:
    return [step(float(rate[1:]), verdict) for rate, verdict in rates.items()]


def decided(steps: list[Step], target: float, operator: str = ">=") -> Decision:
    estimate = capacity_estimate(capacity_bracket(steps))
    return decide(operator, target, estimate, fmt=lambda x: f"{x:g}/s", subject="the capacity")


def test_the_bracket_lies_between_the_highest_pass_and_the_lowest_fail() -> None:
    bracket = capacity_bracket(sweep(r50=PASS, r100=PASS, r200=FAIL, r400=FAIL))
    assert (bracket.low_per_s, bracket.high_per_s, bracket.state) == (100, 200, BracketState.FOUND)
    assert bracket.why == "100/s passed and 200/s failed"


def test_what_is_refused_at_once_did_not_keep_up() -> None:
    """A throttle at 100/s lets latency of what it admits meet any objective, at any rate."""
    steps = [step(rate, PASS, goodput_per_s=min(rate, 100.0)) for rate in (50.0, 100.0, 150.0, 200.0)]
    bracket = capacity_bracket(steps)
    assert (bracket.low_per_s, bracket.high_per_s) == (100, 150)
    assert Search(50.0, tolerance=0.5).next_probe(steps) is None


def test_where_the_objectives_judge_failures_they_alone_do() -> None:
    bracket = capacity_bracket([step(100.0, PASS, goodput_per_s=96.0, failures_judged=True)])
    assert (bracket.low_per_s, bracket.high_per_s) == (100, None)


@pytest.mark.parametrize("goodput", [-1.0, 101.0, math.nan])
def test_goodput_is_a_part_of_what_was_achieved(goodput: float) -> None:
    with pytest.raises(ValueError, match="cannot be part of 100"):
        step(100.0, PASS, goodput_per_s=goodput)


def test_the_order_of_the_steps_does_not_matter() -> None:
    steps = sweep(r50=PASS, r100=PASS, r150=UNSURE, r200=FAIL)
    assert capacity_bracket(steps[::-1]) == capacity_bracket(steps)


def test_a_sweep_that_never_saturates_says_so() -> None:
    bracket = capacity_bracket(sweep(r50=PASS, r100=PASS))
    assert (bracket.low_per_s, bracket.high_per_s, bracket.state) == (100, None, BracketState.NOT_REACHED)
    estimate = capacity_estimate(bracket)
    assert (estimate.value, estimate.low, estimate.high) == (100, 100, None)
    answer = decided(sweep(r50=PASS, r100=PASS), 200)
    assert answer.verdict is UNSURE
    assert "not reached: 100/s passed and no rate failed" in answer.why


def test_a_sweep_that_fails_at_once_bounds_from_above_only() -> None:
    steps = sweep(r50=FAIL, r100=FAIL)
    bracket = capacity_bracket(steps)
    assert (bracket.low_per_s, bracket.high_per_s, bracket.state) == (None, 50, BracketState.BELOW)
    assert (capacity_estimate(bracket).value, capacity_estimate(bracket).low) == (0.0, None)
    assert decided(steps, 50).verdict is FAIL
    assert decided(steps, 49).verdict is UNSURE


@pytest.mark.parametrize(
    ("target", "verdict"),
    [(199.0, PASS), (200.0, PASS), (200.5, UNSURE), (299.9, UNSURE), (300.0, FAIL), (301.0, FAIL)],
)
def test_a_target_is_decided_by_the_two_ends(target: float, verdict: Verdict) -> None:
    """The capacity is below the lowest rate that failed, so a target at that rate fails."""
    assert decided(sweep(r200=PASS, r300=FAIL), target).verdict is verdict


def test_above_its_highest_pass_is_not_proved() -> None:
    assert decided(sweep(r200=PASS, r300=FAIL), 200.0, ">").verdict is UNSURE


def test_an_undecided_target_is_told_the_bracket() -> None:
    why = decided(sweep(r200=PASS, r300=FAIL), 250.0).why
    assert "200/s passed and 300/s failed" in why


def test_inconclusive_steps_never_move_the_bracket() -> None:
    bracket = capacity_bracket(sweep(r50=PASS, r100=UNSURE, r120=PASS, r150=UNSURE, r200=FAIL))
    assert (bracket.low_per_s, bracket.high_per_s) == (120, 200)
    assert "100/s, 150/s undecided" in bracket.why
    assert capacity_bracket(sweep(r100=UNSURE)).state is BracketState.UNDECIDED
    assert capacity_estimate(capacity_bracket(sweep(r100=UNSURE))).value is None


def test_nothing_tested_is_no_data() -> None:
    estimate = capacity_estimate(capacity_bracket([]))
    assert (estimate.value, estimate.why) == (None, "nothing was tested")


def test_a_sick_generator_is_never_a_failure_of_the_target() -> None:
    steps = [step(50, PASS), step(100, FAIL, healthy=False), Step(120, 60, FAIL, healthy=False)]
    bracket = capacity_bracket(steps)
    assert (bracket.low_per_s, bracket.high_per_s, bracket.state) == (50, None, BracketState.NOT_REACHED)
    assert "100/s, 120/s invalid" in bracket.why
    assert capacity_bracket([step(100, PASS, healthy=False)]).state is BracketState.UNDECIDED


@pytest.mark.parametrize(("achieved", "verdict"), [(98.0, PASS), (97.9, FAIL)])
def test_a_target_that_falls_behind_has_failed_however_fast_it_answers(achieved: float, verdict: Verdict) -> None:
    assert Step(100, achieved, PASS).judged is verdict


def test_random_arrivals_are_measured_against_what_fell_due() -> None:
    assert Step(100, 96.5, PASS, due_per_s=97.0).judged is PASS
    assert Step(100, 98.5, PASS, due_per_s=103.0).judged is FAIL


def test_a_failure_below_a_pass_ends_the_bracket_and_is_reported() -> None:
    bracket = capacity_bracket(sweep(r50=PASS, r100=FAIL, r150=PASS, r200=FAIL))
    assert (bracket.low_per_s, bracket.high_per_s) == (50, 100)
    assert "not monotone: 150/s passed above 100/s" in bracket.why


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ([PASS], PASS),
        ([PASS, UNSURE], UNSURE),
        ([PASS, PASS, UNSURE], PASS),
        ([FAIL, UNSURE], UNSURE),
        ([FAIL, FAIL, UNSURE], FAIL),
        ([PASS, FAIL], UNSURE),
        ([PASS] * 5 + [FAIL], PASS),
        ([PASS] * 3 + [FAIL] * 3, UNSURE),
        ([PASS] * 2 + [UNSURE] * 6, UNSURE),
        ([INVALID, PASS], PASS),
        ([INVALID, INVALID], INVALID),
    ],
)
def test_repeats_count_only_beyond_what_chance_would_give(verdicts: list[Verdict], together: Verdict) -> None:
    level = capacity_bracket([step(100, v) for v in verdicts]).levels[0]
    assert level.verdict is together


def test_no_pass_counts_above_a_rate_whose_repeats_disagree() -> None:
    steps = [step(50, PASS), step(100, PASS), step(100, FAIL), step(150, PASS), step(300, FAIL)]
    bracket = capacity_bracket(steps)
    assert (bracket.low_per_s, bracket.high_per_s) == (50, 300)
    assert "100/s: 2 steps, 1 PASS, 1 FAIL" in bracket.why


def test_an_extended_step_replaces_what_it_holds() -> None:
    steps = [step(100, UNSURE, n=1000), step(100, PASS, n=2000, pooled=True), step(200, FAIL, n=1000)]
    bracket = capacity_bracket(steps)
    assert (bracket.low_per_s, bracket.n, bracket.steps) == (100, 3000, 2)


@pytest.mark.parametrize("rates", [(0.0, 0.0), (-1.0, 1.0), (math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)])
def test_rates_that_are_none_are_refused(rates: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not the rates of a step"):
        Step(*rates, PASS)


def measured(rate: float, p99: float, spread: float = 0.1, **more: object) -> Step:
    latency = Estimate(p99, p99 * (1 - spread), p99 * (1 + spread), 1000, 500.0, "test")
    return step(rate, UNSURE, latency=latency, **more)


def mm1_p99(rate: float) -> float:
    return math.log(100.0) / (100.0 - rate)


def test_interpolation_is_exact_on_the_p99_of_an_mm1_queue() -> None:
    bracket = capacity_bracket([measured(rate, mm1_p99(rate)) for rate in (20.0, 40.0, 70.0, 90.0)])
    estimate = interpolated_capacity(bracket, 0.1)
    assert estimate.value == pytest.approx(100.0 - math.log(100.0) / 0.1)
    assert estimate.low is not None
    assert estimate.high is not None
    assert 40.0 < estimate.low < 53.9 < estimate.high < 70.0


def test_interpolation_needs_a_crossing() -> None:
    below = capacity_bracket([measured(20.0, 0.05), measured(40.0, 0.06)])
    assert interpolated_capacity(below, 0.1).value is None
    assert interpolated_capacity(capacity_bracket([measured(20.0, 0.05)]), 0.1).value is None
    with pytest.raises(ValueError, match="above 0"):
        interpolated_capacity(below, 0.0)


def test_interpolation_leaves_open_what_the_bounds_do_not_cross() -> None:
    bracket = capacity_bracket([measured(40.0, 0.09, 0.2), measured(60.0, 0.11, 0.2)])
    estimate = interpolated_capacity(bracket, 0.1)
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)


def test_a_quantile_without_an_upper_bound_bounds_at_the_step_below_it() -> None:
    open_top = Step(60.0, 60.0, UNSURE, latency=Estimate(0.2, 0.15, None, 100, 9.0, "test"))
    failed = Step(90.0, 90.0, FAIL, latency=Estimate(math.inf, 0.5, None, 100, 9.0, "test"))
    estimate = interpolated_capacity(capacity_bracket([measured(40.0, 0.05), open_top, failed]), 0.1)
    assert estimate.low == 40.0
    assert estimate.value is not None
    assert 40.0 < estimate.value < 60.0
