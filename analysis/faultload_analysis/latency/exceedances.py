"""How the requests above a level of latency come in clusters, each level measured once."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from faultload_analysis.evidence.clusters import Clusters, gap_size
from faultload_analysis.evidence.dependence import MIN_TO_BATCH, Dependence, batches_for, measured
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.rank import rank

LARGEST = float(np.finfo(np.float64).max)
"""A level that only failed requests exceed."""
_FEWEST_EVENTS = 2
"""One event tells nothing of clusters."""


class Exceedances:
    """The exceedances of levels of a population of at least 60."""

    def __init__(self, population: Population) -> None:
        if population.n < MIN_TO_BATCH:
            raise ValueError(f"{population.n} samples are too few to measure their dependence")
        self.population = population
        self._dependence: dict[float, Dependence | None] = {}
        self._clusters: dict[float, Clusters | None] = {}

    def level(self, q: Fraction) -> float:
        """The q-quantile, the order statistic x_(ceil(nq))."""
        return self.population.order_statistic(rank(self.population.n, q))

    def dependence(self, level: float) -> Dependence | None:
        """That of exceeding a level; None where nothing, or everything, exceeds it, and for an infinite level."""
        if level not in self._dependence:
            counts = self.population.counts_above(level, batches_for(self.population.n))
            self._dependence[level] = measured(*counts) if math.isfinite(level) else None
        return self._dependence[level]

    def clusters(self, level: float) -> Clusters | None:
        """Those of exceeding a level; None where they tell nothing. A folded population knows of no gaps."""
        if level not in self._clusters:
            self._clusters[level] = self._clusters_above(level)
        return self._clusters[level]

    def _clusters_above(self, level: float) -> Clusters | None:
        dependence = self.dependence(level)
        if dependence is None:
            return None
        places = self.population.places_above(level)
        events = self.population.count_above(level) if places is None else places.size
        if events < _FEWEST_EVENTS:
            return None
        return Clusters(events, dependence, None if places is None else gap_size(places, self.population.n))
