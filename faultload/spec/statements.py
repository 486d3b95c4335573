"""Which kind of statement an objective is: of this run, or of the system.

*Of the run*: what these users got. Dependence between requests does not matter then; sample size does.
*Of the system*: inference beyond the run.
"""

from __future__ import annotations

from dataclasses import replace

from faultload.spec.measures import measure_of
from faultload.spec.term import Objective, Statement

_ORDINARY = (None, "baseline", "all", "warmup", "cooldown")
"""Phases in which a system is itself; in all others something is done to it, and what its users got counts."""


def resolved(objective: Objective, default: Statement | None = None) -> Objective:
    """An objective with its kind of statement: as written, else the scenario's `default`, else by phase and
    measure.

    The objectives of an `slo` are resolved without the scenario's default: a capacity is no matter of one run.
    """
    statement = objective.statement or _by_default(objective, default)
    return replace(objective, slo=tuple(resolved(one) for one in objective.slo), statement=statement)


def _by_default(objective: Objective, default: Statement | None) -> Statement:
    kinds = measure_of(objective.term).statements_of(objective.term)
    if default in kinds:
        return default
    if objective.phase not in _ORDINARY and "run" in kinds:
        return "run"
    return kinds[0]
