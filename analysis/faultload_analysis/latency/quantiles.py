"""Latency quantiles and means with bounds that hold for dependent requests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import (
    LEAST_WORTH,
    MIN_TO_BATCH,
    Array,
    Dependence,
    Inflation,
    batch_means,
    batches_for,
    inflation_of,
    largest_passing,
    load_to_decide,
    measured,
    share_bounds,
    smallest_failing,
    uncertainty,
    variance_inflation,
)
from faultload_analysis.evidence.distributions import chi2_quantile, t_quantile
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate, no_data
from faultload_analysis.latency.histogram import Histogram
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.rank import Probability, exact_probability, rank

__all__ = [
    "LatencySummary",
    "lower_rank",
    "mean_estimate",
    "quantile",
    "quantile_estimate",
    "rank",
    "samples_needed_quantile",
    "summary",
    "upper_rank",
    "variance_inflation",
]

_OFTEN, _OFTENER, _RARE = Fraction(9, 10), Fraction(8, 10), Fraction(95, 100)
_GROWTH_KEPT = 0.5
_TAILS = (Fraction(9, 10), Fraction(8, 10), Fraction(5, 10))
_SHAPE = 0.5

Values = npt.ArrayLike | Population


def _checked(values: npt.ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must be one-dimensional, not of shape {array.shape}")
    return array


def quantile(values: npt.ArrayLike, p: Probability) -> float:
    """The order statistic x_(ceil(np)) of `values`, shape (n,); +inf when it falls among the failures.

    The same as `numpy.quantile(method="inverted_cdf")` (Hyndman & Fan 1996, definition 1), with the rank
    in exact arithmetic. ValueError on empty values or NaN.
    """
    array = _checked(values)
    if array.size == 0:
        raise ValueError("no samples have no quantile")
    if np.isnan(array).any() or np.isneginf(array).any():
        raise ValueError("values hold NaN or -inf")
    r = rank(array.size, p)
    return float(np.partition(array, r - 1)[r - 1])


def upper_rank(n: int, p: Probability, *, inflation: float = 1.0, confidence: float = 0.95) -> int | None:
    """The smallest rank r whose order statistic x_(r) bounds the p-quantile from above; None: no rank does.

    For independent samples (inflation 1) the r of P(Bin(n, p) <= r - 1) >= confidence (CMH-17-1G 8.5.13);
    otherwise the same on counts over `inflation`.
    """
    k = largest_passing(n, float(1 - exact_probability(p)), inflation=inflation, confidence=confidence)
    return None if k is None else n - k


def lower_rank(n: int, p: Probability, *, inflation: float = 1.0, confidence: float = 0.95) -> int | None:
    """The largest rank r whose order statistic x_(r) bounds the p-quantile from below; None: no rank does."""
    k = smallest_failing(n, float(1 - exact_probability(p)), inflation=inflation, confidence=confidence)
    return None if k is None else n - k + 1


def quantile_estimate(
    values: Values, p: Probability, *, target: float | None = None, confidence: float = 0.95
) -> Estimate:
    """The p-quantile with one-sided bounds that hold for dependent requests.

    `values`: shape (n,), seconds, in time order of intended start, +inf for failed; or a `Population`. `target`:
    the declared limit T, whose exceedances then also tell the dependence and, when undecided, how much more load
    would decide. The bounds are order statistics by the exact binomial on n / inflation (`inflation_of`), the
    largest variance inflation of exceeding the quantiles 0.9, 0.8 and p, and T, and of failing. Beyond 0.95 it is
    also taken to grow as from 0.8 to 0.95, by half on a logarithmic scale. Where the tail beyond P90 says less
    (`_tail_bound`), that is the upper bound: a run far inside its target need not be as long as one at its edge.
    How often the bounds are wrong: docs/calibration.md. Below 60 samples every √n neighbours count as one. No
    samples: value None. O(n log n) time, O(n) memory. ValueError on NaN or -inf.
    """
    population, exact_p = Population.of(values), exact_probability(p)
    checked_confidence(confidence)
    n = population.n
    if n == 0:
        return no_data("no requests to judge")
    at = rank(n, exact_p)
    allowed = float(1 - exact_p)
    inflation = _exceedance_inflation(population, exact_p, target)
    upper = upper_rank(n, exact_p, inflation=inflation.passing, confidence=confidence)
    lower = lower_rank(n, exact_p, inflation=inflation.failing, confidence=confidence)
    # Where a run is worth less than a few samples the ranks may cross the value's own.
    high = None if upper is None else population.order_statistic(max(upper, at))
    low = None if lower is None else population.order_statistic(min(lower, at))
    method = f"order statistic, {inflation.method}"
    tail = _tail_bound(population, exact_p, inflation.passing, confidence)
    if tail is not None and (high is None or tail.high < high):
        high, method = max(tail.high, population.order_statistic(at)), f"{method}; upper bound by the {tail.name}"
    why = ""
    if target is not None and not (high is not None and high <= target) and not (low is not None and low > target):
        why = load_to_decide(population.count_above(target), n, allowed, inflation)
    return Estimate(
        population.order_statistic(at),
        low,
        high,
        n,
        n / inflation.seen,
        method,
        why,
    )


@dataclass(frozen=True, slots=True)
class _Tail:
    high: float
    name: str


def _tail_bound(population: Population, p: Fraction, inflation: float, confidence: float) -> _Tail | None:
    """An upper bound on the p-quantile from the tail beyond a lower quantile q; None: nothing to tell it from.

    Beyond x_q the tail is taken to be no heavier than generalised Pareto with shape 1/2, whose variance is
    infinite: x_p <= u + s (m^(1/2) - 1)/(1/2), m = (1 - q)/(1 - p). u: the order-statistic upper bound on x_q;
    s: the mean excess over x_q, times 2k / chi2_a(2k) with k = n (1 - q)/inflation excesses, plus (u - x_q)/2,
    by which such a tail widens up to u. Each holds with half of 1 - confidence (Bonferroni). q is the largest of
    0.9, 0.8 and 0.5 that can be bounded. Pickands 1975, Annals of Statistics 3(1); Davison & Smith 1990, J. R.
    Statist. Soc. B 52(3). Failures are on no tail: then None. So below 60 samples.
    """
    n, each = population.n, (1.0 - confidence) / 2.0
    if n < MIN_TO_BATCH or population.n_failed or p == 1:
        return None
    for q in (q for q in _TAILS if q < p):
        upper = upper_rank(n, q, inflation=inflation, confidence=1.0 - each)
        if upper is None:
            continue
        begin = population.order_statistic(rank(n, q))
        edge = max(population.order_statistic(upper), begin)
        excesses = 2.0 * n * float(1 - q) / inflation
        mean = (population.mean_excess(begin) or 0.0) * excesses / chi2_quantile(each, excesses)
        scale = mean + _SHAPE * (edge - begin)
        times = (float((1 - q) / (1 - p)) ** _SHAPE - 1.0) / _SHAPE
        return _Tail(edge + scale * times, f"tail beyond P{float(q) * 100:g}")
    return None


def _exceedance_inflation(population: Population, p: Fraction, target: float | None) -> Inflation:
    """The inflation of the 0/1 series whose dependence matters."""
    n, share = population.n, float(1 - p)
    if n < MIN_TO_BATCH:
        return inflation_of(n, share, [])

    def exceeding(level: float) -> Dependence | None:
        return measured(*population.counts_above(level, batches_for(n))) if math.isfinite(level) else None

    def at(q: Fraction) -> float:
        return population.order_statistic(rank(n, q))

    often = exceeding(at(_OFTENER))
    levels = dict.fromkeys([at(p), *([] if target is None else [target])])
    kinds = [exceeding(at(_OFTEN)), often, *(exceeding(level) for level in levels)]
    if population.n_failed:
        kinds.append(measured(*population.failures(batches_for(n))))
    rare = exceeding(at(_RARE)) if _RARE < p < 1 else None
    growth = 1.0
    if rare is not None and often is not None and rare.inflation > often.inflation:
        per_log_share = math.log(rare.inflation / often.inflation) / math.log((1 - _OFTENER) / (1 - _RARE))
        growth = math.exp(_GROWTH_KEPT * per_log_share * math.log(float(1 - _RARE) / share))
    return inflation_of(n, share, kinds, growth=growth)


def mean_estimate(values: Values, *, confidence: float = 0.95) -> Estimate:
    """The mean with one-sided bounds, for observations in time order, shape (n,), or a `Population`.

    0/1 values: exact binomial on n / variance inflation, so that data without variation is never certain.
    Others: Student's t on 64 batch means (n/2 when fewer), adjusted for their autocorrelation and skewness
    (Tafazzoli, Steiger & Wilson 2011, N-Skart), the skewness doubled towards the long tail, of which a short run
    shows too little (docs/calibration.md). Batches that depend so much that they are worth fewer than 16: at least
    6 of their standard deviations.
    Below 60 samples floor(√n) batches, and no narrower than with every √n neighbours counted as one; below 4,
    or without variation, open. A +inf makes the mean +inf. ValueError on NaN or -inf.
    """
    population = Population.of(values)
    checked_confidence(confidence)
    n = population.n
    if n == 0:
        return no_data("nothing was observed")
    if population.n_failed:
        return Estimate(math.inf, math.inf, None, n, None, "mean", "an infinite value was observed")
    if population.is_binary:
        return _share_of_ones(population, confidence)
    if n < MIN_TO_BATCH:
        return _mean_of_few(population, confidence)
    batches = batches_for(n)
    mean, varies = _mean_of(population)
    method = f"{batches} batch means, Student t adjusted for autocorrelation and skewness"
    means = batch_means(*population.sums(batches)) if varies else None
    if means is None:
        return Estimate(mean, mean, mean, n, float(n), method)
    n_eff = min(float(n), (population.variance or 0.0) / means.error**2)
    few = "the observations depend on each other for longer than a run of this length can tell"
    below, above = means.margins(confidence)
    return Estimate(mean, mean - below, mean + above, n, n_eff, method, few if means.worth < LEAST_WORTH else "")


def _mean_of(population: Population) -> tuple[float, bool]:
    """The mean, and whether the values vary: a sum of equal values is rounded, and its rounding is no variation."""
    if population.minimum == population.maximum:
        return population.minimum, False
    return population.mean or 0.0, True


def _share_of_ones(population: Population, confidence: float) -> Estimate:
    n, hits = population.n, population.count_above(0.5)
    # One success or one failure beside none says nothing of dependence: inflation 1, as for availability.
    kinds = [] if n < MIN_TO_BATCH else [measured(*population.counts_above(0.5, batches_for(n)))]
    share = hits / n
    inflation = Inflation.none() if hits in (0, n) else inflation_of(n, share, kinds)
    low, high = share_bounds(hits, n, inflation=inflation.passing, confidence=confidence)
    return Estimate(share, low, high, n, n / inflation.seen, inflation.method)


def _mean_of_few(population: Population, confidence: float) -> Estimate:
    """Student's t on floor(√n) batch means, their variance at its 80 % upper bound."""
    n, batches = population.n, math.isqrt(population.n)
    mean, varies = _mean_of(population)
    method = f"{batches} batch means, Student t"
    if batches < 2:
        return Estimate(mean, None, None, n, None, method, "too few observations for bounds")
    if not varies:
        return Estimate(mean, None, None, n, None, method, "the observations do not vary and are few")
    sums, sizes = population.sums(batches)
    spread = float(np.var(sums / sizes, ddof=1)) * uncertainty(batches)
    variance = max(spread, population.variance or 0.0)
    half = t_quantile(confidence, batches - 1) * math.sqrt(variance / batches)
    n_eff = min(float(n), (population.variance or 0.0) * batches / variance)
    return Estimate(mean, mean - half, mean + half, n, n_eff, method)


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Quantiles of a population in seconds. `p*` and `max` count failed as +inf; `ok_*` are over ok only.

    None where there was nothing to take a quantile of.
    """

    n: int
    n_failed: int
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p99_9: float | None
    max: float | None
    mean: float | None
    ok_p50: float | None
    ok_p95: float | None
    ok_p99: float | None
    ok_max: float | None


def summary(values: Values | Histogram) -> LatencySummary:
    """Describe latencies, shape (n,), seconds, +inf for failed, or a `Population`, or a `Histogram`.

    `mean` is over ok only. ValueError on NaN or -inf.
    """
    population = values if isinstance(values, Histogram) else Population.of(values)
    n, ok = population.n, population.n - population.n_failed

    def at(p: float, size: int = n) -> float | None:
        return population.order_statistic(rank(size, p)) if size else None

    return LatencySummary(
        n=n,
        n_failed=population.n_failed,
        p50=at(0.5),
        p90=at(0.9),
        p95=at(0.95),
        p99=at(0.99),
        p99_9=at(0.999),
        max=population.maximum if n else None,
        mean=population.mean,
        ok_p50=at(0.5, ok),
        ok_p95=at(0.95, ok),
        ok_p99=at(0.99, ok),
        ok_max=at(1.0, ok),
    )


def samples_needed_quantile(p: Probability, confidence: float = 0.95) -> int:
    """The fewest *independent* samples whose maximum bounds the p-quantile from above: ceil(ln α / ln p).

    299 for p99, 59 for p95, 2995 for p99.9 at 95 %. ValueError for p = 1 (no number is enough).
    """
    exact_p = exact_probability(p)
    checked_confidence(confidence)
    if exact_p == 1:
        raise ValueError("no number of samples bounds the 1-quantile")
    needed = max(1, math.ceil(math.log(1.0 - confidence) / math.log(exact_p)))
    while upper_rank(needed, exact_p, confidence=confidence) is None:
        needed += 1
    while needed > 1 and upper_rank(needed - 1, exact_p, confidence=confidence) is not None:
        needed -= 1
    return needed
