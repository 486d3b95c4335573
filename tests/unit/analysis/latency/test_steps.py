"""Series that grow in steps: few of them say little of how often they come, and a slope must not miss them."""

from __future__ import annotations

import numpy as np
import pytest

from faultload_analysis.latency import slope_estimate
from faultload_analysis.latency.steps import Steps, steps

MB, HOUR = 1e6, 3600.0
STEP, TRUTH = 16 * MB, 400 * MB / HOUR


def in_steps(seconds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Memory that grows by 400 MB/h, taken in pieces of 16 MB, with a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(seconds + 1.0)
    return t, np.floor(t * TRUTH / STEP + rng.uniform()) * STEP + 5e4 * rng.normal(size=t.size)


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 0.051293, 4.743865), (2, 0.355362, 6.295794), (10, 5.425406, 16.962219)]
)
def test_the_rate_of_steps_has_the_bounds_of_a_poisson_rate(count: int, low: float, high: float) -> None:
    """Exact 95 % bounds of a Poisson mean: Garwood 1936; the tables of Ulm 1990 give the same."""
    found = Steps(np.arange(count), np.full(count, 3.0)).rate_bounds(60.0, 0.95)
    assert found == pytest.approx((3 * low / 60, 3 * high / 60), rel=1e-5)


def test_no_steps_add_nothing() -> None:
    assert Steps(np.empty(0, np.int64), np.empty(0)).rate_bounds(60.0, 0.95) == (0.0, 0.0)


def test_steps_are_found_where_they_are_and_taken_out() -> None:
    _, values = in_steps(600, 1)
    found = steps(values)
    assert len(found) in (4, 5) and not found.down
    assert found.sizes == pytest.approx(np.full(len(found), STEP), rel=0.02)
    assert np.ptp(found.without(values)) < 1e6


def test_steps_are_found_under_noise_that_hides_each_change() -> None:
    """Steps of 5 standard deviations, where changes between neighbours vary by 1.4."""
    t, rng = np.arange(600.0), np.random.default_rng(4)
    found = steps(5.0 * np.floor(t / 75.0) + rng.normal(size=600))
    assert len(found) == 7 and np.abs(found.at - np.arange(75, 600, 75)).max() <= 2
    assert found.sizes == pytest.approx(np.full(7, 5.0), abs=2.0)


@pytest.mark.parametrize("kind", ["a line", "noise that depends", "a spike", "zeros and ones"])
def test_what_does_not_rise_to_stay_is_no_step(kind: str) -> None:
    rng = np.random.default_rng(2)
    t = np.arange(600.0)
    noise = rng.normal(size=600)
    dependent = np.zeros(600)
    for i in range(1, 600):
        dependent[i] = 0.9 * dependent[i - 1] + noise[i]
    values = {
        "a line": 5 * t + noise,
        "noise that depends": dependent,
        "a spike": noise + 100 * (t == 300),
        "zeros and ones": (rng.uniform(size=600) < 0.5).astype(float),
    }[kind]
    assert len(steps(values)) == 0


def test_a_saw_tooth_falls_in_steps() -> None:
    t = np.arange(600.0)
    found = steps(20 * (t % 60) + np.random.default_rng(3).normal(size=600))
    assert found.down and found.at.tolist() == list(range(60, 600, 60))
    assert found.sizes == pytest.approx(np.full(9, -1200.0), rel=0.02)
    low, high = found.rate_bounds(600.0, 0.95)
    assert low < -18.0 < high < 0.0


def test_a_fall_that_takes_some_seconds_is_one() -> None:
    t = np.arange(600.0)
    teeth = np.where(t % 60 < 5, 1000 - 200 * (t % 60), 18 * (t % 60 - 5))
    found = steps(teeth + np.random.default_rng(5).normal(size=600))
    assert len(found) == 10 and found.down
    assert found.sizes[1:] == pytest.approx(np.full(9, -1080.0), rel=0.1)


def test_a_leak_in_steps_passes_no_limit_below_it_unless_no_step_was_seen() -> None:
    """Over 120 s a step comes in five of six series; the median of slopes missed it in 71 %."""
    limit = 100 * MB / HOUR
    passed = 0
    for seed in range(60):
        t, values = in_steps(120, seed)
        found = slope_estimate(t, values)
        assert found.high is not None
        if found.high <= limit:
            assert len(steps(values)) == 0
            passed += 1
        elif len(steps(values)):
            assert "it grew in 1 step" in found.why
    assert passed <= 20


def test_ten_steps_bound_the_leak_on_both_sides() -> None:
    for seed in range(20):
        found = slope_estimate(*in_steps(1500, seed))
        assert found.low is not None and found.high is not None and found.value is not None
        assert 100 * MB / HOUR < found.low < TRUTH < found.high
        assert found.value == pytest.approx(TRUTH, rel=0.15)
