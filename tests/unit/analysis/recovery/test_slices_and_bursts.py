"""A busy system's own bursts are no impact, and real outages of it still are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.recovery.bursts import burst_size
from faultload_analysis.recovery.faults import Recovery, SliceRule, baseline_rule, recover, slices

RATE, BASELINE, WATCH = 100.0, 60.0, 90.0


def mm1(utilisation: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Arrivals and response times of an M/M/1 queue in steady state (Lindley's recursion)."""
    end = BASELINE + WATCH
    times = np.sort(rng.uniform(0, end, rng.poisson(RATE * end)))
    service = rng.exponential(utilisation / RATE, times.size)
    first = rng.exponential(1 / (RATE / utilisation - RATE)) if rng.random() < utilisation else 0.0
    walk = np.cumsum(np.concatenate(([first], service[:-1] - np.diff(times))))
    return times, walk - np.minimum(np.minimum.accumulate(walk), 0.0) + service


def watch(times: np.ndarray, latency: np.ndarray, *, bursts: bool = True) -> Recovery:
    before = times < BASELINE
    known = {"times_s": times[before], "watch_s": WATCH} if bursts else {}
    rule = baseline_rule(latency[before], **known)
    cut = slices(times, latency, start_s=0.0, end_s=BASELINE + WATCH)
    return recover(cut, rule, injected_s=BASELINE, until_s=BASELINE + WATCH)


def has_impact(found: Recovery) -> bool:
    return found.measurable and not found.absorbed


@pytest.mark.parametrize("utilisation", [0.5, 0.8, 0.9])
def test_natural_bursts_are_an_impact_in_at_most_one_watch_in_twenty(utilisation: float) -> None:
    rng = np.random.default_rng(17)
    runs = [mm1(utilisation, rng) for _ in range(160)]
    assert np.mean([has_impact(watch(*run)) for run in runs]) <= 0.05
    if utilisation == 0.9:
        assert np.mean([has_impact(watch(*run, bursts=False)) for run in runs]) > 0.15


@pytest.mark.parametrize("utilisation", [0.5, 0.8, 0.9])
@pytest.mark.parametrize(("lasts", "share"), [(1.0, 1.0), (3.0, 1.0), (3.0, 0.3)])
def test_failing_requests_of_a_busy_system_are_found_from_end_to_end(
    utilisation: float, lasts: float, share: float
) -> None:
    rng = np.random.default_rng(23)
    exact = 0
    for _ in range(25):
        times, latency = mm1(utilisation, rng)
        hit = (times >= 62.3) & (times < 62.3 + lasts) & (rng.random(times.size) < share)
        r = watch(times, np.where(hit, np.inf, latency))
        exact += (
            r.impact_s == pytest.approx(2.3, abs=1.0)
            and r.recovered_at_s is not None
            and r.recovered_at_s == pytest.approx(62.3 + lasts, abs=1.0)
        )
    assert exact >= 24


def test_slow_answers_of_a_calm_system_are_still_found() -> None:
    rng = np.random.default_rng(29)
    found = 0
    for _ in range(20):
        times = np.sort(rng.uniform(0, BASELINE + WATCH, 60_000))
        latency = rng.exponential(0.02, times.size)
        latency[(times >= 70) & (times < 75)] *= 3.0
        r = watch(times, latency)
        found += r.impact_at_s == pytest.approx(70, abs=1) and r.recovered_at_s == pytest.approx(75, abs=1)
    assert found == 20


def test_a_baseline_that_fails_in_bursts_expects_bursts() -> None:
    rng = np.random.default_rng(31)
    false, false_without = 0, 0
    for _ in range(40):
        times = np.sort(rng.uniform(0, BASELINE + WATCH, 15_000))
        latency = rng.exponential(0.02, times.size)
        for start in rng.uniform(0, BASELINE + WATCH, rng.poisson(12)):
            latency[(times >= start) & (times < start + 1.5) & (rng.random(times.size) < 0.15)] = np.inf
        false += has_impact(watch(times, latency))
        false_without += has_impact(watch(times, latency, bursts=False))
    assert false_without > 20 and false <= 6
    rule = baseline_rule(latency[times < 60], times_s=times[times < 60])
    assert rule.inflation > 3
    assert rule.noise(100, 0.01) > SliceRule(0.01, 1.0).noise(100, 0.01)
    assert baseline_rule(rng.exponential(0.02, 6000), times_s=np.arange(6000) / 100).inflation == 1.0


@pytest.mark.parametrize("lasts", [1, 2])
@pytest.mark.parametrize("slow_s", [None, 5.0])
def test_a_bad_second_in_the_baseline_blinds_nothing(slow_s: float | None, lasts: int) -> None:
    """All requests of one or two seconds of 300 fail or take 5 s; then a third of them for 60 s."""
    rng = np.random.default_rng(43)
    times = np.arange(0.0, 420.0, 0.01)
    latency = rng.exponential(0.01, times.size)
    bad, limit = (np.inf, None) if slow_s is None else (slow_s, 1.0)
    latency[(times >= 150) & (times < 150 + lasts)] = bad
    latency[(times >= 300) & (times < 360) & (rng.random(times.size) < 0.35)] = bad
    before = times < 300
    rule = baseline_rule(latency[before], times_s=times[before], latency_limit_s=limit, watch_s=120)
    assert rule.outages == (lasts if slow_s is None else 0)
    assert rule.latency_limit_s == pytest.approx(limit or 0.069, rel=0.1)
    r = recover(slices(times, latency, start_s=0, end_s=420), rule, injected_s=300, until_s=420)
    assert r.recover_s == pytest.approx(60.0, abs=0.2) and r.impact_s == pytest.approx(0.0, abs=0.2)


def test_bursts_of_failures_that_the_others_explain_stay_noise() -> None:
    times = np.arange(0.0, 300.0, 0.01)
    latency = np.full(times.size, 0.01)
    for start in range(10, 300, 20):
        latency[(times >= start) & (times < start + 1)] = np.inf
    rule = baseline_rule(latency, times_s=times)
    assert rule.outages == 0 and rule.inflation > 50


def collections(
    every_s: float, lasted_s: float, rate: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Whoever comes while everything stands still, at random moments, waits for its end."""
    end = BASELINE + WATCH
    times = np.sort(rng.uniform(0, end, rng.poisson(rate * end)))
    starts = np.cumsum(rng.exponential(every_s, int(3 * end / every_s) + 20)) - 5 * every_s
    left = lasted_s + starts[np.maximum(np.searchsorted(starts, times) - 1, 0)] - times
    return times, rng.exponential(0.002, times.size) + np.maximum(left, 0.0)


@pytest.mark.parametrize(("every_s", "lasted_s"), [(10.0, 0.2), (8.0, 0.5)])
@pytest.mark.parametrize("rate", [20.0, 100.0])
def test_collections_that_the_baseline_has_too_are_no_impact(every_s: float, lasted_s: float, rate: float) -> None:
    rng = np.random.default_rng(47)
    runs = [watch(*collections(every_s, lasted_s, rate, rng)) for _ in range(40)]
    assert np.mean([has_impact(one) for one in runs]) <= 0.05


def test_failures_and_hangs_beside_collections_are_found() -> None:
    rng = np.random.default_rng(53)
    for _ in range(4):
        times, latency = collections(8.0, 0.5, 100.0, rng)
        hit = (times >= 70) & (times < 73)
        for bad in (np.inf, 10.0):
            found = watch(times, np.where(hit, bad, latency))
            assert found.impact_at_s == pytest.approx(70, abs=1) and found.recover_s == pytest.approx(3, abs=1)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 1000), min_size=3, max_size=80),
    scale=st.integers(1, 100),
    watched=st.floats(1, 1000),
)
def test_a_burst_size_scales_with_the_bursts_and_grows_with_the_watch(
    sizes: list[int], scale: int, watched: float
) -> None:
    s, apart = np.array(sizes), np.zeros(len(sizes), dtype=bool)
    size = burst_size(s, apart, watched)
    assert size >= s.max() and (size > 0) == (s.max() > 0)
    assert burst_size(s * scale, apart, watched) == pytest.approx(size * scale)
    assert burst_size(s, apart, 2 * watched) >= size


@pytest.mark.parametrize("bursts", [3, 10, 40])
def test_twice_the_exponential_prediction_is_passed_less_often_than_one_time_in_twenty(bursts: int) -> None:
    rng = np.random.default_rng(37)
    for times, low, high in ((1.0, 0.0, 0.03), (2.0, 0.015, 0.045)):
        passed = 0
        for _ in range(4000):
            sizes = np.zeros(2 * bursts + 1)
            sizes[1::2] = rng.exponential(1, bursts)
            limit = burst_size(sizes, np.zeros(sizes.size, dtype=bool), 30 * sizes.size / bursts)
            passed += times * rng.exponential(1, 30).max() > limit
        assert low <= passed / 4000 <= high


def test_an_outage_that_stands_apart_counts_three_times_and_nothing_is_no_burst() -> None:
    apart = np.array([False, False, True, True, False])
    assert burst_size([0, 0, 0], apart[:3], 90) == 0.0
    assert burst_size([0, 0, 60, 40, 0], apart, 90) == 300.0
    assert burst_size([], apart[:0], 90) == 0.0


def test_times_in_any_order_give_the_same_rule_and_wrong_ones_are_refused() -> None:
    rng = np.random.default_rng(43)
    times, latency = np.sort(rng.uniform(0, 60, 3000)), rng.exponential(0.02, 3000)
    rule = baseline_rule(latency, times_s=times)
    order = rng.permutation(3000)
    assert baseline_rule(latency[order], times_s=times[order]) == rule
    assert baseline_rule(latency, times_s=times, latency_limit_s=5.0).latency_limit_s == 5.0
    for bad in (times[:-1], np.where(times < 1, np.nan, times)):
        with pytest.raises(ValueError, match="one shape"):
            baseline_rule(latency, times_s=bad)
    with pytest.raises(ValueError, match="NaN"):
        baseline_rule([0.1, math.nan])
