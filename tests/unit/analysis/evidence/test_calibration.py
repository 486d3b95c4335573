"""Bounds against simulated runs whose truth is known: a small, fast version of benchmarks/coverage.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy import stats

from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import mean_estimate, quantile_estimate, upper_rank
from faultload_analysis.slo.availability import largest_unseen_outage, proportion_estimate

RUNS = 100
WRONG_AT_MOST = int(stats.binom.isf(1e-3, RUNS, 0.05))
"""What 100 runs of a bound that is wrong in 5 % exceed less than once in a thousand times."""


def mm1(rng: np.random.Generator, n: int, utilisation: float) -> np.ndarray:
    """Response times of an M/M/1 queue in steady state, service rate 1; at utilisation 0, independent ones."""
    service = rng.exponential(1.0, n)
    if utilisation == 0.0:
        return service
    walk = np.concatenate(([0.0], np.cumsum(service[:-1] - rng.exponential(1.0 / utilisation, n - 1))))
    first = rng.exponential(1.0 / (1.0 - utilisation)) if rng.random() < utilisation else 0.0
    return np.maximum(walk + first, walk - np.minimum.accumulate(walk)) + service


def true_quantile(p: float, utilisation: float) -> float:
    """The response time of M/M/1 is exponential with rate mu - lambda."""
    return -math.log1p(-p) / (1.0 - utilisation)


@cache
def simulated(n: int, utilisation: float, runs: int = RUNS) -> list[np.ndarray]:
    rng = np.random.default_rng([n, round(100 * utilisation)])
    return [mm1(rng, n, utilisation) for _ in range(runs)]


Upper = Callable[[np.ndarray, float], float | None]


def as_if_independent(latencies: np.ndarray, p: float) -> float | None:
    rank = upper_rank(latencies.size, p)
    return None if rank is None else float(np.sort(latencies)[rank - 1])


def passes_at_the_truth(upper: Upper, n: int, utilisation: float, p: float) -> int:
    truth = true_quantile(p, utilisation)
    highs = [upper(x, p) for x in simulated(n, utilisation)]
    return sum(high is not None and high < truth for high in highs)


@pytest.mark.parametrize("utilisation", [0.0, 0.5, 0.8, 0.9])
@pytest.mark.parametrize(("n", "p"), [(5000, 0.99), (5000, 0.9), (1000, 0.5)])
def test_an_objective_at_the_truth_rarely_passes_or_fails(n: int, p: float, utilisation: float) -> None:
    truth, passed, failed = true_quantile(p, utilisation), 0, 0
    for x in simulated(n, utilisation):
        found = quantile_estimate(x, p, target=truth)
        passed += found.high is not None and found.high < truth
        failed += found.low is not None and found.low > truth
    assert passed <= WRONG_AT_MOST
    assert failed <= WRONG_AT_MOST


@pytest.mark.parametrize("utilisation", [0.5, 0.8, 0.9])
def test_bounds_for_independent_requests_fail_that_check(utilisation: float) -> None:
    assert passes_at_the_truth(as_if_independent, 5000, utilisation, 0.99) > WRONG_AT_MOST


def test_on_independent_requests_they_would_do() -> None:
    assert passes_at_the_truth(as_if_independent, 5000, 0.0, 0.99) <= WRONG_AT_MOST


@pytest.mark.parametrize(
    ("utilisation", "times", "share"),
    [(0.0, 1.5, 0.98), (0.5, 1.5, 0.98), (0.8, 2.0, 0.38), (0.0, 0.67, 0.97), (0.8, 0.67, 0.97), (0.9, 0.5, 0.97)],
)
def test_an_objective_off_the_truth_is_decided(utilisation: float, times: float, share: float) -> None:
    target, runs = times * true_quantile(0.99, utilisation), 40
    decided = 0
    for x in simulated(20_000, utilisation, runs):
        found = quantile_estimate(x, 0.99, target=target)
        decided += bool(
            (found.high is not None and found.high <= target)
            if times > 1
            else (found.low is not None and found.low > target)
        )
    assert decided >= stats.binom.ppf(1e-3, runs, share)


@pytest.mark.parametrize("utilisation", [0.5, 0.8])
def test_the_mean_of_a_queue_is_rarely_on_the_wrong_side(utilisation: float) -> None:
    truth, below, above = 1.0 / (1.0 - utilisation), 0, 0
    for x in simulated(2000, utilisation):
        found = mean_estimate(x)
        below += found.high is not None and found.high < truth
        above += found.low is not None and found.low > truth
    assert max(below, above) <= WRONG_AT_MOST


@pytest.mark.parametrize(("share", "n"), [(0.001, 20_000), (0.01, 2000)])
def test_independent_failures_at_the_slo_rarely_pass_or_fail(share: float, n: int) -> None:
    rng, passed, failed = np.random.default_rng(n), 0, 0
    for _ in range(RUNS):
        found = proportion_estimate(rng.random(n) < share, slo=1.0 - share, of_run=True)
        passed += found.low is not None and found.low >= 1.0 - share
        failed += found.high is not None and found.high < 1.0 - share
    assert passed <= WRONG_AT_MOST
    assert failed <= WRONG_AT_MOST


def test_a_clean_run_says_which_outage_it_could_not_have_seen() -> None:
    """Two seconds down in 2000 are 99.9 %: a minute rarely holds one, passes, and says what it has not seen."""
    assert proportion_estimate(np.zeros(6000, dtype=bool), slo=0.999, of_run=True).low >= 0.999  # type: ignore[operator]
    unseen = largest_unseen_outage(6000, 60.0, 0.999)
    assert unseen.rarer_than_s == pytest.approx(60 / math.log(20))
    assert "could have gone unseen" in unseen.sentence


def test_a_folded_population_gives_nearly_the_bounds_of_the_whole_one() -> None:
    x = mm1(np.random.default_rng(6), 100_000, 0.5)
    x[np.random.default_rng(7).random(x.size) < 0.002] = np.inf
    target = 1.2 * true_quantile(0.99, 0.5)
    folded = Population(x, targets=[target], keep=1000)
    assert not folded.exact
    whole, part = (quantile_estimate(v, 0.99, target=target) for v in (x, folded))
    assert part.value == pytest.approx(whole.value, rel=2e-3)
    assert (part.low, part.high) == pytest.approx((whole.low, whole.high), rel=0.02)
    whole, part = (proportion_estimate(v, slo=0.99) for v in (np.isinf(x), folded))
    assert (part.value, part.n) == (whole.value, whole.n)
    assert (part.low, part.high) == pytest.approx((whole.low, whole.high), rel=1e-3)
    ok = x[np.isfinite(x)]
    whole, part = (mean_estimate(v) for v in (ok, Population(ok, keep=1000)))
    assert part.value == pytest.approx(whole.value)
    assert (part.low, part.high) == pytest.approx((whole.low, whole.high), rel=0.01)


def test_a_kept_population_gives_exactly_the_bounds_of_its_values() -> None:
    x = mm1(np.random.default_rng(8), 3000, 0.8)
    population = Population()
    for chunk in np.array_split(x, 7):
        population.add(chunk)
    assert quantile_estimate(population, 0.95, target=9.0) == quantile_estimate(x, 0.95, target=9.0)
    assert mean_estimate(population) == mean_estimate(x)


def test_a_run_far_inside_its_target_is_decided_by_its_tail_where_there_are_clusters_enough() -> None:
    target = 4.0 * true_quantile(0.99, 0.8)
    runs = [quantile_estimate(x, 0.99, target=target) for x in simulated(20_000, 0.8, 40)]
    passed = [one for one in runs if one.high is not None and one.high <= target]
    assert len(passed) >= stats.binom.ppf(1e-3, 40, 0.9)
    assert any("tail beyond" in one.method for one in passed)


def test_a_run_with_failures_has_no_tail_to_go_by() -> None:
    for x in simulated(20_000, 0.8, 40)[:10]:
        failing = x.copy()
        failing[::5000] = math.inf
        assert "tail" not in quantile_estimate(failing, 0.99).method
