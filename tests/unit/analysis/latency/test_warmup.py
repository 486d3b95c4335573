"""MSER-5 finds where a phase settles, leaves a settled one alone, and says when it never did."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.latency.warmup import mser


def by_definition(values: npt.NDArray[np.float64], batch: int) -> tuple[int, list[float]]:
    """The argmin written out: batch means, and for each d < k/2 the statistic of what is left."""
    k = values.size // batch
    z = [values[i * batch : (i + 1) * batch].mean() for i in range(k)]
    found = []
    for d in range(k):
        if not d < k / 2:
            break
        rest = np.array(z[d:])
        found.append(float(((rest - rest.mean()) ** 2).sum() / (k - d) ** 2))
    return int(np.argmin(found)), found


@settings(max_examples=60)
@given(st.lists(st.integers(0, 50), min_size=50, max_size=160), st.sampled_from([1, 3, 5]))
def test_the_truncation_point_is_the_argmin_of_the_definition(xs: list[int], batch: int) -> None:
    values = np.array(xs, dtype=np.float64)
    d, statistic = by_definition(values, batch)
    seen = mser(values, batch=batch)
    assert seen.discard % batch == 0
    assert statistic[seen.discard // batch] <= statistic[d] * (1 + 1e-9) + 1e-15


@pytest.mark.parametrize("mean", [0.05, 1e6])
def test_a_small_spread_around_a_large_mean_is_not_lost_to_rounding(mean: float) -> None:
    rng = np.random.default_rng(4)
    values = mean + rng.normal(0.0, 1e-3, 1500) + np.where(np.arange(1500) < 300, 0.02, 0.0)
    assert mser(values).discard == by_definition(values, 5)[0] * 5 == 300


@pytest.mark.parametrize(("length", "height"), [(200, 3.0), (1000, 1.0), (2000, 1.0)])
def test_a_known_transient_is_found(length: int, height: float) -> None:
    """Exponential latencies whose first `length` are slower by a constant."""
    for seed in range(20):
        values = np.random.default_rng(seed).exponential(1.0, 10_000)
        values[:length] += height
        found = mser(values)
        assert not found.too_short
        assert length - 50 <= found.discard <= length + 500
        assert found.share == found.discard / 10_000
        assert f"{found.discard} of 10000" in found.why


def test_a_decaying_transient_is_cut_where_it_is_lost_in_the_noise() -> None:
    i = np.arange(20_000)
    decay = 5.0 * np.exp(-i / 500.0)  # below a tenth of the noise after 1956
    for seed in range(20):
        found = mser(decay + np.random.default_rng(seed).exponential(1.0, i.size))
        assert 1000 <= found.discard <= 4000 and not found.too_short


def test_stationary_series_mostly_keep_nearly_everything() -> None:
    shares = []
    for seed in range(200):
        found = mser(np.random.default_rng(seed).exponential(1.0, 5000))
        shares.append(1.0 if found.too_short else found.share)
    assert np.mean(np.array(shares) <= 0.05) >= 0.95
    assert np.mean(np.array(shares) == 1.0) <= 0.05


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_trend_to_the_end_is_too_short(sign: float) -> None:
    values = 10.0 + sign * np.linspace(0.0, 5.0, 2000) + np.random.default_rng(1).normal(0.0, 0.1, 2000)
    found = mser(values)
    assert found.too_short
    assert "not settled" in found.why


def test_a_transient_within_the_spread_of_the_batch_means_is_kept() -> None:
    """Share .2, height .4: (1-f) h = .32 is below the batch means' 1/sqrt(5) = .45, so cutting costs more."""
    found = []
    for seed in range(20):
        values = np.random.default_rng(seed).exponential(1.0, 10_000)
        values[:2000] += 0.4
        found.append(mser(values).discard)
    assert np.median(found) < 500


def test_a_change_behind_the_middle_is_no_warm_up() -> None:
    values = np.random.default_rng(1).normal(1.0, 0.1, 2000)
    values[1500:] += 5.0
    assert mser(values).discard < 100


def test_too_few_observations_are_too_short_and_say_how_many_are_needed() -> None:
    for n in (0, 1, 49):
        found = mser(np.ones(n))
        assert (found.n, found.discard, found.share, found.too_short) == (n, 0, 0.0, True)
        assert "at least 50" in found.why
    assert not mser(np.ones(50)).too_short


def test_an_incomplete_last_batch_is_left_out() -> None:
    values = np.random.default_rng(2).exponential(1.0, 1000)
    values[:100] += 5.0
    assert mser(np.append(values, [1e9] * 4)).discard == mser(values).discard == 100


def test_constant_values_have_no_warm_up() -> None:
    found = mser(np.full(1000, 0.1))
    assert (found.discard, found.too_short) == (0, False)
    assert "no warm-up" in found.why


def test_errors_of_a_cold_start_are_warm_up() -> None:
    values = np.random.default_rng(3).exponential(0.1, 2000)
    values[:150] = math.inf
    assert mser(values).discard == 150


def test_failures_alone_have_no_warm_up_to_find() -> None:
    assert mser(np.full(100, math.inf)).discard == 0


@pytest.mark.parametrize(
    ("values", "message"), [([math.nan] * 60, "NaN"), ([-math.inf] * 60, "-inf"), ([[1.0]], "one-dimensional")]
)
def test_what_is_no_series_is_refused(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mser(values)


def test_a_batch_holds_something() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        mser([1.0] * 60, batch=0)
