"""The basis of every estimate: verdicts, bounds for dependent samples, distributions, checked input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultload_analysis.on_demand import on_demand

if TYPE_CHECKING:
    from faultload_analysis.evidence.verdict import Decision, Estimate, Verdict, decide, exact, no_data, worst

__all__ = [
    "Decision",
    "Estimate",
    "Verdict",
    "decide",
    "exact",
    "no_data",
    "worst",
]

_HOME = {
    "Decision": "verdict",
    "Estimate": "verdict",
    "Verdict": "verdict",
    "decide": "verdict",
    "exact": "verdict",
    "no_data": "verdict",
    "worst": "verdict",
}

__getattr__ = on_demand(__name__, _HOME)
