"""`capacity`: the highest rate of a load in steps that meets an SLO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from faultload.spec.measures import Measure, measure_of
from faultload.spec.stages import Stage
from faultload.spec.term import Objective
from faultload_analysis import capacity
from faultload_analysis.evidence.verdict import Estimate, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence, Wanted


class Capacity(Measure):
    names = ("capacity",)
    examples = (("capacity >= 200/s", "the highest rate of a stepped load that meets the `slo`"),)
    dimension = "rate"
    statements = ("system",)
    whole_run = True
    takes_slo = True

    def undecidable(self, stages: Sequence[Stage]) -> str | None:
        levels = {stage.low for stage in stages if stage.kind in ("hold", "step") and stage.low == stage.high > 0}
        if len(levels) > 1:
            return None
        return "needs two or more steps of constant load, such as {step: 100/s, for: 60s}"

    def gather(self, objective: Objective, wanted: Wanted) -> None:
        for one in wanted.in_steps(objective.slo):
            measure_of(one.term).gather(one, wanted)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        from faultload.verdict.capacity import capacity_of  # loads numpy

        found = capacity_of(evidence, objective.slo)
        return no_data(found) if isinstance(found, str) else capacity.capacity_estimate(found.bracket)

    def unfit(self, evidence: Evidence, objective: Objective) -> str:
        return ""  # each step is judged by itself


MEASURES = (Capacity(),)
