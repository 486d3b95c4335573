"""`ttd`: how long it would have taken until a burn-rate alert told of a fault."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from faultload.spec.measures import Declared
from faultload.spec.mistakes import nearest
from faultload.spec.term import Objective, Term
from faultload.spec.units import format_seconds
from faultload.verdict.measures._of_faults import OfFaults
from faultload_analysis.evidence.verdict import Estimate, exact, no_data

if TYPE_CHECKING:
    from faultload.verdict.alerts import ReplayedRule
    from faultload.verdict.evidence import Evidence
    from faultload_analysis.recovery.outcome import Recovery


class Ttd(OfFaults):
    names = ("ttd",)
    filters: ClassVar[tuple[str, ...]] = ("alert",)
    examples = (
        ("ttd <= 60s", "time until an alert would have fired: of `alerts:`, else of the SRE Workbook"),
        ("ttd(db-failover, alert=HighErrors) <= 60s", "the same, of one rule of `alerts:`"),
    )

    def problems(self, term: Term, declared: Declared) -> Iterator[tuple[str, str | None]]:
        yield from super().problems(term, declared)
        alert = term.filters.get("alert")
        if alert is not None and alert not in declared.alerts:
            hint = nearest(alert, declared.alerts) or "declare it in `alerts:`"
            yield f"{term}: there is no alert '{alert}'", hint

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        """The longest time from impact to the first replayed alert; an unmeasurable one leaves it open."""
        fault, alert = objective.term.subject, objective.term.filters.get("alert")
        found = evidence.recoveries_of(fault)
        if not found:
            return no_data(evidence.why_not_injected(fault))
        rules = [rule for name, rule in evidence.alerts.items() if alert in (None, name)]
        if alert is not None and not rules:
            return no_data(f"the scenario declares no alert '{alert}'")
        if alert is not None:
            found = [(label, rules[0].told_of(one)) for label, one in found]
        unknown = "; ".join(f"{label}: {one.why}" for label, one in found if not one.measurable)
        hurt = [(label, one) for label, one in found if one.measurable and not one.absorbed]
        if not hurt:
            return no_data(unknown or "no fault had an impact to detect")
        paged = ", ".join(label for label, one in hurt if one.alerted)
        which = "an alert" if alert is None else alert
        aware = paged and f"{which} was firing already when {paged} had its impact: an operator knew of it before"
        hurt = [(label, one) for label, one in hurt if not one.alerted]
        missed = ", ".join(f"{label} ({_lasted(one)})" for label, one in hurt if one.detect_s is None)
        if missed:
            why = f"{_too_little(missed, rules)}, so an operator would have seen nothing"
            return Estimate(math.inf, math.inf, None, len(hurt), None, "alerts replayed", _said(why, aware))
        if not hurt:
            return no_data(_said(aware, unknown))
        longest = max(one.detect_s for _, one in hurt if one.detect_s is not None)
        if unknown and longest <= objective.target.value:
            return no_data(_said(unknown, aware))
        return exact(longest, len(hurt), why=_said(_how(rules), aware))


def _too_little(missed: str, rules: Sequence[ReplayedRule]) -> str:
    """That no rule fired; of a scenario's own, what the first of them to fire would have needed."""
    if not rules:
        return f"no alert for {missed}: too little for any rule"
    first = min((one.rule for one in rules), key=lambda rule: rule.shortest_outage_s)
    needed = f"takes a total outage of {format_seconds(first.shortest_outage_s)}"
    if len(rules) == 1:
        return f"{first.name} did not fire for {missed}: it {needed}"
    return f"no alert for {missed}: too little for any rule of `alerts:` ({first.name} {needed})"


def _how(rules: Sequence[ReplayedRule]) -> str:
    if not rules:
        return "burn-rate alerts replayed over the run, on a clean history before it"
    granted = [f"{one.rule.name}: {one.taken_for_granted}" for one in rules if one.taken_for_granted]
    names = ", ".join(one.rule.name for one in rules)
    return "; ".join([f"{names} replayed over the run", *granted])


def _lasted(one: Recovery) -> str:
    return "never recovered" if one.recover_s is None else f"{one.recover_s:.1f} s"


def _said(*notes: str) -> str:
    return "; ".join(filter(None, notes))


MEASURES = (Ttd(),)
