"""`lost_writes`: acknowledged writes that are gone when they are read back."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from faultload.spec.measures import Declared, Measure
from faultload.spec.term import Objective, Term
from faultload_analysis import recovery
from faultload_analysis.evidence.verdict import Estimate, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence


class LostWrites(Measure):
    names = ("lost_writes",)
    examples = (("lost_writes == 0", "acknowledged writes that are gone"),)
    dimension = "number"
    statements = ("run",)
    whole_run = True
    of_load = False

    def problems(self, term: Term, declared: Declared) -> Iterator[tuple[str, str | None]]:
        if declared.acknowledges is False:
            yield "lost_writes: no journey calls acknowledge()", "call acknowledge(key) for each confirmed write"

    def reads(self, evidence: Evidence, term: Term) -> Collection[str]:
        return ("writes",)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        counts = evidence.writes
        if counts is None:
            return no_data("no journey acknowledged a write, or the writes were not read back")
        found = recovery.lost_writes(counts.acknowledged, counts.lost, counts.indeterminate, counts.verified)
        return replace(found, why="; ".join(filter(None, [found.why, counts.problem])))


MEASURES = (LostWrites(),)
