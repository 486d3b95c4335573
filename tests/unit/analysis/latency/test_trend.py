"""Slopes: true under dependence, silent when short, not fooled by saw-teeth and warm-ups."""

from __future__ import annotations

import math

import numpy as np
import pytest
from repeats import most, rounds
from scipy.signal import lfilter

from faultload_analysis.evidence.verdict import Verdict, decide
from faultload_analysis.latency.trend import slope_estimate

LIMIT = 100e6 / 3600  # 100 MB/h in bytes a second


def autocorrelated(rng: np.random.Generator, r: float, n: int) -> np.ndarray:
    return np.asarray(lfilter([1.0], [1.0, -r], rng.normal(size=n + 500)))[500:]


@pytest.mark.parametrize("r", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("n", [30, 120])
def test_each_bound_is_wrong_in_at_most_one_series_of_twenty(r: float, n: int) -> None:
    rng, low, high, t = np.random.default_rng(41), 0, 0, np.arange(float(n))
    series = max(200, rounds(400))  # fewer say too little of twelve bounds at once
    for _ in range(series):
        found = slope_estimate(t, 0.01 * t + autocorrelated(rng, r, n), min_duration_s=0)
        assert found.low is not None and found.high is not None
        low, high = low + (found.low > 0.01), high + (found.high < 0.01)
    assert max(low, high) <= most(series, 0.05, chance=0.002)  # of 4,000 series: 2.6 to 5.1 %


def verdict(t: np.ndarray, v: np.ndarray) -> Verdict:
    return decide("<=", LIMIT, slope_estimate(t, v), fmt="{:.3g}".format).verdict


def test_a_leak_fails_and_a_flat_memory_passes_a_limit_of_100_mb_an_hour() -> None:
    rng, t = np.random.default_rng(42), np.arange(600.0)
    noise = 5e5 * autocorrelated(rng, 0.9, 600)
    assert verdict(t, 300e6 + 2 * LIMIT * t + noise) is Verdict.FAIL
    assert verdict(t, 300e6 + noise) is Verdict.PASS
    assert verdict(t, 300e6 + LIMIT * t + noise) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("period_s", [10, 37, 100])
def test_a_saw_tooth_from_garbage_collection_is_no_growth(period_s: int) -> None:
    t = np.arange(1800.0)
    for phase in range(0, period_s, max(1, period_s // 5)):
        teeth = 20e6 * ((t + phase) % period_s) / period_s
        found = slope_estimate(t, 300e6 + teeth)
        assert found.low is not None and found.high is not None and found.low <= 0 <= found.high
        assert verdict(t, 300e6 + 4 * LIMIT * t + teeth) is Verdict.FAIL


def test_a_warm_up_to_a_plateau_fails_nothing_and_a_late_leak_passes_nothing() -> None:
    rng, t = np.random.default_rng(43), np.arange(1200.0)
    for tau in (30.0, 120.0, 400.0):
        assert verdict(t, 200e6 * (1 - np.exp(-t / tau)) + 2e6 * rng.normal(size=t.size)) is not Verdict.FAIL
    late = 300e6 + 10 * LIMIT * np.maximum(0, t - 600) + 2e6 * rng.normal(size=t.size)
    assert verdict(t, late) is not Verdict.PASS


def test_two_slopes_in_one_series_are_named() -> None:
    rng, t = np.random.default_rng(44), np.arange(1200.0)
    bent = np.where(t < 600, t, 600 + 4 * (t - 600)) + 250 * rng.normal(size=t.size)
    found = slope_estimate(t, bent)
    assert "not a straight line" in found.why and "in the second" in found.why
    assert found.high is not None and found.high > 4.0


def test_too_short_is_said() -> None:
    t = np.arange(100.0)
    for times in (t[:29], t / 10):
        found = slope_estimate(times, np.zeros(times.size))
        assert found.value is None and "too short to say" in found.why
    assert slope_estimate([], []).value is None
    assert slope_estimate([1.0] * 50, np.arange(50.0), min_duration_s=0).value is None, "no time passed"
    assert "at 2 moments" in slope_estimate([0.0, 1.0] * 100, np.arange(200.0), min_duration_s=0).why


def test_order_duplicates_and_missing_values_are_put_right() -> None:
    rng = np.random.default_rng(45)
    t = np.arange(90.0)
    v = 2.0 * t + rng.normal(size=90)
    straight = slope_estimate(t, v)
    shuffled = rng.permutation(90)
    assert slope_estimate(t[shuffled], v[shuffled]) == straight
    doubled = slope_estimate(np.repeat(t[:50], 2), np.repeat(v[:50], 2), min_duration_s=40)
    assert doubled.value == pytest.approx(2.0, abs=0.1)
    v[5], v[6] = math.nan, math.inf
    holes = slope_estimate(t, v)
    assert holes.n == 88 and "2 points without a number left out" in holes.why
    assert holes.value == pytest.approx(2.0, abs=0.05)
    with pytest.raises(ValueError, match="one shape"):
        slope_estimate(t, v[:5])


def test_a_constant_has_slope_zero_for_certain() -> None:
    found = slope_estimate(np.arange(100.0), np.full(100, 7.0))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_million_points_are_fitted_as_their_time_bins() -> None:
    t = np.arange(1_000_000.0)
    found = slope_estimate(t, 3.0 * t + np.random.default_rng(46).normal(size=t.size))
    assert found.value == pytest.approx(3.0) and "120 time bins" in found.why
