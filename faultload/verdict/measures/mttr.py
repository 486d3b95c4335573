"""`mttr(db-failover)`: mean time to recover over the repeats of a fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultload.spec.term import Objective
from faultload.verdict.measures._of_faults import OfFaults
from faultload_analysis import recovery
from faultload_analysis.evidence.verdict import Estimate, exact, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence


class Mttr(OfFaults):
    names = ("mttr",)
    statements = ("system",)
    examples = (("mttr(db-failover) <= 30s", "mean time to recover over the repeats of a fault"),)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        found = evidence.recoveries_of(objective.term.subject)
        if not found:
            return no_data(evidence.why_not_injected(objective.term.subject))
        if all(one.absorbed for _, one in found):
            many = "the only fault was" if len(found) == 1 else f"all {len(found)} faults were"
            return exact(0.0, len(found), why=f"{many} absorbed: there was nothing to recover from")
        return recovery.mttr([one for _, one in found], confidence=evidence.confidence)


MEASURES = (Mttr(),)
