"""`share(latency <= 300ms)`: the share of requests that were ok within a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultload.spec.term import Objective, ObjectiveError, Term
from faultload.verdict.measures._share import OfShare, check_condition, misses_over
from faultload_analysis import slo
from faultload_analysis.evidence.verdict import Estimate

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence

_QUANTILE_OF_HEALTH = 0.9


class Share(OfShare):
    names = ("share",)
    examples = (("share(latency <= 300ms) >= 99%", "share of requests that were `ok` within a time"),)

    def check(self, term: Term) -> None:
        condition = term.condition
        if condition is None or len(term.args) != 1:
            raise ObjectiveError("share takes a limit on a request, such as share(latency <= 300ms)")
        check_condition(condition)

    def of_seconds(self, term: Term) -> bool:
        return True

    def latency_limit(self, objective: Objective) -> tuple[float, float] | None:
        """A share of 99 % within a time is a P99 of at most that time."""
        condition, share = objective.term.condition, objective.target.value
        healthy = objective.operator in self.limits and _QUANTILE_OF_HEALTH <= share < 1
        if condition is None or condition.term.name != "latency" or not healthy:
            return None
        return condition.target.value, share

    def resolution_s(self, objective: Objective, recovery_limit_s: float | None) -> float | None:
        return None if objective.term.condition is None else objective.term.condition.target.value

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        target, over = objective.target.value, misses_over(objective.term)
        return slo.proportion_estimate(
            evidence.requests_of(objective.term, objective.phase, over),
            confidence=evidence.confidence,
            slo=target if 0 < target < 1 else None,
            of_run=objective.of_run,
            over=over,
        )


MEASURES = (Share(),)
