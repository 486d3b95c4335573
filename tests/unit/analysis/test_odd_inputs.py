"""Odd inputs, one table: each gets a defined answer, or a ValueError that names the problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from faultload_analysis.capacity.bracket import Step, capacity_bracket, capacity_estimate, interpolated_capacity
from faultload_analysis.capacity.knee import find_knee, kneedle
from faultload_analysis.capacity.queueing import little_check
from faultload_analysis.capacity.scaling import scaling_efficiency
from faultload_analysis.capacity.usl import usl_fit
from faultload_analysis.compare.baseline import baseline_gate
from faultload_analysis.compare.bootstrap import quantile_difference, quantile_ratio, ratio_estimate
from faultload_analysis.compare.builds import (
    Contrast,
    compare_many,
    compare_runs,
    overhead_estimate,
    speedup_estimate,
)
from faultload_analysis.compare.changepoints import change_points
from faultload_analysis.evidence.verdict import Estimate, Verdict
from faultload_analysis.figures import (
    QuantileSeries,
    history,
    latency_by_quantile,
    quantile_changes,
    timeline,
    trend,
)
from faultload_analysis.latency.breakdown import by_group, worst_window
from faultload_analysis.latency.generator import SlipBuilder, slips, spoiled_seconds
from faultload_analysis.latency.histogram import Histogram
from faultload_analysis.latency.omission import correct_omission
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import mean_estimate, quantile_estimate, summary
from faultload_analysis.latency.slices import SliceBuilder, slices
from faultload_analysis.latency.throughput import RateCounter, rate_estimate
from faultload_analysis.latency.timeline import TimelineBuilder, timeline_of
from faultload_analysis.latency.trend import slope_estimate
from faultload_analysis.latency.warmup import mser
from faultload_analysis.recovery.durability import recovery_point, write_fates
from faultload_analysis.recovery.faults import Recovery, SliceRule, baseline_rule, recover
from faultload_analysis.recovery.overload import hysteresis, overload_recovery
from faultload_analysis.recovery.production import availability_estimate, mtbf_estimate
from faultload_analysis.recovery.repeats import median_ttr, mttr, restricted_mean_ttr
from faultload_analysis.slo.alerts import AlertReplay, burn_alerts
from faultload_analysis.slo.availability import burn_rate_estimate, error_budget, proportion_estimate
from faultload_analysis.slo.budget import burn_down
from faultload_analysis.slo.sequential import EarlyStop, SequentialPlan
from faultload_analysis.slo.timeslices import timeslice_budget

pytestmark = pytest.mark.filterwarnings("error")

NAN, INF, DAY = math.nan, math.inf, 86400.0
PLAN = SequentialPlan(0.001, 0.002)
RULE = SliceRule(0.01, 0.2)
RUNS = [1.0, 2.0, 3.0, 4.0]


def bounds(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    return estimate.low, estimate.value, estimate.high


def added(builder: Any, *calls: tuple[Any, ...]) -> Any:
    for call in calls:
        builder.add(*call)
    return builder


def watched(times: Sequence[float], latency: Sequence[float], **options: Any) -> Recovery:
    cut = slices(times, latency, start_s=0.0, end_s=60.0)
    return recover(cut, RULE, **{"injected_s": 30.0, "until_s": 60.0} | options)


def took(seconds: float | None) -> Recovery:
    """A recovery after `seconds`, or none within 50 s."""
    censored = 50.0 if seconds is None else None
    return Recovery(0.0, None, None, seconds, False, seconds is not None, censored, None, True, "")


def spoiled(limit_s: float = 0.01, moment: float = 1.5, lag: float = 0.0, cpu: float = 5.0) -> list[bool]:
    late = slips([0.5], [0.001], start_s=0.0, end_s=3.0)
    health = [0.4, moment, 2.6], [0.0, lag, 0.0], [5.0, cpu, 5.0]
    return spoiled_seconds(late, *health, limit_s=limit_s).mask.tolist()


def after_overload(bad: int, **options: Any) -> str:
    trigger = {"width_s": 1.0, "trigger_start_s": 20.0, "trigger_end_s": 30.0, **options}
    return overload_recovery(np.arange(400.0), [9] * 400, [0] * 30 + [bad] * 370, **trigger).state.value


def bracket(*steps: tuple[float, Verdict, float]) -> Any:
    made = [Step(rate, rate, verdict, latency=Estimate(p99, p99, p99, 9, 9, "")) for rate, verdict, p99 in steps]
    return capacity_bracket(made)


BUSY = np.arange(600) / 10.0, np.full(600, 0.1)

ANSWERS: dict[str, tuple[Callable[[], Any], Any]] = {
    # nothing at all: no value, never a pass
    "quantile of nothing": (lambda: bounds(quantile_estimate([], 0.99)), (None, None, None)),
    "mean of nothing": (lambda: bounds(mean_estimate([])), (None, None, None)),
    "share of nothing": (lambda: bounds(proportion_estimate([])), (None, None, None)),
    "summary of nothing": (lambda: (summary([]).n, summary([]).p99, summary([]).mean), (0, None, None)),
    "histogram of nothing": (lambda: (Histogram().n, Histogram().mean), (0, None)),
    "population of nothing": (lambda: (Population().n, Population().mean, Population().variance), (0, None, None)),
    "groups of nothing": (lambda: by_group([], [], ["a"]).groups["a"].n, 0),
    "worst window of nothing": (lambda: worst_window([], [], width_s=1.0).value, None),
    "warm-up of nothing": (lambda: (mser([]).discard, mser([]).too_short), (0, True)),
    "omission in nothing": (lambda: correct_omission([], interval=1.0).values.n, 0),
    "slices of nothing": (lambda: slices([], [], start_s=0, end_s=2).total.tolist(), [0, 0]),
    "slices built of nothing": (
        lambda: added(SliceBuilder(0, 2, 1), ([], [])).finish(lambda _a, _b: ([], [])).total.tolist(),
        [0, 0],
    ),
    "baseline of nothing": (lambda: baseline_rule([], latency_limit_s=0.5).baseline_ok, False),
    "recovery without requests": (
        lambda: (watched([], []).measurable, watched([], []).baseline_ok),
        (False, False),
    ),
    "timeline of nothing": (lambda: added(TimelineBuilder(0, 2, ["error"]), ([], [], [])).finish().total.sum(), 0),
    "slips of nothing": (lambda: added(SlipBuilder(0, 2), ([], [])).finish().all_p99_s, None),
    "no health is spoiled": (
        lambda: spoiled_seconds(slips([], [], start_s=0, end_s=2), [], [], [], limit_s=0.01).seconds,
        2,
    ),
    "rate of less than a second": (lambda: RateCounter(0.0, 0.5).estimate().value, None),
    "slope of nothing": (lambda: slope_estimate([], []).value, None),
    "alerts of nothing": (lambda: (burn_alerts([], [], 0.999), AlertReplay(0.999).finish()), ([], [])),
    "budget of nothing": (lambda: error_budget(([], []), 0.999, DAY, 60.0).consumed, None),
    "burn rate of nothing": (lambda: burn_rate_estimate([], 0.999).value, None),
    "budget of empty slices": (lambda: error_budget([NAN, NAN], 0.999, DAY, 60.0).consumed, None),
    "burn-down without requests": (lambda: np.isnan(burn_down([0], [0], 0.999, DAY).remaining).all(), True),
    "time slices of nothing": (lambda: timeslice_budget([], [], 0.99, DAY, slice_target=0.9).budget.consumed, None),
    "early stop of nothing": (lambda: EarlyStop(PLAN).add([], []).value, "continue"),
    "no recoveries": (lambda: [bounds(f([])) for f in (mttr, median_ttr, restricted_mean_ttr)], [(None,) * 3] * 3),
    "no rate declared": (lambda: (mtbf_estimate({}, {}).value, availability_estimate({}, {}).value), (None, None)),
    "no injection": (lambda: mtbf_estimate({"kill": 1e-6}, {"kill": (0, 0)}).value, None),
    "no writes": (lambda: bounds(recovery_point(write_fates([], [], read_s=1.0), 0.0)), (None, None, None)),
    "no steps": (lambda: capacity_estimate(capacity_bracket([])).value, None),
    "no steps to interpolate": (lambda: interpolated_capacity(capacity_bracket([]), 0.1).value, None),
    "no points, no knee": (lambda: (find_knee([], []).found, kneedle([], [])), (False, None)),
    "Little of nothing": (lambda: little_check([], 1.0, []).holds, None),
    "overload without slices": (
        lambda: overload_recovery([], [], [], width_s=1, trigger_start_s=1, trigger_end_s=2).state.value,
        "not measurable",
    ),
    "no loads": (lambda: hysteresis([], []).gap.value, None),
    "no runs": (lambda: (compare_runs([], []).state.value, compare_runs([], RUNS).shift), ("too few runs", None)),
    "no contrasts": (lambda: compare_many([]), {}),
    "no baselines": (lambda: baseline_gate([], [1.0]).place.value, "too few baselines"),
    "no new run": (lambda: baseline_gate([1.0] * 20, []).place.value, "too few baselines"),
    "ratios of nothing": (
        lambda: [f([], RUNS).value for f in (speedup_estimate, overhead_estimate, scaling_efficiency)],
        [None] * 3,
    ),
    "quantiles of nothing compared": (
        lambda: [f([], RUNS, 0.5).value for f in (quantile_ratio, quantile_difference, ratio_estimate)],
        [None] * 3,
    ),
    "history of nothing": (lambda: change_points([]).points, ()),
    # one sample: the value, and open where one cannot bound
    "quantile of one": (lambda: bounds(quantile_estimate([0.1], 0.99)), (0.1, 0.1, None)),
    "mean of one": (lambda: bounds(mean_estimate([0.1])), (None, 0.1, None)),
    "share of one": (lambda: bounds(proportion_estimate([False])), (pytest.approx(0.05), 1.0, 1.0)),
    "variance of one": (lambda: Population([0.1]).variance, None),
    "median of one recovery": (lambda: bounds(median_ttr([5.0])), (None, 5.0, None)),
    "mean of one recovery": (lambda: bounds(mttr([took(5.0)])), (None, 5.0, None)),
    "restricted mean of one": (lambda: bounds(restricted_mean_ttr([5.0])), (None, 5.0, None)),
    "one run a side": (lambda: compare_runs([1.0], [2.0]).state.value, "too few runs"),
    "speed-up of one and one": (lambda: bounds(speedup_estimate([4.0], [2.0])), (None, pytest.approx(2.0), None)),
    "scaling of one and one": (lambda: bounds(scaling_efficiency([2.0], [1.0])), (None, 0.5, None)),
    "one step that passes": (
        lambda: bounds(capacity_estimate(bracket((5.0, Verdict.PASS, 0.1)))),
        (5.0, 5.0, None),
    ),
    "one request each": (lambda: bounds(quantile_ratio([0.1], [0.2], 0.5)), (None, 2.0, None)),
    "points at one moment": (lambda: slope_estimate([5.0] * 99, [1.0] * 99, min_duration_s=0).value, None),
    "one request to alert on": (lambda: burn_alerts([5.0], [True], 0.999), []),
    # all failed: infinitely slow, nothing left of the ok ones
    "quantile of failures": (lambda: bounds(quantile_estimate([INF] * 500, 0.99)), (INF, INF, INF)),
    "mean of failures": (lambda: bounds(mean_estimate([INF] * 3)), (INF, INF, None)),
    "share of failures": (lambda: proportion_estimate([True] * 3).value, 0.0),
    "summary of failures": (lambda: (summary([INF] * 3).p50, summary([INF] * 3).ok_p50), (INF, None)),
    "mean of failed histogram": (lambda: (Histogram([INF]).mean, Histogram([INF]).minimum), (None, INF)),
    "folded failures": (lambda: Population([INF] * 9, keep=0).order_statistic(1), INF),
    "warm-up of failures": (lambda: mser([INF] * 100).discard, 0),
    "omission in failures": (lambda: correct_omission([INF] * 3, interval=1.0).added, 0),
    "worst window of failures": (lambda: worst_window([0.0], [INF], width_s=1.0, p=0.5).failed_share, 1.0),
    "failed baseline": (lambda: baseline_rule([INF] * 9, latency_limit_s=0.5).baseline_ok, False),
    "timeline of failures": (lambda: timeline_of([0.5], [INF], [0], ["error"], end_s=1).errors.tolist(), [[1]]),
    "recoveries that never came": (lambda: bounds(mttr([took(None)] * 3))[1:], (INF, None)),
    "median of none recovered": (lambda: bounds(median_ttr([], [50.0] * 9)), (None, INF, None)),
    "restricted mean of none recovered": (lambda: bounds(restricted_mean_ttr([], [50.0] * 9)), (None, 50.0, None)),
    "no write found": (lambda: write_fates([1.0], [False], read_s=2.0).lost_writes.value, 1.0),
    "failed runs": (lambda: compare_runs(RUNS, [INF] * 4).state.value, "worse"),
    "failed against failed": (lambda: quantile_ratio([INF] * 99, [INF] * 99, 0.5).value, None),
    "failed new run": (lambda: baseline_gate(np.arange(1.0, 21.0), [INF]).place.value, "outside"),
    "history of failures": (lambda: change_points([INF] * 20).points, ()),
    "every step fails": (lambda: bounds(capacity_estimate(bracket((5.0, Verdict.FAIL, INF))))[:2], (None, 0.0)),
    "never back after an overload": (lambda: after_overload(9), "metastable"),
    "nothing came at scale": (lambda: bounds(scaling_efficiency([1.0, 2.0], [0.0, 0.0])), (0.0, 0.0, None)),
    # any order, and a clock that goes back: sorted where all is at hand
    "worst window unsorted": (lambda: worst_window([5.0, 0.0], [0.2, 0.1], width_s=1.0, p=0.5).value, 0.2),
    "slices unsorted": (lambda: slices([1.5, 0.5], [0.2, 0.1], start_s=0, end_s=2).p50.tolist(), [0.1, 0.2]),
    "recovery unsorted": (lambda: watched(BUSY[0][::-1].tolist(), BUSY[1].tolist()).absorbed, True),
    "timeline unsorted": (lambda: timeline_of([1, 0], [0.2, 0.1], [0, 0], [], end_s=2).p50.tolist(), [0.1, 0.2]),
    "slips unsorted": (lambda: slips([1, 0], [0.2, 0.1], start_s=0, end_s=2).p99_s.tolist(), [0.1, 0.2]),
    "alerts unsorted": (
        lambda: (
            burn_alerts(np.arange(900.0)[::-1], [True] * 900, 0.999)
            == burn_alerts(np.arange(900.0), [True] * 900, 0.999)
        ),
        True,
    ),
    "slope unsorted": (lambda: slope_estimate(np.arange(99.0)[::-1], np.arange(99.0)[::-1]).value, 1.0),
    "knee unsorted": (lambda: kneedle(np.arange(20)[::-1], np.minimum(np.arange(20), 9)[::-1]), 9.0),
    "steps unsorted": (
        lambda: bracket((9.0, Verdict.FAIL, 1.0), (5.0, Verdict.PASS, 0.1)).low_per_s,
        5.0,
    ),
    "a failed load below one that passed": (
        lambda: bounds(hysteresis([5, 1, 5], [Verdict.PASS, Verdict.FAIL, Verdict.PASS]).gap),
        (None, 0.0, 0.0),
    ),
    # what was not measured is not measured
    "NaN points have no slope": (lambda: slope_estimate(np.arange(99.0), [NAN] * 99).value, None),
    "NaN health": (lambda: (spoiled(lag=NAN), spoiled(cpu=NAN)), ([False, True, False],) * 2),
    "infinite health": (lambda: (spoiled(moment=INF), spoiled(lag=INF)), ([False, True, False],) * 2),
    "write without an acknowledgement": (lambda: write_fates([NAN], [True], read_s=1.0).lost_writes.value, None),
    "write that was not read": (lambda: write_fates([1.0], [False], read_s=NAN).lost_writes.value, None),
    "Little of NaN": (lambda: little_check([NAN], 1.0, [1.0]).holds, None),
    "an infinite quantile only bounds": (
        lambda: interpolated_capacity(bracket((1, Verdict.PASS, 0.1), (2, Verdict.FAIL, INF)), 0.2).value,
        1.5,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_odd_input_has_this_answer(name: str) -> None:
    ask, answer = ANSWERS[name]
    assert ask() == answer


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    # NaN, where it cannot mean "nothing"
    "quantile": (lambda: quantile_estimate([0.1, NAN], 0.99), "hold NaN"),
    "mean": (lambda: mean_estimate([NAN]), "hold NaN"),
    "share": (lambda: proportion_estimate([True, NAN]), "true or false"),
    "share of latencies": (lambda: proportion_estimate([0.1, 0.2]), "true or false"),
    "burn rate": (lambda: burn_rate_estimate([NAN], 0.999), "true or false"),
    "summary": (lambda: summary([NAN]), "hold NaN"),
    "histogram": (lambda: Histogram([NAN]), "hold NaN"),
    "population": (lambda: Population([NAN]), "hold NaN"),
    "groups": (lambda: by_group([0.1], [NAN], ["a"]), "indices"),
    "worst window": (lambda: worst_window([NAN], [0.1], width_s=1.0), "times hold NaN"),
    "warm-up": (lambda: mser([NAN] * 100), "hold NaN"),
    "omission": (lambda: correct_omission([NAN], interval=1.0), "hold NaN"),
    "slices": (lambda: slices([NAN], [0.1], start_s=0, end_s=1), "hold NaN"),
    "slices, latency of -inf": (lambda: slices([0.5], [-INF], start_s=0, end_s=1), "-inf"),
    "slices of a limit": (lambda: slices([0.5], [0.1], start_s=0, end_s=1).over(NAN), "limit is not a number"),
    "baseline": (lambda: baseline_rule([NAN]), "hold NaN"),
    "baseline times": (lambda: baseline_rule([0.1], times_s=[INF]), "times finite"),
    "baseline tolerance": (lambda: baseline_rule([0.1], tolerance=NAN), "tolerance"),
    "baseline without anything": (lambda: baseline_rule([INF]), "ok requests or a declared latency limit"),
    "recovery alerts": (lambda: watched(*BUSY, alerts_s=[NAN]), "must be finite"),
    "recovery until": (lambda: watched(*BUSY, until_s=INF), "nothing to watch"),
    "recovery hold": (lambda: watched(*BUSY, hold_s=NAN), "nothing to watch"),
    "recovery backwards": (lambda: watched(*BUSY, until_s=10.0), "nothing to watch"),
    "timeline": (lambda: added(TimelineBuilder(0, 1, []), ([NAN], [0.1], [0])), "hold NaN"),
    "timeline iterations": (lambda: TimelineBuilder(0, 1, []).add_iterations([NAN], []), "hold NaN"),
    "timeline outcome": (lambda: timeline_of([0.5], [INF], [3], ["error"], end_s=1), "outcome 3 of a failed"),
    "timeline without an end": (lambda: TimelineBuilder(0, INF, []), "no timeline"),
    "slips": (lambda: slips([0.5], [NAN], start_s=0, end_s=1), "hold NaN"),
    "slips without an end": (lambda: SlipBuilder(0, INF), "no seconds"),
    "spoiled limit": (lambda: spoiled(limit_s=NAN), "late by more than 0"),
    "rate": (lambda: rate_estimate([NAN], start_s=0, end_s=9), "hold NaN"),
    "slope": (lambda: slope_estimate([1.0], [1.0], confidence=NAN), "confidence"),
    "a quantile at": (lambda: quantile_estimate([1.0], 0.99, confidence=NAN), "confidence"),
    "a quantile of NaN": (lambda: quantile_estimate([1.0], NAN), "a quantile lies in"),
    "a mean at": (lambda: mean_estimate([1.0], confidence=0.0), "confidence"),
    "a share at": (lambda: proportion_estimate([True], confidence=1.0), "confidence"),
    "a rate without end": (lambda: RateCounter(0.0, INF), "no time"),
    "alerts": (lambda: burn_alerts([NAN], [True], 0.999), "times hold NaN"),
    "alerts at infinity": (lambda: burn_alerts([INF], [True], 0.999), "infinite"),
    "alerts of NaN": (lambda: burn_alerts([1.0], [NAN], 0.999), "true or false"),
    "alerts until": (lambda: burn_alerts([1.0], [True], 0.999, end_s=-5.0), "no run to replay"),
    "alert counts": (lambda: AlertReplay(0.999).add([INF], [INF]), "finite"),
    "budget": (lambda: error_budget(([1.0], [NAN]), 0.999, DAY, 60.0), "true or false"),
    "budget of shares": (lambda: error_budget([-1.0, 0.5], 0.999, DAY, 60.0), "between 0 and 1"),
    "budget of an endless run": (lambda: error_budget([0.5], 0.999, DAY, INF), "finite"),
    "burn-down": (lambda: burn_down([NAN], [NAN], 0.999, DAY), "0 <= bad <= total"),
    "burn-down of no slices": (lambda: burn_down([], [], 0.999, DAY), "no slices"),
    "time slices": (lambda: timeslice_budget([INF], [INF], 0.99, DAY, slice_target=0.9), "finite"),
    "time slices of no window": (lambda: timeslice_budget([1], [0], 0.99, NAN, slice_target=0.9), "whole slices"),
    "early stop": (lambda: EarlyStop(PLAN).add([INF], [INF]), "finite"),
    "sequential plan": (lambda: SequentialPlan(NAN, 0.1), "acceptable"),
    "median": (lambda: median_ttr([NAN]), "finite"),
    "median at": (lambda: median_ttr([1.0], [2.0], confidence=INF), "confidence"),
    "restricted mean": (lambda: restricted_mean_ttr([1.0], until_s=INF), "says nothing"),
    "mean time to recovery at": (lambda: mttr([took(1.0), took(2.0)], confidence=0.0), "confidence"),
    "rate of faults": (lambda: mtbf_estimate({"kill": NAN}, {"kill": (1, 2)}), "not above 0"),
    "writes": (lambda: write_fates([1.0], [NAN], read_s=2.0), "true or false"),
    "writes at infinity": (lambda: write_fates([INF], [True], read_s=2.0), "must be finite"),
    "recovery point": (lambda: recovery_point(write_fates([1.0], [True], read_s=2.0), NAN), "needs a time"),
    "step": (lambda: Step(NAN, 1.0, Verdict.PASS), "not the rates"),
    "interpolation": (lambda: interpolated_capacity(capacity_bracket([]), NAN), "limit"),
    "USL": (lambda: usl_fit([1, 2, 4, NAN], [1, 2, 3, 4]), "finite and above 0"),
    "USL of nothing": (lambda: usl_fit([], []), "at least 4 points"),
    "knee": (lambda: find_knee([NAN], [1.0]), "NaN"),
    "knee at": (lambda: find_knee(range(9), range(9), alpha=NAN), "alpha"),
    "kneedle of a misspelt curve": (lambda: kneedle([1], [1], curve="konvex"), "no such knee"),  # type: ignore[arg-type]
    "Little": (lambda: little_check([-1.0], 1.0, [1.0]), "negative"),
    "overload": (lambda: after_overload(NAN), "0 <= bad <= total"),  # type: ignore[arg-type]
    "overload latency": (lambda: after_overload(9, latency_s=[NAN] * 400), "NaN"),
    "overload trigger": (lambda: after_overload(0, trigger_end_s=NAN), "not an overload"),
    "loads": (lambda: hysteresis([NAN], [Verdict.FAIL]), "finite and above 0"),
    "runs": (lambda: compare_runs([NAN], RUNS), "NaN"),
    "contrasts": (lambda: compare_many([Contrast("p99", [-INF], RUNS)]), "minus infinity"),
    "baselines": (lambda: baseline_gate([NAN], [1.0]), "NaN"),
    "speed-up": (lambda: speedup_estimate([INF], [1.0]), "finite"),
    "overhead at": (lambda: overhead_estimate(RUNS, RUNS, confidence=NAN), "confidence"),
    "scaling": (lambda: scaling_efficiency([NAN], [1.0]), "finite"),
    "quantile ratio": (lambda: quantile_ratio([NAN], [0.1], 0.5), "hold NaN"),
    "any ratio": (lambda: ratio_estimate([NAN], [0.1], np.max), "hold NaN"),
    "history": (lambda: change_points([NAN]), "NaN"),
    "history of changes": (lambda: change_points(RUNS, min_change=NAN), "share from 0"),
    # chunks cannot be sorted: a clock that goes back between or within them is named
    "slices backwards": (lambda: added(SliceBuilder(0, 9, 1), ([5.0], [0.1]), ([1.0], [0.1])), "goes back between"),
    "slices backwards within": (lambda: added(SliceBuilder(0, 9, 1), ([5.0, 1.0], [0.1, 0.1])), "goes back within"),
    "timeline backwards": (lambda: added(TimelineBuilder(0, 9, []), ([5.0, 1.0], [0.1] * 2, [0] * 2)), "goes back"),
    "slips backwards": (lambda: added(SlipBuilder(0, 9), ([5.0, 1.0], [0.1, 0.1])), "goes back"),
    # no extreme of nothing
    "minimum of nothing": (lambda: Population().minimum, "empty"),
    "maximum of nothing": (lambda: Histogram().maximum, "empty"),
    "rank in nothing": (lambda: Population().order_statistic(1), "no order statistic"),
    # figures
    "figure of no quantiles": (lambda: quantile_changes([]), "no quantile"),
    "figure of no points": (lambda: trend([NAN], [1.0], slope_estimate([], []), label=""), "no points"),
    "figure of other runs": (lambda: history(RUNS, change_points([]), label=""), "do not fit"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_an_odd_input_is_refused_by_name(name: str) -> None:
    ask, message = ERRORS[name]
    with pytest.raises(ValueError, match=message) as caught:
        ask()
    assert "faultload_analysis" in str(caught.traceback[-1].path)  # and not from the depths of numpy or scipy


@pytest.mark.parametrize("latency", [[], [0.1], [INF] * 3], ids=["nothing", "one request", "failures"])
def test_figures_are_drawn_of_little_too(latency: list[float]) -> None:
    times = np.arange(len(latency)) + 0.5
    run = timeline_of(times, latency, [0] * len(latency), ["error"], end_s=5.0)
    assert len(timeline(run).axes) == 4
    assert latency_by_quantile([QuantileSeries("all", np.array(latency))]).axes
    assert history(latency, change_points(latency), label="P99").axes
