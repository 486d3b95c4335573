"""What a PASS of a mean or a slope may have missed: no run shows what did not happen in it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from faultload.spec.term import LATENCIES, Objective
from faultload.spec.units import parse
from faultload_analysis.evidence.verdict import Estimate

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence
    from faultload_analysis.latency import Population


def naming_values(found: Estimate, values: Population, evidence: Evidence, objective: Objective) -> Estimate:
    """With the rare values that a mean of the system which passes may have missed; not where all are 0 or 1.

    Of n values those that are fewer than one in n / ln 20 are all missing in 5 % of runs or more. So rare, they
    move the mean past its target when they are further from it than n / ln 20 times what was left.
    """
    if not _passes(found, objective) or found.value is None or values.is_binary:
        return found
    one_in = found.n / _odds(evidence)
    edge = found.value + (objective.target.value - found.value) * one_in
    above = objective.operator in ("<=", "<")
    if one_in < 1.0 or (not above and edge < 0.0 <= values.minimum):
        return found
    of_requests = objective.term.subject in LATENCIES
    what = "requests that take longer than" if of_requests else f"values {'above' if above else 'below'}"
    rare = f"{what} {objective.target.format(_rounded(edge))}, one in {one_in:.0f},"
    return _named(found, f"{rare} would break the target and could have gone unseen")


def naming_steps(found: Estimate, evidence: Evidence, objective: Objective) -> Estimate:
    """With the steps that a slope of the system which passes may have missed: rarer than once in D / ln 20."""
    lasted_s = evidence.phases.duration_s(objective.phase)
    if not _passes(found, objective) or found.value is None or not lasted_s > 0:
        return found
    once_in_s = lasted_s / _odds(evidence)
    size = abs(objective.target.value - found.value) * once_in_s
    shown = parse(f"1{objective.target.unit.partition('/')[0]}").format(_rounded(size))
    steps = f"steps of more than {shown} once in {once_in_s:.3g} s"
    return _named(found, f"{steps} would break the target and could have gone unseen")


def _passes(found: Estimate, objective: Objective) -> bool:
    """Whether a statement of the system meets its limit."""
    above, target = objective.operator in ("<=", "<"), objective.target.value
    bound = found.high if above else found.low
    if objective.of_run or bound is None or objective.operator == "==":
        return False
    return {"<=": bound <= target, "<": bound < target, ">=": bound >= target, ">": bound > target}[
        objective.operator
    ]


def _rounded(value: float) -> float:
    """To three digits: an order of magnitude, which more would belie."""
    return float(f"{value:.3g}")


def _odds(evidence: Evidence) -> float:
    return math.log(1.0 / (1.0 - evidence.confidence))


def _named(found: Estimate, unseen: str) -> Estimate:
    return replace(found, why="; ".join(filter(None, [found.why, unseen])))
