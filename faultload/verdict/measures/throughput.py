"""`throughput`: successful requests per second, counted when they complete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from faultload.spec.measures import Measure
from faultload.spec.term import REQUEST_FILTERS, Objective
from faultload_analysis.evidence.verdict import Estimate, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence, Wanted


class Throughput(Measure):
    names = ("throughput",)
    examples = (("throughput >= 10000/min", "`ok` requests completed per unit of time"),)
    dimension = "rate"
    filters = REQUEST_FILTERS

    def gather(self, objective: Objective, wanted: Wanted) -> None:
        wanted.completions(objective.term, objective.phase)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        counter = evidence.completions(objective.term, objective.phase)
        if counter is None:
            return no_data("this phase did not happen")
        spoiled = None if evidence.spoiled is None else evidence.spoiled.at(counter.centres)
        found = counter.estimate(spoiled=spoiled, confidence=evidence.confidence, of_run=objective.of_run)
        stretches = evidence.phases.stretches(objective.phase)
        if len(stretches) == 1:
            return found
        longest = max(end - start for start, end in stretches)
        why = f"the longest of {len(stretches)} stretches, {longest:.0f} s"
        return replace(found, why="; ".join(filter(None, [why, found.why])))


MEASURES = (Throughput(),)
