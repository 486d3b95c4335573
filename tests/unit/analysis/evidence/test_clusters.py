"""The number of events that come in clusters: its distribution, and the size of a cluster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from faultload_analysis.evidence import clusters
from faultload_analysis.evidence.clusters import at_most, gap_size, more_until_few, most_that_are_few


def polya_aeppli(worth: int, share: float, size: float, most: int) -> np.ndarray:
    """P(K <= k) for k up to `most`, by convolution: Binomial(worth, share) clusters of geometric sizes."""
    k = np.arange(most + 1)
    one = np.where(k > 0, (1 / size) * (1 - 1 / size) ** (k - 1.0), 0.0)
    none_or_one = share * one
    none_or_one[0] += 1 - share
    total = np.eye(1, most + 1)[0]
    for _ in range(worth):
        total = np.convolve(total, none_or_one)[: most + 1]
    return np.cumsum(total)


def test_without_clusters_the_number_of_events_is_binomial() -> None:
    for k in (0, 3, 10, 25):
        assert at_most(k, 1000, 0.01) == pytest.approx(stats.binom.cdf(k, 1000, 0.01), rel=1e-12)


@pytest.mark.parametrize(("size", "share"), [(2.0, 0.05), (5.0, 0.3)])
def test_geometric_clusters_give_the_distribution_that_convolution_gives(size: float, share: float) -> None:
    exact = polya_aeppli(100, share, size, 120)
    n = int(100 * size)
    for k in (0, 1, 5, 20, 60, 120):
        assert at_most(k, n, share, size=size, inflation=2 * size - 1) == pytest.approx(exact[k], rel=1e-9)


def test_no_event_at_all_has_the_probability_of_no_cluster() -> None:
    """(1 - q)^(n/m): clusters cost runs, not the order statistic."""
    assert at_most(0, 3000, 0.01, size=10.0, inflation=40.0) == pytest.approx(0.99**300)


@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize(("size", "inflation"), [(1.01, 1.2), (3.0, 5.0), (20.0, 60.0), (100.0, 101.0)])
def test_many_clusters_are_counted_as_few_are(
    monkeypatch: pytest.MonkeyPatch, size: float, inflation: float, share: float
) -> None:
    n = int(900 * size / share)
    by_sum = most_that_are_few(n, share, size=size, inflation=inflation)
    monkeypatch.setattr(clusters, "_MANY", 1)
    by_moments = most_that_are_few(n, share, size=size, inflation=inflation)
    assert by_sum is not None and by_moments is not None
    assert by_moments == pytest.approx(by_sum, abs=2 + 0.01 * np.sqrt(n * share * inflation))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20_000), st.floats(0.001, 0.6), st.floats(1.0, 50.0), st.floats(1.0, 4.0))
def test_the_largest_number_that_is_too_few_is_found(n: int, share: float, size: float, times: float) -> None:
    k = most_that_are_few(n, share, size=size, inflation=size * times)

    def chance(k: int) -> float:
        return at_most(k, n, share, size=size, inflation=size * times)

    assert chance(0) > 0.05 if k is None else chance(k) <= 0.05 < chance(k + 1)


@pytest.mark.parametrize(
    ("n", "k"), [(298, None), (299, 0), (472, 0), (473, 1), (628, 2), (773, 3), (913, 4), (1049, 5), (1182, 6)]
)
def test_independent_samples_give_the_ranks_of_cmh17(n: int, k: int | None) -> None:
    """CMH-17-1G table 8.5.13, P99."""
    assert most_that_are_few(n, 0.01) == k


@pytest.mark.parametrize(("mean", "off"), [(1.0, 0.1), (5.0, 0.8), (30.0, 6.0)])
def test_the_gaps_between_events_tell_the_size_of_their_clusters(mean: float, off: float) -> None:
    rng, hit = np.random.default_rng(3), np.zeros(400_000, dtype=bool)
    for start in rng.integers(0, hit.size, int(0.02 * hit.size / mean)):
        hit[start : start + rng.geometric(1 / mean)] = True
    assert gap_size(np.flatnonzero(hit), hit.size) == pytest.approx(mean, abs=off)


def test_events_without_gaps_are_no_clusters() -> None:
    assert gap_size(np.arange(10), 10) == 1.0
    assert gap_size(np.array([3]), 10) >= 1.0


def test_what_is_missing_to_a_number_that_is_too_few_is_said() -> None:
    assert more_until_few(0, 146, 0.001, size=1.0, inflation=1.0, confidence=0.95) == 2995 - 146
    assert more_until_few(0, 1000, 0.01, size=10.0, inflation=10.0, confidence=0.95) == pytest.approx(1980, abs=2)
    assert more_until_few(11, 1000, 0.01, size=1.0, inflation=1.0, confidence=0.95) is None
