"""What a scenario declares as a healthy baseline: latency limit, error share, availability target."""

from __future__ import annotations

from faultload.spec.measures import measure_of
from faultload.spec.scenario import Scenario
from faultload.spec.term import Objective

DEFAULT_SLO = 0.999


def declared_limits(scenario: Scenario, profile: str) -> tuple[float | None, float, float | None]:
    """Latency limit in seconds with its quantile, and the error share, that the objectives declare for baseline.

    Only objectives over all requests count; the tightest of several.
    """
    limits: list[tuple[float, float]] = []
    shares: list[float] = []
    for objective in _baseline_objectives(scenario, profile):
        measure = measure_of(objective.term)
        latency, share = measure.latency_limit(objective), measure.error_limit(objective)
        limits += [] if latency is None else [latency]
        shares += [] if share is None else [share]
    limit, quantile = min(limits, default=(None, 0.99))
    return limit, quantile, min(shares, default=None)


def _baseline_objectives(scenario: Scenario, profile: str) -> list[Objective]:
    found = [spec.parsed for spec in scenario.objectives_in(profile)]
    return [one for one in found if one.phase in ("baseline", None, "all") and not one.term.selection]


def declared_slo(scenario: Scenario, profile: str) -> float:
    """The availability target for alerts and budgets: the declared one, else 99.9 %."""
    share = declared_limits(scenario, profile)[2]
    return DEFAULT_SLO if share is None or not 0 < share < 1 else 1.0 - share
