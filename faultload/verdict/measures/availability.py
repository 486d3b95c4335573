"""`availability`: the share of requests that were ok; and `error_rate`, the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from faultload.spec.term import Objective, Term
from faultload.verdict.measures._share import OfShare
from faultload_analysis import slo
from faultload_analysis.evidence.verdict import Estimate

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence


class Availability(OfShare):
    names = ("availability",)
    examples = (("availability >= 99.9%", "share of requests that were `ok`"),)
    watched = ("availability",)
    statements = ("run", "system")

    def of_seconds(self, term: Term) -> bool:
        return True

    def in_second(self, term: Term, second: Mapping[str, float]) -> float:
        return second["ok"] / (second["ok"] + second["failed"])

    def error_limit(self, objective: Objective) -> float | None:
        return 1.0 - objective.target.value

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        return self.share_of_ok(evidence, objective, objective.target.value)

    def share_of_ok(self, evidence: Evidence, objective: Objective, target: float) -> Estimate:
        """The share of ok requests, held against a target share."""
        usable = 0 < target < 1
        found = slo.proportion_estimate(
            evidence.requests_of(objective.term, objective.phase),
            confidence=evidence.confidence,
            slo=target if usable else None,
            of_run=objective.of_run,
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
    limits = ("<=", "<")

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
