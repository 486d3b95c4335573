"""Values in order of time: quantiles, histograms, rates, and who sent them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultload_analysis.on_demand import on_demand

if TYPE_CHECKING:
    from faultload_analysis.latency.breakdown import Breakdown, WorstWindow, by_group, requests_needed, worst_window
    from faultload_analysis.latency.generator import (
        OfferedAchieved,
        SlipBuilder,
        Slips,
        Spoiled,
        limit_for,
        offered_achieved,
        slips,
        spoiled_seconds,
        union,
    )
    from faultload_analysis.latency.histogram import Histogram
    from faultload_analysis.latency.of_run import mean_of_run, quantile_of_run
    from faultload_analysis.latency.omission import (
        Corrected,
        CorrectedPopulation,
        correct_omission,
        corrected_chunks,
    )
    from faultload_analysis.latency.population import Population
    from faultload_analysis.latency.quantiles import (
        LatencySummary,
        lower_rank,
        mean_estimate,
        quantile,
        quantile_estimate,
        samples_needed_quantile,
        summary,
        upper_rank,
    )
    from faultload_analysis.latency.throughput import RateCounter, rate_estimate
    from faultload_analysis.latency.trend import slope_estimate
    from faultload_analysis.latency.warmup import WarmUp, mser
    from faultload_analysis.latency.windows import WindowCounter

__all__ = [
    "Breakdown",
    "Corrected",
    "CorrectedPopulation",
    "Histogram",
    "LatencySummary",
    "OfferedAchieved",
    "Population",
    "RateCounter",
    "SlipBuilder",
    "Slips",
    "Spoiled",
    "WarmUp",
    "WindowCounter",
    "WorstWindow",
    "by_group",
    "correct_omission",
    "corrected_chunks",
    "limit_for",
    "lower_rank",
    "mean_estimate",
    "mean_of_run",
    "mser",
    "offered_achieved",
    "quantile",
    "quantile_estimate",
    "quantile_of_run",
    "rate_estimate",
    "requests_needed",
    "samples_needed_quantile",
    "slips",
    "slope_estimate",
    "spoiled_seconds",
    "summary",
    "union",
    "upper_rank",
    "worst_window",
]

_HOME = {
    "Breakdown": "breakdown",
    "Corrected": "omission",
    "CorrectedPopulation": "omission",
    "Histogram": "histogram",
    "LatencySummary": "quantiles",
    "OfferedAchieved": "generator",
    "Population": "population",
    "RateCounter": "throughput",
    "SlipBuilder": "generator",
    "Slips": "generator",
    "Spoiled": "generator",
    "WarmUp": "warmup",
    "WindowCounter": "windows",
    "WorstWindow": "breakdown",
    "by_group": "breakdown",
    "correct_omission": "omission",
    "corrected_chunks": "omission",
    "limit_for": "generator",
    "lower_rank": "quantiles",
    "mean_estimate": "quantiles",
    "mean_of_run": "of_run",
    "mser": "warmup",
    "offered_achieved": "generator",
    "quantile": "quantiles",
    "quantile_estimate": "quantiles",
    "quantile_of_run": "of_run",
    "rate_estimate": "throughput",
    "requests_needed": "breakdown",
    "samples_needed_quantile": "quantiles",
    "slips": "generator",
    "slope_estimate": "trend",
    "spoiled_seconds": "generator",
    "summary": "quantiles",
    "union": "generator",
    "upper_rank": "quantiles",
    "worst_window": "breakdown",
}

__getattr__ = on_demand(__name__, _HOME)
