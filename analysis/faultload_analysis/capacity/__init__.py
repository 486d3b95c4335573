"""How much load a system can carry: brackets, the USL, knees, queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultload_analysis.on_demand import on_demand

if TYPE_CHECKING:
    from faultload_analysis.capacity.bracket import (
        Bracket,
        BracketState,
        Level,
        Step,
        capacity_bracket,
        capacity_estimate,
        interpolated_capacity,
    )
    from faultload_analysis.capacity.knee import Knee, find_knee, kneedle
    from faultload_analysis.capacity.limit import Growth, Limit, bound_confidence, goodput_limit
    from faultload_analysis.capacity.queueing import (
        ClosedSystem,
        LittleCheck,
        MMc,
        OperationalBounds,
        closed_system,
        erlang_c,
        little_check,
        mmc_capacity,
        operational_bounds,
    )
    from faultload_analysis.capacity.scaling import scaling_efficiency
    from faultload_analysis.capacity.search import Probe, Search
    from faultload_analysis.capacity.usl import Peak, PeakState, UslFit, usl_fit

__all__ = [
    "Bracket",
    "BracketState",
    "ClosedSystem",
    "Growth",
    "Knee",
    "Level",
    "Limit",
    "LittleCheck",
    "MMc",
    "OperationalBounds",
    "Peak",
    "PeakState",
    "Probe",
    "Search",
    "Step",
    "UslFit",
    "bound_confidence",
    "capacity_bracket",
    "capacity_estimate",
    "closed_system",
    "erlang_c",
    "find_knee",
    "goodput_limit",
    "interpolated_capacity",
    "kneedle",
    "little_check",
    "mmc_capacity",
    "operational_bounds",
    "scaling_efficiency",
    "usl_fit",
]

_HOME = {
    "Bracket": "bracket",
    "BracketState": "bracket",
    "ClosedSystem": "queueing",
    "Growth": "limit",
    "Knee": "knee",
    "Level": "bracket",
    "Limit": "limit",
    "LittleCheck": "queueing",
    "MMc": "queueing",
    "OperationalBounds": "queueing",
    "Peak": "usl",
    "PeakState": "usl",
    "Probe": "search",
    "Search": "search",
    "Step": "bracket",
    "UslFit": "usl",
    "bound_confidence": "limit",
    "capacity_bracket": "bracket",
    "capacity_estimate": "bracket",
    "closed_system": "queueing",
    "erlang_c": "queueing",
    "find_knee": "knee",
    "goodput_limit": "limit",
    "interpolated_capacity": "bracket",
    "kneedle": "knee",
    "little_check": "queueing",
    "mmc_capacity": "queueing",
    "operational_bounds": "queueing",
    "scaling_efficiency": "scaling",
    "usl_fit": "usl",
}

__getattr__ = on_demand(__name__, _HOME)
