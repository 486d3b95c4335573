"""Series that grow in steps: few of them say little of how often they come, and a slope must not miss them."""

from __future__ import annotations

import numpy as np
import pytest

from faultload_analysis.latency import slope_estimate
from faultload_analysis.latency.steps import Steps, steps_up

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
    steps = steps_up(values)
    assert len(steps) in (4, 5)
    assert steps.sizes == pytest.approx(np.full(len(steps), STEP), rel=0.02)
    assert np.ptp(steps.without(values)) < 1e6


@pytest.mark.parametrize("kind", ["a line", "noise that depends", "a spike", "a saw-tooth", "zeros and ones"])
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
        "a saw-tooth": 20 * (t % 60) + noise,
        "zeros and ones": (rng.uniform(size=600) < 0.5).astype(float),
    }[kind]
    assert len(steps_up(values)) == 0


def test_a_leak_in_steps_passes_no_limit_below_it_unless_no_step_was_seen() -> None:
    """Over 120 s a step comes in five of six series; the median of slopes missed it in 71 %."""
    limit = 100 * MB / HOUR
    passed = 0
    for seed in range(60):
        t, values = in_steps(120, seed)
        found = slope_estimate(t, values)
        assert found.high is not None
        if found.high <= limit:
            assert len(steps_up(values)) == 0
            passed += 1
        elif len(steps_up(values)):
            assert "it grew in 1 step" in found.why
    assert passed <= 20


def test_ten_steps_bound_the_leak_on_both_sides() -> None:
    for seed in range(20):
        found = slope_estimate(*in_steps(1500, seed))
        assert found.low is not None and found.high is not None and found.value is not None
        assert 100 * MB / HOUR < found.low < TRUTH < found.high
        assert found.value == pytest.approx(TRUTH, rel=0.15)
