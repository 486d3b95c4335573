"""When a scenario's warm-up is over, and how much constant load must come before its first fault."""

from __future__ import annotations

from faultload.spec.scenario import Scenario
from faultload.spec.stages import steady_until, warmup_end

MIN_BASELINE_S = 5.0
"""So much of the load comes between the warm-up and the first fault."""


def least_before_faults_s(scenario: Scenario) -> float:
    """The load that a scenario needs between its ramps and its first fault, in seconds.

    `warmup: auto` leaves out less than half of it, so it needs twice the baseline.
    """
    return MIN_BASELINE_S * (1 if scenario.warmup is None else 2)


def latest_warmup_end(scenario: Scenario) -> float:
    """When the warm-up is over at the latest, in seconds after the load's start.

    With the ramps; with `warmup: auto` halfway from there to the first planned fault or change of the load.
    """
    stages = scenario.load.stages
    ramps_end = warmup_end(stages)
    if scenario.warmup is None:
        return ramps_end
    changes = [steady_until(stages), *(at for fault in scenario.faults for at in fault.times())]
    return (ramps_end + max(ramps_end, min(changes))) / 2
