"""Service levels: availability, error budgets, burn-rate alerts, stopping rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultload_analysis.on_demand import on_demand

if TYPE_CHECKING:
    from faultload_analysis.slo.alerts import (
        DEFAULT_WINDOWS,
        Alert,
        AlertReplay,
        BurnWindow,
        budget_windows,
        burn_alerts,
        burn_factor,
        detection_time_s,
        pyrra_windows,
    )
    from faultload_analysis.slo.availability import (
        UnseenOutage,
        burn_rate_estimate,
        clopper_pearson,
        error_budget,
        largest_unseen_outage,
        more_needed,
        proportion_estimate,
        samples_needed_availability,
        wilson,
    )
    from faultload_analysis.slo.budget import Budget, BurnDown, budget_spent, burn_down, burn_rate
    from faultload_analysis.slo.sequential import EarlyStop, SequentialPlan, Stop
    from faultload_analysis.slo.timeslices import (
        SliceBudget,
        bad_time_s,
        ratio_timeslice_budget,
        slices_in,
        timeslice_budget,
    )

__all__ = [
    "DEFAULT_WINDOWS",
    "Alert",
    "AlertReplay",
    "Budget",
    "BurnDown",
    "BurnWindow",
    "EarlyStop",
    "SequentialPlan",
    "SliceBudget",
    "Stop",
    "UnseenOutage",
    "bad_time_s",
    "budget_spent",
    "budget_windows",
    "burn_alerts",
    "burn_down",
    "burn_factor",
    "burn_rate",
    "burn_rate_estimate",
    "clopper_pearson",
    "detection_time_s",
    "error_budget",
    "largest_unseen_outage",
    "more_needed",
    "proportion_estimate",
    "pyrra_windows",
    "ratio_timeslice_budget",
    "samples_needed_availability",
    "slices_in",
    "timeslice_budget",
    "wilson",
]

_HOME = {
    "Alert": "alerts",
    "AlertReplay": "alerts",
    "Budget": "budget",
    "BurnDown": "budget",
    "BurnWindow": "alerts",
    "DEFAULT_WINDOWS": "alerts",
    "EarlyStop": "sequential",
    "SequentialPlan": "sequential",
    "SliceBudget": "timeslices",
    "Stop": "sequential",
    "UnseenOutage": "availability",
    "bad_time_s": "timeslices",
    "budget_spent": "budget",
    "budget_windows": "alerts",
    "burn_alerts": "alerts",
    "burn_down": "budget",
    "burn_factor": "alerts",
    "burn_rate": "budget",
    "burn_rate_estimate": "availability",
    "clopper_pearson": "availability",
    "detection_time_s": "alerts",
    "error_budget": "availability",
    "largest_unseen_outage": "availability",
    "more_needed": "availability",
    "proportion_estimate": "availability",
    "pyrra_windows": "alerts",
    "ratio_timeslice_budget": "timeslices",
    "samples_needed_availability": "availability",
    "slices_in": "timeslices",
    "timeslice_budget": "timeslices",
    "wilson": "availability",
}

__getattr__ = on_demand(__name__, _HOME)
