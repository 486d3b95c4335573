"""The upper bound of the share of requests above a latency: counts of the clusters in which they come."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from faultload_analysis.evidence.clusters import largest_likely_share, more_until_few
from faultload_analysis.latency.exceedances import LARGEST, Exceedances
from faultload_analysis.latency.upper_bound import LADDER, Clustering, expected_clustering


@dataclass(frozen=True, slots=True)
class UpperShare:
    """An upper bound on the share of requests of which `above` of n are, and as what clusters these were taken."""

    high: float
    above: int
    n: int
    clustering: Clustering

    @property
    def method(self) -> str:
        return f"upper bound by counts of clusters of {self.clustering.size:.1f}"

    def more_to_pass(self, allowed: float, confidence: float) -> int | None:
        """How many more requests like these show that at most `allowed` are above; None: no feasible number."""
        size, inflation = self.clustering.size, self.clustering.inflation
        return more_until_few(self.above, self.n, allowed, size=size, inflation=inflation, confidence=confidence)


def upper_share(exceedances: Exceedances, level: float, *, confidence: float = 0.95) -> UpperShare:
    """An upper bound on the share of requests slower than `level`, a finite latency; failed ones are slower.

    The share at which P(K <= k) is 1 - confidence, k being how many are above the level. K comes in the clusters
    that `upper_bound` takes for the quantile that the level is. So they are measured on lower levels too: a run
    that holds few slow requests tells little of how these come.
    """
    population = exceedances.population
    n, above = population.n, population.count_above(level)
    p = Fraction(n - max(above, 1), n)
    levels = {p: level, **{u: exceedances.level(u) for u in LADDER if u < p}}
    measured = {u: exceedances.clusters(at) for u, at in levels.items()}
    by_level = {u: clusters for u, clusters in measured.items() if clusters is not None}
    failed = exceedances.clusters(LARGEST) if population.n_failed else None
    clustering = expected_clustering(exceedances, p, by_level, [] if failed is None else [failed])
    size, inflation = clustering.size, clustering.inflation
    high = largest_likely_share(above, n, size=size, inflation=inflation, confidence=confidence)
    return UpperShare(high, above, n, clustering)
