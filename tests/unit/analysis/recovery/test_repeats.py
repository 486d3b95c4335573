"""Repeats of a fault together: means, medians, comparisons; production from declared rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from faultload_analysis.evidence.verdict import Verdict, decide
from faultload_analysis.recovery.faults import Recovery
from faultload_analysis.recovery.production import availability_estimate, availability_from, mtbf_estimate
from faultload_analysis.recovery.quantile import ttr_quantile
from faultload_analysis.recovery.repeats import (
    compare_recoveries,
    exponential_bounds,
    lognormal_bounds,
    median_ttr,
    mttr,
    restricted_mean_ttr,
)


def took(seconds: float) -> Recovery:
    return Recovery(0.0, None, None, seconds, False, True, None, 0.1, True, "")


def watched(seconds: float) -> Recovery:
    return Recovery(0.0, None, None, None, False, False, seconds, None, True, "never")


ABSORBED = Recovery(None, None, None, 0.0, True, True, None, 0.0, True, "absorbed")
UNKNOWN = Recovery(None, None, None, None, False, False, None, None, False, "bad baseline")


def between(low: float, high: float) -> Recovery:
    return Recovery(0.0, None, None, (low + high) / 2, False, True, None, 0.1, True, "", low_s=low, high_s=high)


def test_a_quantile_of_repeats_is_an_order_statistic_with_the_bounds_of_each() -> None:
    recoveries = [between(k - 0.1, k + 0.1) for k in range(1, 31)]
    found = ttr_quantile(recoveries, "0.9", target=29.5)
    assert found.value == pytest.approx(27.0)
    assert found.low == pytest.approx(23.9)
    assert found.high == pytest.approx(30.1)
    assert (found.n, found.missed) == (30, 1)
    assert stats.binom.cdf(29, 30, 0.9) >= 0.95 > stats.binom.cdf(28, 30, 0.9)
    assert stats.binom.sf(23, 30, 0.9) >= 0.95 > stats.binom.sf(24, 30, 0.9)
    assert ttr_quantile(recoveries[:28], "0.9").high is None
    assert ttr_quantile(recoveries[:5], "0.5").high == pytest.approx(5.1)


def test_absorbed_repeats_count_as_no_time_and_those_that_never_recovered_as_no_end() -> None:
    found = ttr_quantile([ABSORBED, ABSORBED, between(2.0, 2.2), watched(60.0)], "0.5")
    assert found.value == 0.0
    assert found.why == "2 of 4 absorbed, 1 of 4 never recovered"
    late = ttr_quantile([watched(60.0), watched(40.0), between(2.0, 2.2)], "0.9", target=30.0)
    assert (late.value, late.high, late.missed) == (math.inf, None, 2)
    assert ttr_quantile([], "0.9").value is None
    with pytest.raises(ValueError, match="not measurable"):
        ttr_quantile([UNKNOWN], "0.9")


def test_the_wider_of_both_bounds_is_taken_at_each_end() -> None:
    alike, apart = [8.0, 9.0, 10.0, 11.0, 12.0], [1.0, 2.0, 4.0, 30.0, 200.0]
    for times in (alike, apart):
        e = mttr([took(t) for t in times])
        low, high = exponential_bounds(sum(times), 5)
        below, above = lognormal_bounds(times)
        assert (e.low, e.high) == (min(low, below), max(high, above)) and "Cox" in e.method
    assert mttr([took(t) for t in apart]).high == lognormal_bounds(apart)[1]
    assert "Cox" not in mttr([took(0.0), took(1.0)]).method


@pytest.mark.parametrize(
    ("name", "repeats", "worst_high", "worst_low"),
    [
        ("exponential", 2, 0.025, 0.05),
        ("exponential", 5, 0.05, 0.05),
        ("exponential", 20, 0.05, 0.05),
        ("lognormal", 5, 0.05, 0.05),
        ("nearly constant", 3, 0.05, 0.05),
        ("even bimodal", 5, 0.05, 0.05),
    ],
)
def test_mttr_bounds_hold(name: str, repeats: int, worst_high: float, worst_low: float) -> None:
    rng = np.random.default_rng(5)
    draw, mean = {
        "exponential": (lambda k: rng.exponential(10.0, k), 10.0),
        "lognormal": (lambda k: rng.lognormal(0, 0.8, k), math.exp(0.32)),
        "nearly constant": (lambda k: 10.0 + rng.normal(0, 0.3, k), 10.0),
        "even bimodal": (lambda k: rng.choice([5.0, 30.0], k) + rng.normal(0, 0.1, k), 17.5),
    }[name]
    found = [mttr([took(t) for t in draw(repeats)]) for _ in range(400)]
    assert np.mean([e.high < mean for e in found]) <= worst_high
    assert np.mean([e.low > mean for e in found]) <= worst_low


def test_a_tail_that_was_not_seen_cannot_be_bounded() -> None:
    """A fifth of recoveries take 60 s: five repeats see none of them with probability .33."""
    rng = np.random.default_rng(6)
    missed = [mttr([took(t) for t in rng.choice([5.0, 60.0], 5, p=[0.8, 0.2])]).high < 16.0 for _ in range(500)]
    assert np.mean(missed) == pytest.approx(0.8**5, abs=0.06)


def test_a_median_without_censoring_is_an_order_statistic() -> None:
    e = median_ttr([5.0, 1.0, 3.0, 4.0, 2.0])
    assert (e.value, e.low, e.high) == (3.0, 1.0, 5.0)
    assert (median_ttr([1.0, 2.0, 3.0, 4.0]).low, median_ttr([7.0]).high) == (None, None)
    for n in range(5, 40):
        bound = median_ttr(np.arange(1.0, n + 1))
        assert bound.low is not None and bound.high is not None
        assert stats.binom.cdf(bound.low - 1, n, 0.5) <= 0.05 < stats.binom.cdf(bound.low, n, 0.5)
        assert bound.high == n + 1 - bound.low


def test_a_median_beyond_what_was_watched_is_not_known() -> None:
    e = median_ttr([5.0], [60.0, 60.0, 60.0])
    assert e.value == math.inf and e.high is None and "not known" in e.why
    assert decide("<=", 1000.0, e, fmt=str).verdict is not Verdict.PASS
    assert median_ttr([], [10.0]).value == math.inf
    assert median_ttr([], []).value is None


def test_a_restricted_mean_without_censoring_is_the_mean() -> None:
    e = restricted_mean_ttr([1.0, 2.0, 3.0, 6.0])
    assert e.value == pytest.approx(3.0)
    sd = float(np.std([1, 2, 3, 6], ddof=1))
    reach = float(stats.t.ppf(0.95, 3)) * sd / 2
    assert e.low == pytest.approx(3 - reach) and e.high == pytest.approx(3 + reach)
    assert restricted_mean_ttr([1.0, 2.0, 3.0, 6.0], until_s=2.5).value == pytest.approx((1 + 2 + 2.5 + 2.5) / 4)


def test_a_restricted_mean_goes_no_further_than_the_watch() -> None:
    e = restricted_mean_ttr([5.0], [60.0])
    assert e.value == pytest.approx((5 + 60) / 2) and (e.low, e.high) == (None, None)
    assert restricted_mean_ttr([], [60.0]).value == 60.0
    assert restricted_mean_ttr([]).value is None
    with pytest.raises(ValueError, match=r"watched beyond 60 s"):
        restricted_mean_ttr([5.0], [60.0], until_s=61.0)
    with pytest.raises(ValueError, match="says nothing"):
        restricted_mean_ttr([5.0], until_s=0.0)
    for bad in ([math.nan], [-1.0], [math.inf]):
        with pytest.raises(ValueError, match="finite"):
            median_ttr(bad)
        with pytest.raises(ValueError, match="finite"):
            restricted_mean_ttr([1.0], bad)


def test_two_builds_are_told_apart_or_said_to_be_too_few() -> None:
    quick, slow = [took(t) for t in (1, 2, 3, 4)], [took(10), took(12), watched(60), watched(60)]
    found = compare_recoveries(quick, slow)
    assert found.p_value is not None and found.p_value < 0.05 and found.slower == "second"
    assert compare_recoveries(slow, quick).slower == "first"
    same = compare_recoveries(quick, list(quick))
    assert same.p_value == pytest.approx(1.0) and same.slower == ""
    few = compare_recoveries(quick[:2], slow)
    assert few.p_value is None and "too few" in few.why
    assert compare_recoveries([watched(9)] * 3, [watched(9)] * 3).p_value is None
    left = compare_recoveries([*quick, ABSORBED], [*slow, UNKNOWN, UNKNOWN])
    assert left.n == (4, 4) and "1 and 2 absorbed or not measurable" in left.why


def test_mtbf_needs_a_declared_rate() -> None:
    assert "no production fault rate is declared" in mtbf_estimate({}, {"kill": (3, 5)}).why
    assert mtbf_estimate({}, {"kill": (3, 5)}).value is None
    partly = mtbf_estimate({"kill": 1e-6}, {"kill": (3, 5), "partition": (1, 5)})
    assert partly.value is None and "partition" in partly.why
    never = mtbf_estimate({"kill": 1e-6, "disk": 1e-7}, {"kill": (3, 5)})
    assert never.value is None and "disk" in never.why
    for rates, impacts in (
        ({"a": 0.0}, {"a": (1, 2)}),
        ({"a": math.nan}, {"a": (1, 2)}),
        ({"a": 1.0}, {"a": (3, 2)}),
    ):
        with pytest.raises(ValueError, match="a: "):
            mtbf_estimate(rates, impacts)


def test_absorbed_faults_are_no_failures_of_the_service() -> None:
    e = mtbf_estimate({"kill": 1 / 3600}, {"kill": (2, 8)})
    assert e.value == pytest.approx(4 * 3600) and e.low is not None and e.high is not None
    assert 3600 <= e.low < 4 * 3600 < e.high
    none = mtbf_estimate({"kill": 1 / 3600}, {"kill": (0, 8)})
    assert none.value == math.inf and none.high is None
    assert none.low == pytest.approx(3600 / (1 - 0.05 ** (1 / 8)))
    two = mtbf_estimate({"a": 1.0, "b": 3.0}, {"a": (1, 2), "b": (1, 4)})
    assert two.value == pytest.approx(1 / 1.25)


def test_mtbf_bounds_hold_over_kinds() -> None:
    rng = np.random.default_rng(8)
    rates, shares, n = {"a": 1.0, "b": 0.2, "c": 5.0}, {"a": 0.3, "b": 0.9, "c": 0.02}, 12
    truth = 1.0 / sum(rates[k] * shares[k] for k in rates)
    above = below = 0
    for _ in range(600):
        e = mtbf_estimate(rates, {k: (int(rng.binomial(n, shares[k])), n) for k in rates})
        assert e.low is not None
        above += e.low > truth
        below += e.high is not None and e.high < truth
    assert above / 600 <= 0.05 and below / 600 <= 0.05


def test_availability_in_production_weighs_kinds_by_their_declared_rate() -> None:
    one = availability_estimate({"kill": 1 / (720 * 3600)}, {"kill": [took(3600.0)] * 4})
    assert one.value == pytest.approx(availability_from(720 * 3600, 3600)) == pytest.approx(0.998613, abs=1e-6)
    assert one.low is not None and one.high is not None and one.low < one.value < one.high
    rare, often = 1e-7, 1e-5
    both = availability_estimate(
        {"often": often, "rare": rare}, {"often": [took(1.0)] * 3 + [ABSORBED], "rare": [took(600.0)] * 40}
    )
    assert both.value == pytest.approx(1 / (1 + often * 0.75 * 1.0 + rare * 600.0))


def test_availability_is_open_below_where_a_repair_time_is() -> None:
    absorbed = availability_estimate({"kill": 1e-6}, {"kill": [ABSORBED] * 5})
    assert (absorbed.value, absorbed.low, absorbed.high) == (1.0, None, 1.0) and "kill" in absorbed.why
    never = availability_estimate({"kill": 1e-6}, {"kill": [took(5.0), took(6.0), watched(60.0)]})
    assert never.value == 0.0 and never.low is None and never.high is not None and never.high < 1.0
    assert availability_estimate({"kill": 1e-6}, {"kill": [UNKNOWN]}).value is None
    assert availability_estimate({}, {"kill": [took(1.0)]}).value is None


def test_what_is_no_repair_time_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        lognormal_bounds([1.0])
    with pytest.raises(ValueError, match="above 0"):
        lognormal_bounds([1.0, 0.0])
    with pytest.raises(ValueError, match="time on test"):
        exponential_bounds(math.nan, 1)
    with pytest.raises(ValueError, match="MTBF"):
        availability_from(0.0, 1.0)
    assert availability_from(math.inf, 5.0) == 1.0
