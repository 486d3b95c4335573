"""The rate at scale against the rate at the start, with bounds that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from faultload_analysis.capacity.scaling import scaling_efficiency
from faultload_analysis.evidence.verdict import Verdict, decide


def verdict(start: list[float], scale: list[float], target: float = 0.96) -> Verdict:
    return decide(">=", target, scaling_efficiency(start, scale), fmt=lambda x: f"{x:.1%}").verdict


def test_96_percent_is_decided_by_the_spread_of_both_sides() -> None:
    assert verdict([100, 101, 99, 100], [97.9, 98.3, 98.1, 97.7]) is Verdict.PASS
    assert verdict([100, 101, 99, 100], [91, 92, 90.5, 91.5]) is Verdict.FAIL
    assert verdict([100, 110, 90, 100], [97.9, 98.3, 98.1, 97.7]) is Verdict.INCONCLUSIVE


def test_sixteen_times_the_machines_at_94_percent_of_linear() -> None:
    estimate = scaling_efficiency([100, 101], [1500, 1510], factor=16.0)
    assert estimate.value == pytest.approx(1505 / 100.5 / 16)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 1505 / 100.5 / 16 < estimate.high


def test_bounds_are_those_of_fieller_where_only_the_scale_varies() -> None:
    """With a start that does not vary the ratio is a mean over a constant: Student t on m - 1."""
    scale = np.array([97.0, 98.0, 97.5, 96.8])
    estimate = scaling_efficiency(np.full(5, 100.0), scale)
    half = 2.353363 * scale.std(ddof=1) / 2.0
    assert estimate.low == pytest.approx((scale.mean() - half) / 100.0)
    assert estimate.high == pytest.approx((scale.mean() + half) / 100.0)


def test_each_bound_is_wrong_in_5_percent() -> None:
    below = above = 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        estimate = scaling_efficiency(100 + 5 * rng.standard_normal(4), 97 + 2 * rng.standard_normal(6))
        below += estimate.high is not None and estimate.high < 0.97
        above += estimate.low is not None and estimate.low > 0.97
    assert below <= 45
    assert above <= 45


def test_a_start_that_says_hardly_anything_leaves_the_upper_bound_open() -> None:
    estimate = scaling_efficiency([1.0, 200.0], [97, 98, 97.5])
    assert estimate.high is None
    assert estimate.low is not None


@pytest.mark.parametrize(
    ("start", "scale"), [([100.0], [97.0, 98.0]), ([100.0, 101.0], [97.0]), ([100.0] * 9, [97.0] * 9)]
)
def test_one_repeat_or_no_spread_bounds_nothing(start: list[float], scale: list[float]) -> None:
    estimate = scaling_efficiency(start, scale)
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)
    assert estimate.why


def test_nothing_measured_is_no_data_and_nonsense_is_refused() -> None:
    assert scaling_efficiency([], [1.0]).value is None
    assert scaling_efficiency([5.0, 6.0], [0.0, 0.0]).value == 0.0
    for start, scale in (([0.0, 0.0], [1.0, 2.0]), ([math.nan], [1.0]), ([1.0], [math.inf]), ([-1.0], [1.0])):
        with pytest.raises(ValueError, match=r"rate at the start is 0|finite and not negative"):
            scaling_efficiency(start, scale)
    with pytest.raises(ValueError, match="factor"):
        scaling_efficiency([1.0], [1.0], factor=0.0)
