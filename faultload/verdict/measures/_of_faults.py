"""What `ttr`, `mttr` and `ttd` have in common: they measure one fault of a run, or all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from faultload.spec.measures import Declared, Measure
from faultload.spec.mistakes import nearest
from faultload.spec.term import Objective, ObjectiveError, Statement, Term

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence


class OfFaults(Measure):
    dimension = "time"
    whole_run = True
    statements: ClassVar[tuple[Statement, ...]] = ("run",)

    def fault_of(self, term: Term) -> str:
        """The fault that a term names; empty for all of them."""
        return term.subject

    def check(self, term: Term) -> None:
        if len(term.args) > 1 or (term.args and not term.subject):
            raise ObjectiveError(f"{term.name} takes the name of one fault, or nothing")

    def problems(self, term: Term, declared: Declared) -> Iterator[tuple[str, str | None]]:
        fault = self.fault_of(term)
        if fault and fault not in declared.faults:
            yield f"{term}: there is no fault '{fault}'", nearest(fault, declared.faults)
        if not declared.faults:
            yield f"{term}: this scenario has no fault", None

    def resolution_s(self, objective: Objective, recovery_limit_s: float | None) -> float | None:
        return recovery_limit_s

    def unfit(self, evidence: Evidence, objective: Objective) -> str:
        spoiled = evidence.spoiled
        for label, one in evidence.recoveries_of(self.fault_of(objective.term)):
            if spoiled is None or one.impact_at_s is None:
                continue
            end = (
                one.recovered_at_s if one.recovered_at_s is not None else one.impact_at_s + (one.censored_s or 0.0)
            )
            if spoiled.any_in(one.impact_at_s, end):
                causes = "; ".join(spoiled.reasons)
                return f"the load generator was the limit while {label} had its impact ({causes})"
        return ""
