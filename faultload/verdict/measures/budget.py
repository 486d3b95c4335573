"""`budget(99.9%, 30d)`: the share of a window's error budget that a run consumed; and `burn_rate(99.9%)`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from faultload.spec.measures import Measure
from faultload.spec.term import REQUEST_FILTERS, Objective, ObjectiveError, Term
from faultload.spec.units import Quantity, UnitError, parse
from faultload.verdict.measures._share import check_condition, missed_in_words, misses_over
from faultload_analysis import slo
from faultload_analysis.evidence.verdict import Estimate, exact

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence, Wanted
    from faultload_analysis.slo import Budget as Consumed


class OfBudget(Measure):
    """What takes the share of good requests that a service promises."""

    statements = ("run", "system")

    def check(self, term: Term) -> None:
        first = term.args[0] if term.args else None
        if not isinstance(first, Quantity) or first.dimension != "share" or not 0 < first.value < 1:
            raise ObjectiveError(f"{term.name} takes a target share, such as {term.name}(99.9%)")
        if term.condition is not None:
            check_condition(term.condition)
            if term.condition is not term.args[-1]:
                raise ObjectiveError(f"{term.name} takes '{term.condition}' as its last argument")
        self.check_window(replace(term, args=tuple(one for one in term.args if one is not term.condition)))

    def check_window(self, term: Term) -> None:
        """Raises ObjectiveError where what follows the share is not as it should be."""

    def gather(self, objective: Objective, wanted: Wanted) -> None:
        wanted.requests(objective.term, objective.phase, misses_over(objective.term))

    def allowed_misses(self, evidence: Evidence, objective: Objective) -> float | None:
        """Its value is proportional to the share of bad requests, so the target is the value of such a share."""
        whole = self.of_all_bad(evidence, objective) if objective.operator in ("<=", "<") else None
        return None if whole is None else objective.target.value / whole

    def of_all_bad(self, evidence: Evidence, objective: Objective) -> float | None:
        """What its value were if every request had been bad; None without requests."""
        raise NotImplementedError

    def missed(self, objective: Objective) -> str:
        return missed_in_words(objective.term)

    def resolution_s(self, objective: Objective, recovery_limit_s: float | None) -> float | None:
        return None if objective.term.condition is None else objective.term.condition.target.value


class BurnRate(OfBudget):
    names = ("burn_rate",)
    examples = (("burn_rate(99.9%) <= 1", "how fast the budget burns; `latency <= 300ms` as for `budget`"),)
    dimension = "number"
    filters = REQUEST_FILTERS

    def check_window(self, term: Term) -> None:
        if len(term.args) != 1:
            raise ObjectiveError("burn_rate takes one share, such as burn_rate(99.9%)")

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        over = misses_over(objective.term)
        requests = evidence.requests_of(objective.term, objective.phase, over)
        return slo.burn_rate_estimate(
            requests, objective.term.quantity(0).value, of_run=objective.of_run, over=over
        )

    def of_all_bad(self, evidence: Evidence, objective: Objective) -> float | None:
        return 1.0 / (1.0 - objective.term.quantity(0).value)


class Budget(OfBudget):
    names = ("budget",)
    examples = (
        (
            "budget(99.9%, 30d) <= 5%",
            "share of the error budget the run used up; add `events=N` for a budget of requests",
        ),
        ("budget(99%, 30d, latency <= 300ms) <= 5%", "the same of the requests that were `ok` within a time"),
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

    def of_all_bad(self, evidence: Evidence, objective: Objective) -> float | None:
        requests = evidence.requests_of(objective.term, objective.phase)
        return (
            slo.budget_spent(exact(1.0, requests.n), *_window(evidence, objective)).consumed if requests.n else None
        )


def consumed(evidence: Evidence, objective: Objective) -> Consumed:
    """What the requests of a phase consumed of the error budget that a `budget` objective names."""
    over = misses_over(objective.term)
    requests = evidence.requests_of(objective.term, objective.phase, over)
    return slo.error_budget(requests, *_window(evidence, objective), of_run=objective.of_run, over=over)


def _window(evidence: Evidence, objective: Objective) -> tuple[float, float, float, float | None]:
    """The SLO, the window, how much of it the phase lasted, and how many events a window has, if declared."""
    term = objective.term
    events = parse(term.filters["events"]).value if "events" in term.filters else None
    lasted = evidence.phases.duration_s(objective.phase)
    return term.quantity(0).value, term.quantity(1).value, max(lasted, 0.1), events


def _above_zero(text: str) -> bool:
    try:
        quantity = parse(text)
    except UnitError:
        return False
    return quantity.dimension == "number" and quantity.value > 0


MEASURES = (Budget(), BurnRate())
