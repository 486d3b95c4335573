"""Quantile ranks and bounds against published tables."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from faultload_analysis.latency.quantiles import (
    lower_rank,
    quantile,
    quantile_estimate,
    samples_needed_quantile,
    upper_rank,
)
from faultload_analysis.latency.rank import rank


@pytest.mark.parametrize(
    ("n", "from_the_top"),
    [(299, 1), (472, 1), (473, 2), (628, 3), (773, 4), (913, 5), (1049, 6), (1181, 6), (1182, 7)],
)
def test_upper_bound_rank_of_p99_is_that_of_cmh17(n: int, from_the_top: int) -> None:
    """CMH-17-1G table 8.5.13 (cmstatr, test-basis-factors-nonpara1.R): rank counted from the maximum."""
    assert upper_rank(n, 0.99) == n - from_the_top + 1


def test_298_samples_bound_no_p99() -> None:
    """CMH-17-1G 8.5.13: below 299 there is no bound."""
    assert upper_rank(298, 0.99) is None


@pytest.mark.parametrize(
    ("p", "confidence", "n"),
    [(0.99, 0.95, 299), (0.99, 0.99, 459), (0.999, 0.95, 2995), (0.95, 0.95, 59), (0.9999, 0.95, 29956)],
)
def test_samples_needed_is_ln_alpha_over_ln_p(p: float, confidence: float, n: int) -> None:
    """Exact binomial; MLPerf early stopping gives the same numbers."""
    assert samples_needed_quantile(p, confidence) == n


def test_ranks_agree_with_scipy_quantile_test() -> None:
    """scipy.stats.quantile_test (Conover 1999): n = 1000, two-sided 95 % p99 -> (983, 997), upper -> 996."""
    x = np.arange(1.0, 1001.0)
    two_sided = stats.quantile_test(x, p=0.99).confidence_interval(0.95)
    assert (two_sided.low, two_sided.high) == (983.0, 997.0)
    assert (lower_rank(1000, 0.99, confidence=0.975), upper_rank(1000, 0.99, confidence=0.975)) == (983, 997)
    assert upper_rank(1000, 0.99) == 996


def test_p99_of_one_to_a_hundred_is_99() -> None:
    """numpy inverted_cdf, Hyndman & Fan 1996 definition 1; linear gives 99.01, floor(np) gives 100."""
    x = np.arange(1.0, 101.0)
    assert quantile(x, 0.99) == 99.0 == np.quantile(x, 0.99, method="inverted_cdf")


@pytest.mark.parametrize(
    ("n", "p", "r"), [(100, 0.07, 7), (151, 0.99, 150), (100, Fraction(7, 100), 7), (1, 0.5, 1)]
)
def test_rank_is_exact(n: int, p: float, r: int) -> None:
    """100 * 0.07 is 7.000000000000001 in floats; HdrHistogram (Java) gives 150 for n = 151."""
    assert rank(n, p) == r


def mm1(rng: np.random.Generator, n: int, rho: float, mu: float = 100.0) -> np.ndarray:
    """Response times of an M/M/1 queue started in steady state (Lindley's recursion)."""
    service, gaps = rng.exponential(1 / mu, n), rng.exponential(1 / (rho * mu), n)
    first = rng.exponential(1 / (mu * (1 - rho))) if rng.random() < rho else 0.0
    walk = np.concatenate(([0.0], np.cumsum(service[:-1] - gaps[1:])))
    return np.maximum(walk + first, walk - np.minimum.accumulate(walk)) + service


def test_mm1_simulation_has_the_mean_and_p99_of_theory() -> None:
    """M/M/1 mu = 100, lambda = 80: mean 0.05, p99 0.230259 (closed form)."""
    x = mm1(np.random.default_rng(5), 2_000_000, 0.8)
    assert x.mean() == pytest.approx(0.05, rel=0.03)
    assert quantile(x, 0.99) == pytest.approx(0.230259, rel=0.05)


@pytest.mark.parametrize(("rho", "p", "n"), [(0.8, 0.99, 20_000), (0.5, 0.99, 20_000), (0.8, 0.95, 10_000)])
def test_a_quantile_at_its_target_rarely_passes(rho: float, p: float, n: int) -> None:
    """Closed form: M/M/1 response times are exponential. Bounds for independent requests pass far too often."""
    truth = -np.log(1 - p) / (100 * (1 - rho))
    rng = np.random.default_rng(11)
    passed = failed = naive = 0
    for _ in range(100):
        x = mm1(rng, n, rho)
        estimate = quantile_estimate(x, p, target=truth)
        passed += estimate.high is not None and estimate.high <= truth
        failed += estimate.low is not None and estimate.low > truth
        r = upper_rank(n, p)
        naive += r is not None and np.sort(x)[r - 1] <= truth
    assert passed <= 11  # binomial(100, .05) exceeds 11 with probability .004
    assert failed <= 11
    assert naive >= 20


def test_a_quantile_well_below_its_target_passes_at_moderate_load() -> None:
    """docs/calibration.md, utilisation 0.5: PASS .99 at 1.5 times the truth."""
    truth = -np.log(0.01) / 50
    rng = np.random.default_rng(3)
    highs = [quantile_estimate(mm1(rng, 20_000, 0.5), 0.99, target=1.5 * truth).high for _ in range(30)]
    assert sum(h is not None and h <= 1.5 * truth for h in highs) >= 28  # binomial(30, .98): less in .02
