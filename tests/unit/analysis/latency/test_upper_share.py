"""The share of requests above a latency: exact for independent ones, and no false PASS where slow ones cluster."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from faultload_analysis.evidence.clusters import at_most, largest_likely_share
from faultload_analysis.latency.exceedances import Exceedances
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.upper_share import upper_share
from faultload_analysis.slo.availability import proportion_estimate

RUNS = 100


def queue(rng: np.random.Generator, n: int, utilisation: float) -> np.ndarray:
    """Response times of an M/M/1 queue in steady state, service rate 1."""
    service = rng.exponential(1.0, n)
    walk = np.concatenate(([0.0], np.cumsum(service[:-1] - rng.exponential(1.0 / utilisation, n - 1))))
    first = rng.exponential(1.0 / (1.0 - utilisation)) if rng.random() < utilisation else 0.0
    return np.maximum(walk + first, walk - np.minimum.accumulate(walk)) + service


@pytest.mark.parametrize(("k", "n"), [(0, 59), (0, 2995), (3, 500), (40, 1000), (500, 1000), (7, 7)])
def test_single_events_have_the_bound_of_clopper_and_pearson(k: int, n: int) -> None:
    exact = 1.0 if k == n else stats.beta.ppf(0.95, k + 1, n - k)
    assert largest_likely_share(k, n) == pytest.approx(exact, rel=2e-6)


@pytest.mark.parametrize(("k", "size", "inflation"), [(0, 3.0, 5.0), (25, 4.0, 7.0), (200, 20.0, 45.0)])
def test_clustered_events_have_the_share_at_which_so_few_are_unlikely(
    k: int, size: float, inflation: float
) -> None:
    high = largest_likely_share(k, 5_000, size=size, inflation=inflation)
    assert at_most(k, 5_000, high, size=size, inflation=inflation) == pytest.approx(0.05, rel=1e-3)
    assert high > largest_likely_share(k, 5_000)


@pytest.mark.parametrize(("n", "utilisation"), [(2_000, 0.8), (2_000, 0.95), (5_000, 0.8)])
def test_a_queue_at_its_target_rarely_passes(n: int, utilisation: float) -> None:
    """Nearly half of such runs hold fewer than three slow requests, which look independent; binomial(100, 0.05)."""
    rng, over, passed, few = np.random.default_rng(n), -math.log(0.01) / (1.0 - utilisation), 0, 0
    for _ in range(RUNS):
        run = Population.of(queue(rng, n, utilisation))
        found = proportion_estimate(run, over=over, slo=0.99)
        passed += found.low is not None and found.low >= 0.99
        few += run.count_above(over) < n // 500
    assert few > RUNS // 5, "not the runs that this is about"
    assert passed <= stats.binom.isf(1e-3, RUNS, 0.05)


def test_a_share_passes_where_the_quantile_would_by_counts() -> None:
    rng = np.random.default_rng(3)
    exceedances = Exceedances(Population.of(queue(rng, 20_000, 0.5)))
    share = upper_share(exceedances, -math.log(0.001) / 0.5)
    assert 0.001 <= share.high <= 0.01
    assert share.above == exceedances.population.count_above(-math.log(0.001) / 0.5)
    assert share.method.startswith("upper bound by counts of clusters of ")


def test_an_undecided_share_says_how_many_more_would_decide() -> None:
    run = Population.of(queue(np.random.default_rng(5), 2_000, 0.5))
    over = -math.log(0.005) / 0.5
    found = proportion_estimate(run, over=over, slo=0.99)
    assert found.low is not None and found.low < 0.99 < 1.0 - run.count_above(over) / run.n
    more = int(found.why.removeprefix("about ").split(" ")[0])
    assert "more requests like these would decide" in found.why
    longer = upper_share(Exceedances(run), over)
    size, inflation = longer.clustering.size, longer.clustering.inflation
    seen = run.count_above(over) / run.n
    total = run.n + more
    enough = largest_likely_share(math.ceil(seen * total), total, size=size, inflation=inflation)
    assert enough == pytest.approx(0.01, rel=0.02)


def test_failed_requests_are_slow_ones_and_cluster_as_they_do() -> None:
    """40 failed neighbours at a time, among fast requests that are independent."""
    latency = np.random.default_rng(6).exponential(0.002, 20_000)
    latency[5_000:5_040] = latency[12_000:12_040] = np.inf
    with_failures = upper_share(Exceedances(Population.of(latency)), 1.0)
    assert with_failures.above == 80
    assert with_failures.clustering.size > 10 and with_failures.clustering.inflation > 40
    assert with_failures.high > 2 * largest_likely_share(80, 20_000)


def test_nothing_but_slow_requests_has_no_bound() -> None:
    assert upper_share(Exceedances(Population.of(np.full(100, 2.0))), 1.0).high == 1.0
