"""`recovery_after_overload`: how long after a load surge service is back to normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from faultload.spec.measures import Measure
from faultload.spec.stages import Stage
from faultload.spec.term import Objective
from faultload_analysis import recovery
from faultload_analysis.evidence.verdict import Estimate, no_data

if TYPE_CHECKING:
    from faultload.verdict.evidence import Evidence

_SURGE = "such as {surge: 3x, for: 30s}"


class RecoveryAfterOverload(Measure):
    names = ("recovery_after_overload",)
    examples = (
        ("recovery_after_overload <= 60s", "time from the end of a `surge` until users are served as before"),
    )
    dimension = "time"
    statements = ("run",)
    whole_run = True

    def undecidable(self, stages: Sequence[Stage]) -> str | None:
        surges = any(stage.kind == "surge" for stage in stages)
        return None if surges else f"needs a surge in the load, {_SURGE}"

    def estimate(self, evidence: Evidence, objective: Objective) -> Estimate:
        """The slowest return after a surge of the load."""
        found = [recovery.recovery_after_overload_estimate(one) for one in evidence.overloads.values()]
        if not found:
            return no_data(f"the load has no surge to recover from, {_SURGE}")
        unknown = next((one for one in found if one.value is None), None)
        worst = max((one for one in found if one.value is not None), key=lambda one: one.value or 0.0, default=None)
        if worst is None:
            return found[0]
        if unknown is not None and not (worst.low and worst.low > objective.target.value):
            return unknown
        return (
            worst
            if len(found) == 1
            else replace(worst, n=len(found), why=f"the worst of {len(found)}: {worst.why}")
        )


MEASURES = (RecoveryAfterOverload(),)
