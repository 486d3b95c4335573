"""`iterations(failed)`: how many iterations of the journeys were made, failed, or went well."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from faultload.spec.measures import Measure
from faultload.spec.term import Objective, ObjectiveError, Term
from faultload_analysis.evidence.verdict import Estimate, exact, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence


class Iterations(Measure):
    names = ("iterations",)
    examples = (("iterations(failed, journey=Buy) == 0", "number of iterations: `failed`, `ok`, or all"),)
    dimension = "number"
    statements = ("run",)
    filters = ("journey", "variant")

    def check(self, term: Term) -> None:
        if term.subject not in ("", "failed", "ok"):
            raise ObjectiveError("iterations takes failed, ok or nothing")

    def reads(self, evidence: Evidence, term: Term) -> Collection[str]:
        return ("iterations",)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        total, ok = evidence.iterations(objective.term.filters, objective.phase)
        if not total:
            return no_data("no iteration was made in this phase")
        return exact(float({"failed": total - ok, "ok": ok}.get(objective.term.subject, total)), total)


MEASURES = (Iterations(),)
