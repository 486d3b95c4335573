"""`p90(ttr)`: a quantile of the times to recover, over the repeats of a fault or over all faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from faultload.spec.measures import Allowance, Declared, check_term
from faultload.spec.term import Objective, ObjectiveError, Term
from faultload.verdict.measures._of_faults import OfFaults
from faultload.verdict.measures.statistic import allowance_of_quantile, quantile_of
from faultload_analysis import recovery
from faultload_analysis.evidence.verdict import Estimate, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence


class QuantileOfTtr(OfFaults):
    names = ("p90(ttr)",)
    examples = (("p90(ttr(db-failover)) <= 30s", "a quantile of `ttr` over the repeats of a fault, or of all"),)
    statements = ("system", "run")

    def takes(self, term: Term) -> bool:
        asked = term.subject == "ttr" or any(one.name == "ttr" for one in term.parts)
        return asked and quantile_of(term) is not None

    def check(self, term: Term) -> None:
        if len(term.args) != 1:
            raise ObjectiveError(f"{term.name} takes `ttr` alone, such as {term.name}(ttr(db-failover))")
        for part in term.parts:
            check_term(part)

    def fault_of(self, term: Term) -> str:
        return term.parts[0].subject if term.parts else ""

    def problems(self, term: Term, declared: Declared) -> Iterator[tuple[str, str | None]]:
        return iter(()) if term.parts else super().problems(term, declared)  # a `ttr` inside says its own

    def allowance(self, objective: Objective) -> Allowance | None:
        return allowance_of_quantile(objective)

    def missed(self, objective: Objective) -> str:
        return f"over {objective.target}"

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        """The quantile over the faults that were injected; one that cannot be measured leaves it open."""
        fault, quantile = self.fault_of(objective.term), quantile_of(objective.term)
        assert quantile is not None  # as `takes` asks
        found = evidence.recoveries_of(fault)
        if not found:
            return no_data(evidence.why_not_injected(fault))
        unknown = [f"{label}: {one.why}" for label, one in found if not one.measurable]
        if unknown:
            return no_data("; ".join(unknown), n=len(found))
        seen = [one for _, one in found]
        return recovery.ttr_quantile(seen, quantile, target=objective.target.value, confidence=evidence.confidence)


MEASURES = (QuantileOfTtr(),)
