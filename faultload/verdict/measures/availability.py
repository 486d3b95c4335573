"""`availability`: the share of requests that were ok; and `error_rate`, the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from faultload.spec.measures import Measure
from faultload.spec.term import REQUEST_FILTERS, Objective, ObjectiveError, Term
from faultload_analysis import slo
from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.needed import least_requests

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence, Wanted


class Availability(Measure):
    names = ("availability",)
    examples = (("availability >= 99.9%", "share of requests that were `ok`"),)
    dimension = "share"
    filters = REQUEST_FILTERS
    watched = ("availability",)

    def check_target(self, objective: Objective) -> None:
        target = objective.target
        if not 0 <= target.value <= 1:
            hint = f"; did you mean {target}%?" if target.dimension == "number" else ""
            raise ObjectiveError(f"{target} is not a share between 0% and 100%{hint}")
        super().check_target(objective)

    def required_share(self, objective: Objective) -> Fraction:
        """The share of good requests that the objective asks for."""
        return Fraction(str(objective.target.value))

    def requests_needed(self, objective: Objective) -> int | None:
        share = self.required_share(objective)
        return least_requests(share) if 0 < share < 1 else None

    def of_requests(self, term: Term) -> bool:
        return True

    def of_seconds(self, term: Term) -> bool:
        return True

    def in_second(self, term: Term, second: Mapping[str, float]) -> float:
        return second["ok"] / (second["ok"] + second["failed"])

    def error_limit(self, objective: Objective) -> float | None:
        return 1.0 - objective.target.value

    def gather(self, objective: Objective, wanted: Wanted) -> None:
        wanted.requests(objective.term, objective.phase)

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        return self.share_of_ok(evidence, objective, objective.target.value)

    def share_of_ok(self, evidence: Evidence, objective: Objective, target: float) -> Estimate:
        """The share of ok requests, held against a target share."""
        usable = 0 < target < 1
        found = slo.proportion_estimate(
            evidence.requests_of(objective.term, objective.phase),
            confidence=evidence.confidence,
            slo=target if usable else None,
            of_run=True,
        )
        lasted = evidence.phases.duration_s(objective.phase)
        if usable and found.value == 1.0 and lasted > 0:
            unseen = slo.largest_unseen_outage(found.n, lasted, target)
            found = replace(found, why="; ".join(filter(None, [found.why, unseen.sentence])))
        return found


class ErrorRate(Availability):
    names = ("error_rate",)
    examples = (("error_rate <= 0.1%", "share of requests that were not `ok`"),)
    watched = ("error_rate",)

    def required_share(self, objective: Objective) -> Fraction:
        return 1 - Fraction(str(objective.target.value))

    def in_second(self, term: Term, second: Mapping[str, float]) -> float:
        return second["failed"] / (second["ok"] + second["failed"])

    def error_limit(self, objective: Objective) -> float | None:
        return objective.target.value

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        found = self.share_of_ok(evidence, objective, 1.0 - objective.target.value)
        return found if found.value is None else found.complement()


MEASURES = (ErrorRate(), Availability())
