"""Latency quantiles and means with bounds that hold for dependent requests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import (
    FEWEST_WORTH,
    LEAST_WORTH,
    MIN_TO_BATCH,
    Array,
    Inflation,
    batch_means,
    batches_for,
    inflation_of,
    largest_passing,
    load_to_decide,
    measured,
    more_load,
    share_bounds,
    smallest_failing,
    variance_inflation,
)
from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate, no_data
from faultload_analysis.latency.events import LongestEvent
from faultload_analysis.latency.exceedances import LARGEST, Exceedances
from faultload_analysis.latency.histogram import Histogram
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.rank import Probability, exact_probability, rank
from faultload_analysis.latency.upper_bound import LONGER, UpperBound, said_of, upper_bound, upper_bound_of_few

__all__ = [
    "LatencySummary",
    "QuantileBounds",
    "lower_rank",
    "mean_estimate",
    "quantile",
    "quantile_bounds",
    "quantile_estimate",
    "rank",
    "samples_needed_quantile",
    "summary",
    "upper_rank",
    "variance_inflation",
]

_OFTEN, _OFTENER = Fraction(9, 10), Fraction(8, 10)

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
    values: Values,
    p: Probability,
    *,
    target: float | None = None,
    confidence: float = 0.95,
    declared: LongestEvent | None = None,
) -> Estimate:
    """The p-quantile with one-sided bounds that hold for dependent requests.

    `values`: shape (n,), seconds, in time order of intended start, +inf for failed; or a `Population`. `target`:
    the declared limit T, whose exceedances then also tell the dependence and, when undecided, how much more load
    would decide. The upper bound is by counts of clusters of slow requests (`upper_bound`), which no tail can fool.
    The lower bound is an order statistic by the exact binomial on n / inflation (`inflation_of`), the largest
    variance inflation of exceeding the quantiles 0.9, 0.8 and p, and T, and of failing. Below 60 samples dependence
    cannot be told: no upper bound, and a lower one that holds for any. `declared`: the longest event that a team
    declares, which then tells the dependence of the upper bound, below 60 samples too. How often the bounds are
    wrong: docs/calibration.md. No samples: value None. O(n log n) time, O(n) memory. ValueError on NaN or -inf.
    """
    population, exact_p = Population.of(values), exact_probability(p)
    checked_confidence(confidence)
    n = population.n
    if n == 0:
        return no_data("no requests to judge")
    if n < MIN_TO_BATCH:
        return _quantile_of_few(population, exact_p, target, confidence, declared)
    bounds = quantile_bounds(
        Exceedances(population), exact_p, target=target, confidence=confidence, declared=declared
    )
    low, upper, inflation = bounds.low, bounds.upper, bounds.inflation
    why = ""
    if target is not None and _open(low, bounds.high, target):
        above, allowed = population.count_above(target), 1 - exact_p
        if upper is None or above > n * allowed:
            why = load_to_decide(above, n, float(allowed), inflation)
        else:
            why = more_load(upper.more_to_pass(above, n, exact_p, confidence))
    if upper is not None and upper.method.startswith(LONGER):
        why = "; ".join(filter(None, [upper.method, why]))
    method = f"order statistic; lower bound by {inflation.method}" + (f"; {upper.method}" if upper else "")
    value = population.order_statistic(rank(n, exact_p))
    return Estimate(value, low, bounds.high, n, n / inflation.seen, method, why)


@dataclass(frozen=True, slots=True)
class QuantileBounds:
    """The bounds on a quantile, and how the samples depend on each other towards each; None: there is none."""

    low: float | None
    upper: UpperBound | None
    inflation: Inflation

    @property
    def high(self) -> float | None:
        return None if self.upper is None else self.upper.high


def quantile_bounds(
    exceedances: Exceedances,
    p: Fraction,
    *,
    target: float | None = None,
    confidence: float = 0.95,
    declared: LongestEvent | None = None,
) -> QuantileBounds:
    """Both bounds of `quantile_estimate`, for as many quantiles and targets as are asked of one run."""
    population = exceedances.population
    n = population.n
    inflation = _inflation(exceedances, p, target)
    lower = lower_rank(n, p, inflation=inflation.failing, confidence=confidence)
    # Where a run is worth less than a few samples the rank may cross the value's own.
    low = None if lower is None else population.order_statistic(min(lower, rank(n, p)))
    upper = None
    if p < 1:
        upper = upper_bound(exceedances, p, target=target, confidence=confidence, declared=declared)
    return QuantileBounds(low, upper, inflation)


def _open(low: float | None, high: float | None, target: float) -> bool:
    """Whether bounds leave open on which side of the target the truth lies."""
    return not (high is not None and high <= target) and not (low is not None and low > target)


def _inflation(exceedances: Exceedances, p: Fraction, target: float | None) -> Inflation:
    """The inflation of the 0/1 series whose dependence matters to the lower bound."""
    levels = [exceedances.level(q) for q in (_OFTEN, _OFTENER, p)]
    levels += [] if target is None else [target]
    levels += [LARGEST] if exceedances.population.n_failed else []
    kinds = [exceedances.dependence(level) for level in levels]
    return inflation_of(exceedances.population.n, float(1 - p), kinds)


def _quantile_of_few(
    population: Population, p: Fraction, target: float | None, confidence: float, declared: LongestEvent | None
) -> Estimate:
    """Below 60 samples: no upper bound but by a declared longest event, and a lower one that holds for any.

    k or more of n exceed the p-quantile with probability at most n (1 - p) / k (Markov's inequality), however they
    depend on each other, so that x_(n - k + 1) with k = n (1 - p) / (1 - confidence) bounds it from below.
    """
    n, at = population.n, rank(population.n, p)
    k = max(1, math.ceil(n * float(1 - p) / (1.0 - confidence)))
    low = population.order_statistic(min(n - k + 1, at)) if k <= n else None
    upper = None if declared is None or p == 1 else upper_bound_of_few(population, p, confidence, declared)
    high, method = (None if upper is None else upper.high), "order statistic, Markov's inequality"
    why = ""
    if target is not None and _open(low, high, target):
        if upper is None:
            needed = MIN_TO_BATCH if p == 1 else max(MIN_TO_BATCH, samples_needed_quantile(p, confidence))
            why = _too_few(needed)
        elif population.count_above(target) <= n * (1 - p):
            why = more_load(upper.more_to_pass(population.count_above(target), n, p, confidence))
    if declared is not None:
        said = said_of(declared, larger=False, size=declared.size)
        method = f"{method}; {said}"
        why = "; ".join(filter(None, [said if declared.was_longer else "", why]))
    return Estimate(population.order_statistic(at), low, high, n, None, method, why)


def _too_few(needed: int) -> str:
    return f"from so few it cannot be told how they depend on each other: at least {needed} are needed"


def mean_estimate(values: Values, *, confidence: float = 0.95) -> Estimate:
    """The mean with one-sided bounds, for observations in time order, shape (n,), or a `Population`.

    0/1 values: exact binomial on n / variance inflation, so that data without variation is never certain.
    Others: Student's t on 64 batch means (n/2 when fewer), adjusted for their autocorrelation and skewness
    (Tafazzoli, Steiger & Wilson 2011, N-Skart), the skewness doubled towards the long tail, of which a short run
    shows too little (docs/calibration.md). Batches that depend so much that they are worth fewer than 16: at least
    6 of their standard deviations. Worth fewer than 10, or below 60 samples, dependence cannot be told: open.
    Bounds stay on the side of zero on which all values are. A +inf makes the mean +inf. ValueError on NaN or -inf.
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
    mean, varies = _mean_of(population)
    if n < MIN_TO_BATCH:
        return Estimate(mean, None, None, n, None, "mean", _too_few(MIN_TO_BATCH))
    batches = batches_for(n)
    method = f"{batches} batch means, Student t adjusted for autocorrelation and skewness"
    if not varies:
        return Estimate(mean, mean, mean, n, float(n), method)
    variance, means = population.variance or 0.0, batch_means(*population.sums(batches))
    n_eff, why = float(n), ""
    if means is None:  # alike by chance or by a period: no sign of dependence
        below = above = t_quantile(confidence, batches - 1) * math.sqrt(variance / n)
    else:
        n_eff = min(n_eff, variance / means.error**2)
        if means.worth < LEAST_WORTH:
            why = "the observations depend on each other for longer than a run of this length can tell"
        if means.worth < FEWEST_WORTH:
            needed = math.ceil(n * LEAST_WORTH / means.worth)
            return Estimate(mean, None, None, n, n_eff, method, f"{why}: about {needed} are needed")
        below, above = means.margins(confidence)
    low = max(mean - below, 0.0) if population.minimum >= 0.0 else mean - below
    high = min(mean + above, 0.0) if population.maximum <= 0.0 else mean + above
    return Estimate(mean, low, high, n, n_eff, method, why)


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
