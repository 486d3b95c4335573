"""Runs of builds compared: what is said, and what is never said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repeats import most, rounds
from scipy import stats

from faultload_analysis.compare.baseline import Place, baseline_gate
from faultload_analysis.compare.builds import (
    Contrast,
    Difference,
    compare_many,
    compare_runs,
    overhead_estimate,
    speedup_estimate,
)
from faultload_analysis.compare.ranks import pairwise_rank, rank_sum_p

BASE = [100.0, 102.0, 99.0, 101.0, 100.5]
ROUNDED = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=7)


def test_a_regression_is_beyond_the_margin_and_an_equivalent_build_within() -> None:
    slower = compare_runs(BASE, [x * 1.2 for x in BASE], margin=0.05, relative=True)
    assert slower.state is Difference.WORSE
    assert slower.ratio == pytest.approx(1.2, rel=0.01)
    assert slower.ratio_low is not None and slower.ratio_low > 1.05
    assert "worse: median 100.5 -> 120.6 over 5 and 5 runs" in slower.why and "margin 5.0%" in slower.why
    same = compare_runs(BASE, [x * 1.001 for x in BASE], margin=0.05, relative=True)
    assert same.state is Difference.EQUIVALENT
    barely = compare_runs(BASE, [x * 1.05 for x in BASE], margin=0.05, relative=True)
    assert barely.state is Difference.UNDECIDED, "significant, but perhaps no more than the margin"
    assert barely.p is not None and barely.p < 0.05 < (barely.p_beyond or 0)
    assert compare_runs(BASE, [x + 2 for x in BASE], margin=10.0).state is Difference.EQUIVALENT


def test_the_direction_decides_what_is_better() -> None:
    more = [x * 1.2 for x in BASE]
    assert compare_runs(BASE, more, lower_is_better=False).state is Difference.BETTER
    assert compare_runs(more, BASE, lower_is_better=False).state is Difference.WORSE
    assert compare_runs(more, BASE).state is Difference.BETTER


def test_three_runs_a_side_never_say_and_one_run_neither() -> None:
    for few in ([1.0], [1.0, 2.0], [1.0, 2.0, 3.0]):
        found = compare_runs(few, [x + 1000 for x in few])
        assert found.state is Difference.TOO_FEW
        assert "4 a side can" in found.why
    assert compare_runs([1, 2, 3], [11, 12, 13, 14, 15]).state is Difference.WORSE, "3 and 5: 2 / 56"
    assert compare_runs([1.0] * 3, [1.0] * 3, margin=1.0).state is Difference.TOO_FEW


def test_runs_that_never_vary_or_are_not_there_have_an_answer() -> None:
    same = compare_runs([5.0] * 4, [5.0] * 4)
    assert (same.state, same.p, same.shift, same.superiority) == (Difference.EQUIVALENT, 1.0, 0.0, 0.5)
    assert "do not vary" in same.why
    assert compare_runs([5.0] * 4, [6.0] * 4).state is Difference.WORSE
    empty = compare_runs([], BASE)
    assert (empty.state, empty.p, empty.shift) == (Difference.TOO_FEW, None, None)
    assert empty.why == "too few runs: no runs on the base side"
    assert compare_runs([], []).why.endswith("no runs on either side")


def test_a_run_whose_value_is_infinite_counts_as_the_worst() -> None:
    broken = compare_runs(BASE, [math.inf] * 5)
    assert (broken.state, broken.shift, broken.new_median) == (Difference.WORSE, math.inf, math.inf)
    both = compare_runs([math.inf] * 4, [math.inf] * 4)
    assert (both.state, both.shift) == (Difference.EQUIVALENT, 0.0)


@pytest.mark.parametrize(
    ("base", "new", "options", "message"),
    [
        ([1, math.nan], [1], {}, "NaN"),
        ([1, 2], [-math.inf], {}, "minus infinity"),
        ([[1, 2]], [1], {}, "one value a run"),
        (BASE, BASE, {"margin": -1}, "margin"),
        ([0.0, 1.0], [1.0], {"margin": 0.1, "relative": True}, "positive"),
        (BASE, BASE, {"confidence": 1.0}, "confidence"),
    ],
)
def test_what_is_no_comparison_is_refused(base: list[float], new: list[float], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_runs(base, new, **options)


def test_the_same_location_with_another_spread_is_remarked() -> None:
    narrow, wide = np.linspace(-0.01, 0.01, 21), np.linspace(-10, 10, 20)
    assert "not in shape" in compare_runs(narrow, wide).why


@settings(max_examples=60)
@given(ROUNDED, ROUNDED)
def test_the_rank_test_is_exact_given_the_ties(low: list[float], high: list[float]) -> None:
    """Against scipy's enumeration of every arrangement of the same midranks."""
    a, b = np.array(low), np.array(high)
    if a.size + b.size > 9:
        a, b = a[:4], b[:4]
    ranks = stats.rankdata(np.concatenate((a, b)))

    def sum_of_new(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.sum(y, axis=axis)

    every = stats.permutation_test(
        (ranks[: a.size], ranks[a.size :]), sum_of_new, alternative="greater", n_resamples=np.inf, vectorized=True
    ) if a.size > 1 and b.size > 1 else None  # fmt: skip
    if every is not None:
        assert rank_sum_p(a, b) == pytest.approx(float(every.pvalue))
    assert rank_sum_p(a, b) + rank_sum_p(b, a) >= 1.0 - 1e-12


@settings(max_examples=60)
@given(st.lists(st.floats(1, 1e6), min_size=4, max_size=8), st.lists(st.floats(1, 1e6), min_size=4, max_size=8))
def test_swapping_the_sides_turns_the_comparison_round(a: list[float], b: list[float]) -> None:
    there, back = compare_runs(a, b), compare_runs(b, a)
    assert there.p == pytest.approx(back.p)
    assert there.shift == pytest.approx(-(back.shift or 0.0), abs=1e-9)
    assert there.shift_low == pytest.approx(-(back.shift_high or 0.0), abs=1e-9)
    turned = {Difference.WORSE: Difference.BETTER, Difference.BETTER: Difference.WORSE}
    assert back.state is turned.get(there.state, there.state)


def test_the_interval_of_the_shift_covers_as_often_as_it_says() -> None:
    rng, missed, repeats = np.random.default_rng(4), 0, rounds(1000)
    for _ in range(repeats):
        found = compare_runs(rng.exponential(size=5), 1.0 + rng.exponential(size=6))
        missed += not (found.shift_low or 0) <= 1.0 <= (found.shift_high or 0)
    # exact coverage 1 - 2 P(U <= 3) = .970
    assert missed <= most(repeats, 0.05, chance=0.015)


def test_exact_and_approximate_ranks_meet() -> None:
    assert abs(pairwise_rank(50, 50, 0.025) - pairwise_rank(50, 51, 0.025) * 50 / 51) < 3
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=50), rng.normal(0.3, 1, size=50)
    approximate = stats.mannwhitneyu(b, a, alternative="greater", method="asymptotic").pvalue
    assert rank_sum_p(a, b) == pytest.approx(approximate, abs=0.001)


def test_exploring_many_metrics_costs_and_a_gate_does_not() -> None:
    rng = np.random.default_rng(11)
    noise = [Contrast(f"m{i}", rng.normal(size=6), rng.normal(size=6)) for i in range(12)]
    suspect = Contrast("p99", [1, 2, 3, 4, 5, 6], [5.5, 6.5, 7, 8, 9, 10])
    explored = compare_many([*noise, suspect])
    alone = compare_runs(suspect.base, suspect.new)
    assert alone.state is Difference.WORSE
    assert (explored["p99"].q or 0) > 0.05 > (explored["p99"].p or 1)
    assert explored["p99"].state is Difference.UNDECIDED and "only by itself" in explored["p99"].why
    gate = compare_many([*noise, Contrast("p99", suspect.base, suspect.new, gate=True)])["p99"]
    assert (gate.state, gate.q, gate.why) == (alone.state, None, alone.why)
    assert list(explored) == [*(one.name for one in noise), "p99"]
    assert compare_many([]) == {}
    with pytest.raises(ValueError, match="one name"):
        compare_many([suspect, suspect])


def test_speedup_and_overhead_are_ratios_of_runs_with_bounds() -> None:
    faster = speedup_estimate([10.0, 10.2, 9.9, 10.1], [2.0, 2.02, 1.99, 2.01])
    assert faster.value == pytest.approx(5.0, rel=0.02)
    assert faster.low is not None and faster.high is not None and 4.8 < faster.low < 5 < faster.high < 5.2
    cost = overhead_estimate([10.0, 10.2, 9.9], [10.5, 10.7, 10.4])
    assert cost.value == pytest.approx(0.05, abs=0.005) and cost.low is not None, "3 and 3 bound one side at 95 %"
    assert speedup_estimate([10.0, 10.0], [5.0, 5.0]).low is None
    assert speedup_estimate([], [5.0]).value is None
    with pytest.raises(ValueError, match="positive"):
        speedup_estimate([0.0], [1.0])


def test_a_run_is_outside_only_beyond_what_its_baselines_show() -> None:
    history = [100.0 + i for i in range(19)]
    assert baseline_gate(history, 119.0).place is Place.OUTSIDE
    assert baseline_gate(history, 118.0).place is Place.WITHIN, "as bad as the worst"
    assert baseline_gate(history, 119.0).limit == 118.0
    assert baseline_gate(history, 99.0, lower_is_better=False).place is Place.OUTSIDE
    few = baseline_gate(history[:18], 1e9)
    assert few.place is Place.TOO_FEW and "one new run need 19, there are 18" in few.why
    assert baseline_gate(history[:5], [200.0, 201.0, 202.0]).place is Place.OUTSIDE, (
        "three runs against five: 1 / 56"
    )
    assert baseline_gate(history, []).place is Place.TOO_FEW
    assert baseline_gate([], [1.0]).place is Place.TOO_FEW
    assert baseline_gate(history, math.inf).place is Place.OUTSIDE


def test_an_assumed_shape_needs_fewer_baselines() -> None:
    history = [100.0, 103.0, 98.0, 101.0, 99.0, 100.0]
    found = baseline_gate(history, 120.0, shape="lognormal")
    assert found.place is Place.OUTSIDE and found.limit is not None and 103 < found.limit < 106
    assert baseline_gate(history, 101.0, shape="normal").place is Place.WITHIN
    assert baseline_gate(history[:4], 1e9, shape="normal").place is Place.TOO_FEW
    assert "do not vary" in baseline_gate([5.0] * 9, 6.0, shape="normal").why
    with pytest.raises(ValueError, match="infinite"):
        baseline_gate(history, math.inf, shape="normal")
    with pytest.raises(ValueError, match="positive"):
        baseline_gate([0.0, *history], 1.0, shape="lognormal")
    with pytest.raises(ValueError, match="NaN"):
        baseline_gate(history, math.nan)


def test_a_build_that_did_not_change_is_outside_in_one_check_of_twenty() -> None:
    rng = np.random.default_rng(13)
    for shape in ("any", "lognormal"):
        draws = np.exp(0.1 * rng.normal(size=(600, 20)))
        out = sum(baseline_gate(row[:19], row[19], shape=shape).place is Place.OUTSIDE for row in draws)
        assert out <= 45  # binomial(600, .05) exceeds 45 with probability .004
        assert out >= 14, "and no less often than it may"
