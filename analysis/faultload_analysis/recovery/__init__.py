"""Faults and their aftermath: incidents, recovery, repeats, durability, overload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultload_analysis.on_demand import on_demand

if TYPE_CHECKING:
    from faultload_analysis.recovery.durability import WriteFates, lost_writes, recovery_point, write_fates
    from faultload_analysis.recovery.faults import recover, ttr_estimate
    from faultload_analysis.recovery.incidents import Incidents, impact_bounds, recovery_bounds
    from faultload_analysis.recovery.outcome import Recovery
    from faultload_analysis.recovery.overload import (
        Hysteresis,
        Overload,
        OverloadState,
        hysteresis,
        overload_recovery,
        recovery_after_overload_estimate,
    )
    from faultload_analysis.recovery.production import availability_estimate, availability_from, mtbf_estimate
    from faultload_analysis.recovery.quantile import ttr_quantile
    from faultload_analysis.recovery.repeats import (
        RecoveryComparison,
        compare_recoveries,
        exponential_bounds,
        lognormal_bounds,
        median_ttr,
        mttr,
        restricted_mean_ttr,
        times_of,
    )
    from faultload_analysis.recovery.slice_rule import SliceRule, baseline_rule

__all__ = [
    "Hysteresis",
    "Incidents",
    "Overload",
    "OverloadState",
    "Recovery",
    "RecoveryComparison",
    "SliceRule",
    "WriteFates",
    "availability_estimate",
    "availability_from",
    "baseline_rule",
    "compare_recoveries",
    "exponential_bounds",
    "hysteresis",
    "impact_bounds",
    "lognormal_bounds",
    "lost_writes",
    "median_ttr",
    "mtbf_estimate",
    "mttr",
    "overload_recovery",
    "recover",
    "recovery_after_overload_estimate",
    "recovery_bounds",
    "recovery_point",
    "restricted_mean_ttr",
    "times_of",
    "ttr_estimate",
    "ttr_quantile",
    "write_fates",
]

_HOME = {
    "Hysteresis": "overload",
    "Incidents": "incidents",
    "Overload": "overload",
    "OverloadState": "overload",
    "Recovery": "outcome",
    "RecoveryComparison": "repeats",
    "SliceRule": "slice_rule",
    "WriteFates": "durability",
    "availability_estimate": "production",
    "availability_from": "production",
    "baseline_rule": "slice_rule",
    "compare_recoveries": "repeats",
    "exponential_bounds": "repeats",
    "hysteresis": "overload",
    "impact_bounds": "incidents",
    "lognormal_bounds": "repeats",
    "lost_writes": "durability",
    "median_ttr": "repeats",
    "mtbf_estimate": "production",
    "mttr": "repeats",
    "overload_recovery": "overload",
    "recover": "faults",
    "recovery_after_overload_estimate": "overload",
    "recovery_bounds": "incidents",
    "recovery_point": "durability",
    "restricted_mean_ttr": "repeats",
    "times_of": "repeats",
    "ttr_estimate": "faults",
    "ttr_quantile": "quantile",
    "write_fates": "durability",
}

__getattr__ = on_demand(__name__, _HOME)
