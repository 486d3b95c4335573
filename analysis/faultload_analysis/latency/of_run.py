"""Quantiles and means of one run alone: what its users got, with bounds for the number of requests only."""

from __future__ import annotations

import math
from dataclasses import replace

from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.of_run import METHOD, share_of_run
from faultload_analysis.evidence.verdict import Estimate, no_data
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import Values, lower_rank, mean_estimate, upper_rank
from faultload_analysis.latency.rank import Probability, exact_probability, rank


def quantile_of_run(values: Values, p: Probability, *, confidence: float = 0.95) -> Estimate:
    """The p-quantile of a run's requests, with order statistics of the exact binomial on n as it is.

    `values` as in `quantile_estimate`. With fewer than ln(1 - confidence)/ln p values there is no upper bound: 5
    for P50, 59 for P95, 299 for P99, 2995 for P99.9. No samples: value None. ValueError on NaN.
    """
    population, exact_p = Population.of(values), exact_probability(p)
    checked_confidence(confidence)
    n = population.n
    if n == 0:
        return no_data("no requests to judge")
    at = rank(n, exact_p)
    upper = upper_rank(n, exact_p, confidence=confidence)
    lower = lower_rank(n, exact_p, confidence=confidence)
    return Estimate(
        population.order_statistic(at),
        None if lower is None else population.order_statistic(min(lower, at)),
        None if upper is None else population.order_statistic(max(upper, at)),
        n,
        float(n),
        f"order statistic, {METHOD}",
    )


def mean_of_run(values: Values, *, confidence: float = 0.95) -> Estimate:
    """The mean of a run's values, with bounds as if they were independent.

    0/1 values: exact binomial. Others: Student's t, on the side of zero on which all values are; values that do not
    vary, or a +inf, as in `mean_estimate`.
    No values: value None. ValueError on NaN or -inf.
    """
    population = Population.of(values)
    checked_confidence(confidence)
    n = population.n
    if population.is_binary:
        return replace(share_of_run(population.count_above(0.5), n, confidence=confidence), missed=None)
    if n < 2 or population.n_failed or population.minimum == population.maximum:
        return mean_estimate(population, confidence=confidence)
    mean, variance = population.mean or 0.0, population.variance or 0.0
    half = t_quantile(confidence, n - 1) * math.sqrt(variance / n)
    low = max(mean - half, 0.0) if population.minimum >= 0.0 else mean - half
    high = min(mean + half, 0.0) if population.maximum <= 0.0 else mean + half
    return Estimate(mean, low, high, n, float(n), "Student t, of this run")
