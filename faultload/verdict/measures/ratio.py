"""`ratio(p50(a), p50(b))`: the same statistic of two groups, one divided by the other."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from faultload.spec.measures import Measure, check_term
from faultload.spec.term import LATENCIES, METRICS, Objective, ObjectiveError, Term
from faultload.verdict.measures.statistic import quantile_of
from faultload_analysis import compare
from faultload_analysis.evidence.verdict import Estimate, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence, Wanted


class Ratio(Measure):
    names = ("ratio",)
    examples = (
        (
            "ratio(p50(create, variant=v2), p50(create, variant=v3)) >= 30",
            "one statistic, compared between two groups, each with its own filters",
        ),
    )
    dimension = "number"

    def check(self, term: Term) -> None:
        parts = term.parts
        same = len({part.name for part in parts}) == 1
        known = all(part.name == "mean" or quantile_of(part) is not None for part in parts)
        if len(parts) != 2 or len(term.args) != 2 or not same or not known:
            raise ObjectiveError(
                "ratio takes a quantile, mean or median twice, such as ratio(p50(latency), p50(service_time))"
            )
        for part in parts:
            check_term(part)
            if part.subject in METRICS or {"service", "instance"} & set(part.filters):
                raise ObjectiveError("ratio reads latency, service_time or observations, not metrics")

    def gather(self, objective: Objective, wanted: Wanted) -> None:
        for part in objective.term.parts:
            if part.subject in LATENCIES:
                wanted.latencies(part, objective.phase)

    def reads(self, evidence: Evidence, term: Term) -> Collection[str]:
        return {"samples" if part.subject in LATENCIES else "observations" for part in term.parts}

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        terms = objective.term.parts
        of, by = (evidence.values_of(part, objective.phase) for part in terms)
        if min(of.n, by.n) == 0:
            return no_data(f"nothing was measured for {terms[int(by.n == 0)]}")
        found = compare.ratio_estimate(of, by, quantile_of(terms[0]) or "mean", confidence=evidence.confidence)
        for part in terms:
            found = evidence.odd_values(part, objective.phase).noted(found)
        return found


MEASURES = (Ratio(),)
