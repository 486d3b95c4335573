"""`slope(rss)`: how fast an observation or a metric grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from faultload.spec.term import LATENCIES, METRICS, Objective, ObjectiveError, Term
from faultload.spec.units import Dimension
from faultload.verdict.measures._unseen import naming_steps
from faultload.verdict.measures.statistic import OfValues
from faultload_analysis import latency
from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.needed import SLOPE_POINTS, SLOPE_S

if TYPE_CHECKING:
    import numpy.typing as npt

    from faultload.verdict.evidence import Evidence

_RATES: Mapping[Dimension | None, Dimension] = {"bytes": "byte_rate", "share": "share_rate"}


class Slope(OfValues):
    names = ("slope",)
    examples = (("slope(rss, service=api) <= 100MB/h", "growth of a metric or an observation"),)

    @property
    def subject_example(self) -> str:
        return "rss"

    def check(self, term: Term) -> None:
        super().check(term)
        if term.subject in LATENCIES:
            raise ObjectiveError("slope reads an observation or a metric, such as slope(rss)")

    def dimension_of(self, term: Term) -> Dimension | None:
        return _RATES.get(super().dimension_of(term), "rate")

    def samples_needed(self, objective: Objective) -> int | None:
        return max(SLOPE_POINTS, round(SLOPE_S) + 1) if objective.term.subject in METRICS else None

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        return naming_steps(super().estimate(evidence, objective), evidence, objective)

    def of_values(self, evidence: Evidence, objective: Objective) -> Estimate:
        return latency.slope_estimate(*evidence.observed(objective.term, objective.phase))

    def of_series(
        self, times: npt.ArrayLike, values: npt.ArrayLike, objective: Objective, confidence: float
    ) -> Estimate:
        return latency.slope_estimate(times, values)


MEASURES = (Slope(),)
