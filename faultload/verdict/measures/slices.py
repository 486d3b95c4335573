"""`slices(p95(latency) <= 500ms, 10s)`: the share of slices of time whose requests met a limit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from faultload.spec.measures import Allowance, Measure, check_term, measure_of
from faultload.spec.term import Condition, Objective, ObjectiveError, Term
from faultload.spec.units import Quantity
from faultload.verdict.measures._share import OfShare
from faultload_analysis import slo
from faultload_analysis.evidence.verdict import Estimate, no_data
from faultload_analysis.power import Power

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence, Wanted

SHORTEST_S = 0.1
_SUCH_AS = "such as slices(p95(latency) <= 500ms, 10s)"


class Slices(OfShare):
    names = ("slices",)
    examples = (
        ("slices(p95(latency) <= 500ms, 10s) >= 99%", "share of slices of time whose requests met a limit"),
    )
    filters = ()

    def check(self, term: Term) -> None:
        condition, width = term.condition, term.args[1] if len(term.args) == 2 else None
        if condition is None or condition is width or not isinstance(width, Quantity):
            raise ObjectiveError(f"slices takes a limit and the length of a slice, {_SUCH_AS}")
        if width.dimension != "time" or width.value < SHORTEST_S:
            raise ObjectiveError(f"'{width}' is no length of a slice, which lasts 100ms at least, {_SUCH_AS}")
        check_term(condition.term)
        limit = measure_of(condition.term)
        limit.check_target(_objective(condition))
        if isinstance(limit, Slices) or not limit.of_requests(condition.term) or _allowance(condition) is None:
            raise ObjectiveError(
                f"'{condition}' cannot be told of each slice: wanted an upper limit on a quantile of latency or on "
                f"error_rate, or a lower one on availability or share, {_SUCH_AS}"
            )

    def allowance(self, objective: Objective) -> Allowance | None:
        return Allowance(None, 1 - self.required_share(objective)) if objective.operator in self.limits else None

    def resolution_s(self, objective: Objective, recovery_limit_s: float | None) -> float | None:
        limit = _objective(_condition(objective))
        return measure_of(limit.term).resolution_s(limit, recovery_limit_s)

    def requests_needed(self, objective: Objective) -> int | None:
        return None  # it needs slices, which `allowed_misses` tells the judge

    def power(self, objective: Objective, requests: float) -> Power | None:
        return None

    def of_requests(self, term: Term) -> bool:
        return False

    def missed(self, objective: Objective) -> str:
        return f"missed {objective.term.condition}"

    def gather(self, objective: Objective, wanted: Wanted) -> None:
        condition = _condition(objective)
        wanted.windows(condition.term, objective.phase, objective.term.quantity(1).value, _over(condition))

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        """The share of slices that are good; without one, nothing. `n` counts slices."""
        condition, width_s = _condition(objective), objective.term.quantity(1).value
        windows = evidence.windows(condition.term, objective.phase, width_s, _over(condition))
        allowance = _allowance(condition)
        assert allowance is not None  # checked when it was read
        bad, silent = windows.bad(allowance.share)
        spoiled = evidence.spoiled
        seen = windows.total > 0
        if spoiled is not None:
            silent = silent & [not spoiled.any_in(start, start + width_s) for start in windows.starts.tolist()]
        seen |= silent
        if not seen.any():
            return no_data(f"no slice of {objective.term.args[1]} with requests in this phase")
        found = slo.proportion_estimate(bad[seen], confidence=evidence.confidence, of_run=objective.of_run)
        return replace(found, why=f"{int(silent.sum())} of them without any request" if silent.any() else "")


def _condition(objective: Objective) -> Condition:
    condition = objective.term.condition
    assert condition is not None  # checked when it was read
    return condition


def _objective(condition: Condition) -> Objective:
    return Objective(condition.term, condition.operator, condition.target)


def _allowance(condition: Condition) -> Allowance | None:
    """What the limit counts in a slice; None for one that cannot be told from counts."""
    usual = ("<=", "<") if condition.target.dimension == "time" else ("<=", ">=")
    return measure_of(condition.term).allowance(_objective(condition)) if condition.operator in usual else None


def _over(condition: Condition) -> float | None:
    allowance = _allowance(condition)
    return None if allowance is None else allowance.over


MEASURES: tuple[Measure, ...] = (Slices(),)
