"""The basis of every estimate: verdicts, bounds for dependent samples, distributions, checked input."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
"""Which module has each name: it is imported when the name is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
