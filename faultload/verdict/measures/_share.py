"""What objectives on a share of requests have in common: `availability`, `error_rate`, `share`, and budgets."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from faultload.spec.measures import Allowance, Measure
from faultload.spec.term import LATENCIES, REQUEST_FILTERS, Condition, Objective, ObjectiveError, Term
from faultload.spec.units import Quantity
from faultload_analysis.needed import least_requests
from faultload_analysis.power import Power, power_of_share

if TYPE_CHECKING:
    from faultload.verdict.evidence import Wanted


class OfShare(Measure):
    """A share of requests that a target share is held against."""

    dimension = "share"
    filters: ClassVar[tuple[str, ...]] = REQUEST_FILTERS
    limits: ClassVar[tuple[str, ...]] = (">=", ">")
    """The operators that leave room for few bad requests."""

    def check_target(self, objective: Objective) -> None:
        target = objective.target
        if not 0 <= target.value <= 1:
            hint = f"; did you mean {target}%?" if target.dimension == "number" else ""
            raise ObjectiveError(f"{target} is not a share between 0% and 100%{hint}")
        super().check_target(objective)

    def required_share(self, objective: Objective) -> Fraction:
        """The share of good requests that the objective asks for."""
        return Fraction(str(objective.target.value))

    def allowance(self, objective: Objective) -> Allowance | None:
        if objective.operator not in self.limits:
            return None
        return Allowance(misses_over(objective.term), 1 - self.required_share(objective))

    def missed(self, objective: Objective) -> str:
        return missed_in_words(objective.term)

    def requests_needed(self, objective: Objective) -> int | None:
        share = self.required_share(objective)
        return least_requests(share) if 0 < share < 1 else None

    def power(self, objective: Objective, requests: float) -> Power | None:
        if objective.operator not in self.limits:
            return None
        return power_of_share(1 - self.required_share(objective), requests, of_run=objective.of_run)

    def of_requests(self, term: Term) -> bool:
        return True

    def gather(self, objective: Objective, wanted: Wanted) -> None:
        wanted.requests(objective.term, objective.phase, misses_over(objective.term))


def above(operator: str, target: Quantity) -> float:
    """The value above which a request misses an upper limit, `<=` or `<`."""
    return target.value if operator == "<=" else math.nextafter(target.value, -math.inf)


def misses_over(term: Term) -> float | None:
    """The latency above which a request is bad to a term, by its condition; None: only one that failed is."""
    condition = term.condition
    return None if condition is None else above(condition.operator, condition.target)


def missed_in_words(term: Term) -> str:
    """What a bad request did, in words."""
    return "failed" if term.condition is None else f"over {term.condition.target}"


def check_condition(condition: Condition) -> None:
    """Raises ObjectiveError unless it is an upper limit on what a request took."""
    term = condition.term
    if term.name not in LATENCIES or term.args or term.filters or condition.operator not in ("<=", "<"):
        raise ObjectiveError(f"'{condition}' is no limit on a request, such as latency <= 300ms")
    if condition.target.dimension != "time" or condition.target.value <= 0:
        raise ObjectiveError(
            f"{term} is compared with a time above 0, such as 300ms, not with '{condition.target}'"
        )
