"""`ttd`: how long it would have taken until a burn-rate alert told of a fault."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from faultload.spec.term import Objective
from faultload.verdict.measures._of_faults import OfFaults
from faultload_analysis.evidence.verdict import Estimate, exact, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence
    from faultload_analysis.recovery.outcome import Recovery


class Ttd(OfFaults):
    names = ("ttd",)
    examples = (("ttd <= 60s", "time until a burn-rate alert would have fired"),)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        """The longest time from impact to the first replayed alert; an unmeasurable one leaves it open."""
        fault = objective.term.subject
        found = evidence.recoveries_of(fault)
        if not found:
            return no_data(evidence.why_not_injected(fault))
        unknown = "; ".join(f"{label}: {one.why}" for label, one in found if not one.measurable)
        hurt = [(label, one) for label, one in found if one.measurable and not one.absorbed]
        if not hurt:
            return no_data(unknown or "no fault had an impact to detect")
        paged = ", ".join(label for label, one in hurt if one.alerted)
        aware = paged and f"an alert was firing already when {paged} had its impact: an operator knew of it before"
        hurt = [(label, one) for label, one in hurt if not one.alerted]
        missed = ", ".join(f"{label} ({_lasted(one)})" for label, one in hurt if one.detect_s is None)
        if missed:
            why = f"no alert for {missed}: too little for any rule, so an operator would have seen nothing"
            return Estimate(math.inf, math.inf, None, len(hurt), None, "alerts replayed", _said(why, aware))
        if not hurt:
            return no_data(_said(aware, unknown))
        longest = max(one.detect_s for _, one in hurt if one.detect_s is not None)
        if unknown and longest <= objective.target.value:
            return no_data(_said(unknown, aware))
        why = "burn-rate alerts replayed over the run, on a clean history before it"
        return exact(longest, len(hurt), why=_said(why, aware))


def _lasted(one: Recovery) -> str:
    return "never recovered" if one.recover_s is None else f"{one.recover_s:.1f} s"


def _said(*notes: str) -> str:
    return "; ".join(filter(None, notes))


MEASURES = (Ttd(),)
