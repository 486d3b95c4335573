"""`mtbf`: the mean time between failures that users notice, at the failure rates that the scenario declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from faultload.spec.measures import Declared, Measure
from faultload.spec.term import Objective, Term
from faultload_analysis import recovery
from faultload_analysis.evidence.verdict import Estimate, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence


class Mtbf(Measure):
    names = ("mtbf",)
    examples = (("mtbf >= 720h", "mean time between failures users notice, given the declared `failure_rate`s"),)
    dimension = "time"
    statements = ("system",)
    whole_run = True

    def problems(self, term: Term, declared: Declared) -> Iterator[tuple[str, str | None]]:
        if not declared.with_failure_rate:
            hint = (
                "such as `failure_rate: 1/720h`: how often it strikes in production, not how often it is injected"
            )
            yield "mtbf: no fault has a failure_rate", hint

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        return mtbf(evidence)


def mtbf(evidence: Evidence) -> Estimate:
    """Mean time between failures that users notice, from the declared failure rates and the faults absorbed."""
    if not evidence.failure_rates:
        return no_data(
            "MTBF needs the `failure_rate` of its faults in production; how often they are injected says nothing"
        )
    impacts: dict[str, tuple[int, int]] = {}
    for name in evidence.failure_rates:
        seen = [one for _, one in evidence.recoveries_of(name) if one.measurable]
        impacts[name] = (sum(not one.absorbed for one in seen), len(seen))
    return recovery.mtbf_estimate(evidence.failure_rates, impacts, confidence=evidence.confidence)


MEASURES = (Mtbf(),)
