"""`ttr(db-failover)`: how long users were hurt by a fault, until they were served as before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from faultload.spec.term import Objective
from faultload.verdict.measures._of_faults import OfFaults
from faultload_analysis import recovery
from faultload_analysis.evidence.verdict import Estimate, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence


class Ttr(OfFaults):
    names = ("ttr",)
    examples = (("ttr(db-failover) <= 30s", "time to recover, for each repeat; without a name, for every fault"),)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        """The worst recovery that was seen; an unmeasurable one leaves the objective open."""
        fault, target = objective.term.subject, objective.target.value
        found = evidence.recoveries_of(fault)
        if not found:
            return no_data(evidence.why_not_injected(fault))
        unknown = [f"{label}: {one.why}" for label, one in found if not one.measurable]
        estimates = [recovery.ttr_estimate(one) for _, one in found if one.measurable]
        if not estimates:
            return no_data("; ".join(unknown), n=len(found))
        worst = max(estimates, key=lambda one: -1.0 if one.value is None else one.value)
        if unknown and not (worst.low is not None and worst.low > target):
            return no_data("; ".join(unknown), n=len(found))
        note = worst.why if len(found) == 1 else f"the worst of {len(found)}: {worst.why}"
        return replace(worst, n=len(found), why=note)


MEASURES = (Ttr(),)
