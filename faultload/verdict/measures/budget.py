"""`budget(99.9%, 30d)`: the share of a window's error budget that a run consumed; and `burn_rate(99.9%)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultload.spec.measures import Measure
from faultload.spec.term import REQUEST_FILTERS, Objective, ObjectiveError, Term
from faultload.spec.units import Quantity, UnitError, parse
from faultload_analysis import slo
from faultload_analysis.evidence.verdict import Estimate

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence, Wanted
    from faultload_analysis.slo import Budget as Consumed


class OfBudget(Measure):
    """What takes the share of good requests that a service promises."""

    def check(self, term: Term) -> None:
        first = term.args[0] if term.args else None
        if not isinstance(first, Quantity) or first.dimension != "share" or not 0 < first.value < 1:
            raise ObjectiveError(f"{term.name} takes a target share, such as {term.name}(99.9%)")
        self.check_window(term)

    def check_window(self, term: Term) -> None:
        """Raises ObjectiveError where what follows the share is not as it should be."""

    def gather(self, objective: Objective, wanted: Wanted) -> None:
        wanted.requests(objective.term, objective.phase)


class BurnRate(OfBudget):
    names = ("burn_rate",)
    examples = (("burn_rate(99.9%) <= 1", "how fast the budget burns"),)
    dimension = "number"
    filters = REQUEST_FILTERS

    def check_window(self, term: Term) -> None:
        if len(term.args) != 1:
            raise ObjectiveError("burn_rate takes one share, such as burn_rate(99.9%)")

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        requests = evidence.requests_of(objective.term, objective.phase)
        return slo.burn_rate_estimate(requests, objective.term.quantity(0).value)


class Budget(OfBudget):
    names = ("budget",)
    examples = (
        (
            "budget(99.9%, 30d) <= 5%",
            "share of the error budget the run used up; add `events=N` for a budget of requests",
        ),
    )
    dimension = "share"
    filters = (*REQUEST_FILTERS, "events")

    def check_window(self, term: Term) -> None:
        second = term.args[1] if len(term.args) == 2 else None
        if not isinstance(second, Quantity) or second.dimension != "time" or second.value <= 0:
            raise ObjectiveError("budget takes a share and a window, such as budget(99.9%, 30d)")
        events = term.filters.get("events")
        if events is not None and not _above_zero(events):
            raise ObjectiveError(
                f"events={events}: wanted the number of requests in a window, such as events=1000000"
            )

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        return consumed(evidence, objective).estimate


def consumed(evidence: Evidence, objective: Objective) -> Consumed:
    """What the requests of a phase consumed of the error budget that a `budget` objective names."""
    term = objective.term
    share, window = term.quantity(0).value, term.quantity(1).value
    events = parse(term.filters["events"]).value if "events" in term.filters else None
    lasted = evidence.phases.duration_s(objective.phase)
    return slo.error_budget(evidence.requests_of(term, objective.phase), share, window, max(lasted, 0.1), events)


def _above_zero(text: str) -> bool:
    try:
        quantity = parse(text)
    except UnitError:
        return False
    return quantity.dimension == "number" and quantity.value > 0


MEASURES = (Budget(), BurnRate())
