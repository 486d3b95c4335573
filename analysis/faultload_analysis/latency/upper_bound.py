"""The upper bound of a latency quantile that no shape of the tail can fool: counts of clusters of slow requests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from faultload_analysis.evidence.clusters import Clusters, more_until_few, most_that_are_few
from faultload_analysis.evidence.distributions import chi2_quantile
from faultload_analysis.latency.events import LongestEvent
from faultload_analysis.latency.exceedances import LARGEST, Exceedances
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.rank import rank

_HALF, _OFTENER, _OFTEN = Fraction(5, 10), Fraction(8, 10), Fraction(9, 10)
LADDER = tuple(Fraction(level) for level in ("0.8", "0.9", "0.95", "0.98", "0.99", "0.995", "0.999"))
_TAILS = _OFTEN, _OFTENER, _HALF
_SHAPE = 0.5
_DOUBT = 2.0
"""Standard errors of its logarithm by which a cluster size is beyond doubt."""
LONGER = "the run shows a longer event than stall= declares"

# Chosen on simulated traffic (docs/calibration.md).
_MARGIN, _MARGIN_SHARED, _DISCOUNT, _GROWTH = 0.25, 2.0, 0.5, 0.2
_CLUSTERS_OF_BASE, _CLUSTERS_OF_TAIL = 40.0, 25.0


@dataclass(frozen=True, slots=True)
class Clustering:
    """The mean size of clusters of exceedances, and by how much they inflate the variance of their number."""

    size: float
    inflation: float


@dataclass(frozen=True, slots=True)
class UpperBound:
    """An upper bound on the p-quantile, how it was found, and as what clusters the requests above p were taken.

    `high` None: there is none.
    """

    high: float | None
    method: str
    clustering: Clustering

    def more_to_pass(self, above: int, n: int, p: Fraction, confidence: float) -> int | None:
        """How many more requests like these pass a target that `above` of n exceed; None: no feasible number."""
        size, inflation = self.clustering.size, self.clustering.inflation
        return more_until_few(above, n, float(1 - p), size=size, inflation=inflation, confidence=confidence)


def upper_bound(
    exceedances: Exceedances,
    p: Fraction,
    *,
    target: float | None,
    confidence: float,
    declared: LongestEvent | None = None,
) -> UpperBound:
    """An upper bound on the p-quantile of dependent requests, p < 1, with no model of the tail.

    The bound is x_(n - k) with the largest k for which P(K <= k) <= 1 - confidence, K being the number of requests
    above the true quantile (`evidence.clusters.at_most`). So only how often a level is exceeded is read, and when.
    K comes in clusters (`expected_clustering`). What their margin for error takes away a smooth tail may give back
    (`_tail`), down to the bound by the clusters as they were measured and no further. A `declared` longest event
    replaces the margin: see `_of_declared`.
    """
    population = exceedances.population
    levels = {u: exceedances.clusters(exceedances.level(u)) for u in sorted({p, *LADDER}) if u <= p}
    by_level = {u: clusters for u, clusters in levels.items() if clusters is not None}
    others = [exceedances.clusters(level) for level in (target, LARGEST) if level is not None]
    beside = [clusters for clusters in others if clusters is not None]

    expected = expected_clustering(exceedances, p, by_level, beside)
    seen = _measured([*by_level.values(), *beside])
    if declared is not None:
        clustering, method = _of_declared(declared, expected, seen, [*by_level.values(), *beside])
        return UpperBound(_by_counts(population, p, clustering, confidence), method, clustering)
    by_counts, by_seen = (_by_counts(population, p, one, confidence) for one in (expected, seen))
    tail = _tail(exceedances, p, expected, confidence) if by_seen is not None and _has_a_tail(exceedances) else None
    high, method = by_counts, f"upper bound by counts of clusters of {expected.size:.1f}"
    if by_seen is not None and tail is not None and (by_counts is None or max(by_seen, tail.high) < by_counts):
        high, method = max(by_seen, tail.high), f"{method}, its margin by the {tail.name}"
    return UpperBound(high, method, expected)


def upper_bound_of_few(
    population: Population, p: Fraction, confidence: float, declared: LongestEvent
) -> UpperBound | None:
    """The same of samples too few to measure any dependence: by the declared event alone.

    None where they show a longer one.
    """
    if declared.was_longer:
        return None
    clustering = Clustering(declared.size, declared.inflation)
    high = _by_counts(population, p, clustering, confidence)
    return UpperBound(high, said_of(declared, larger=False, size=declared.size), clustering)


def expected_clustering(
    exceedances: Exceedances, p: Fraction, by_level: dict[Fraction, Clusters], others: list[Clusters]
) -> Clustering:
    """How the requests above the p-quantile come in clusters, with a margin for the error of telling so.

    Extrapolated from the base: the highest level u below p with at least 40 clusters (else 0.9, 0.8, or p itself).
    Its size m(u) times exp((0.25 + 2 rho) e + e^2), e the error of its logarithm, times (s/q)^kappa, s the share
    above u; its inflation times exp((0.25 + 2 rho) e) with its own error, and the same power. rho is the
    correlation that the two counts have when requests are independent: a lucky run has few slow requests *and*
    looks independent. kappa: rarer exceedances come in larger clusters, see `_growth`. At least m exp(-e/2) and
    g exp(e/2) of every other level that was measured. Nothing above any level: clusters of 1.
    """
    n, q = exceedances.population.n, float(1 - p)
    fit = [u for u, c in by_level.items() if u < p and (u <= _OFTEN or c.events / c.size >= _CLUSTERS_OF_BASE)]
    level = max(fit, default=p)
    base = by_level.get(level)
    if base is None:
        return Clustering(1.0, 1.0)
    share = base.events / n
    few, many = sorted((q, share))
    margin = _MARGIN + _MARGIN_SHARED * math.sqrt(few * (1.0 - many) / (many * (1.0 - few)))
    growth = max(1.0, share / q) ** _growth(exceedances, level, base)
    sizes = [base.size * growth * math.exp(margin * base.error + base.error**2)]
    inflations = [base.inflation * growth * math.exp(margin * base.dependence.error)]
    rest = [*(clusters for u, clusters in by_level.items() if u != level), *others]
    sizes += [clusters.size * math.exp(-_DISCOUNT * clusters.error) for clusters in rest]
    inflations += [clusters.inflation * math.exp(_DISCOUNT * clusters.dependence.error) for clusters in rest]
    size = max(sizes)
    return Clustering(size, max(size, *inflations))


def _of_declared(
    declared: LongestEvent, expected: Clustering, seen: Clustering, clusters: list[Clusters]
) -> tuple[Clustering, str]:
    """How the requests above a quantile cluster where the longest event is declared, and how that is called.

    As the requests that such an event hits, seen or not, and at least as they were measured: then the clusters need
    no margin for what the run may not have shown. Where the run shows a longer event the declaration is of no use:
    at least as large as that one, as the declared ones, and as without them. It does if an unbroken stretch of slow
    requests lasted longer, or if a level is exceeded in clusters that are larger beyond doubt: size exp(-2 e) above
    the declared inflation, or inflation exp(-2 e) above twice that, which overlapping events come to.
    """
    larger = any(
        one.size * math.exp(-_DOUBT * one.error) > declared.inflation
        or one.inflation * math.exp(-_DOUBT * one.dependence.error) > 2.0 * declared.inflation
        for one in clusters
    )
    parts = [expected, seen] if declared.was_longer or larger else [seen]
    size = max([declared.size, *(one.size for one in parts), *([declared.longest] if declared.was_longer else [])])
    inflation = max([size, declared.inflation, *(one.inflation for one in parts)])
    return Clustering(size, inflation), said_of(declared, larger=larger, size=size)


def said_of(declared: LongestEvent, *, larger: bool, size: float) -> str:
    """How the upper bound was found where the longest event is declared."""
    if declared.was_longer:
        return f"{LONGER}: {declared.longest:,} requests in a row over {declared.longest_s:.3g} s"
    if larger:
        return f"{LONGER}: slow requests come in larger clusters"
    return f"upper bound by counts of clusters of {size:.1f}, as stall={declared.stall_s:g}s declares"


def _growth(exceedances: Exceedances, level: Fraction, base: Clusters) -> float:
    """The power of the share above a level by which clusters grow beyond it.

    The slope of log size from 0.8 (0.5 where the level is no higher) to the level, weighted with the decades of
    share between them, against 0.2 (1 - 1/size) for the rest of a decade.
    """
    before = _OFTENER if level > _OFTENER else _HALF
    start = exceedances.clusters(exceedances.level(before))
    if start is None or level <= before:
        return 0.0
    decades = math.log10((1 - before) / (1 - level))
    weight = min(1.0, decades)
    slope = math.log10(base.size / start.size) / decades
    return max(0.0, weight * slope + (1.0 - weight) * _GROWTH * (1.0 - 1.0 / base.size))


def _measured(clusters: list[Clusters]) -> Clustering:
    """The largest size and inflation that were measured, without any margin."""
    size = max([1.0, *(one.size for one in clusters)])
    return Clustering(size, max([size, *(one.inflation for one in clusters)]))


def _by_counts(population: Population, p: Fraction, clustering: Clustering, confidence: float) -> float | None:
    k = most_that_are_few(
        population.n,
        float(1 - p),
        size=clustering.size,
        inflation=clustering.inflation,
        confidence=confidence,
    )
    # Where a run is worth less than a few samples the rank may cross the value's own.
    return None if k is None else population.order_statistic(max(population.n - k, rank(population.n, p)))


def _has_a_tail(exceedances: Exceedances) -> bool:
    """Whether enough clusters of slow requests tell a tail, and no failed one is among them: those are on none."""
    often = exceedances.clusters(exceedances.level(_OFTEN)) or exceedances.clusters(exceedances.level(_OFTENER))
    enough = often is not None and often.events / often.size >= _CLUSTERS_OF_TAIL
    return enough and exceedances.population.n_failed == 0


@dataclass(frozen=True, slots=True)
class _Tail:
    high: float
    name: str


def _tail(exceedances: Exceedances, p: Fraction, clustering: Clustering, confidence: float) -> _Tail | None:
    """An upper bound on the p-quantile from the tail beyond a lower quantile; None: none tells it.

    Beyond x_u the tail is taken to be no heavier than generalised Pareto with shape 1/2, whose variance is
    infinite: x_p <= b + s (m^(1/2) - 1)/(1/2), m = (1 - u)/(1 - p). b: the bound by counts on x_u; s: the mean
    excess over x_u, times 2k / chi2_a(2k) with k = n (1 - u)/inflation excesses, plus (b - x_u)/2, by which such a
    tail widens up to b. Each holds with half of 1 - confidence (Bonferroni). u is the largest of 0.9, 0.8 and 0.5
    that can be bounded. Pickands 1975, Annals of Statistics 3(1); Davison & Smith 1990, J. R. Statist. Soc. B
    52(3).
    """
    population, each = exceedances.population, (1.0 - confidence) / 2.0
    for u in (u for u in _TAILS if u < p):
        edge = _by_counts(population, u, clustering, 1.0 - each)
        begin = exceedances.level(u)
        mean = population.mean_excess(begin)
        if edge is None or mean is None:
            continue
        excesses = 2.0 * population.n * float(1 - u) / clustering.inflation
        scale = mean * excesses / chi2_quantile(each, excesses) + _SHAPE * (edge - begin)
        times = (float((1 - u) / (1 - p)) ** _SHAPE - 1.0) / _SHAPE
        return _Tail(edge + scale * times, f"tail beyond P{float(u) * 100:g}")
    return None
