"""Figures of a run, one function each, returning a matplotlib Figure; readable in print and colour-blind-safe."""

from .budget import budget_burn_down
from .capacity import capacity
from .comparison import Build, quantile_changes, runs_by_build
from .curves import QuantileSeries, RecoveryCurve, latency_by_quantile, recovery_curves
from .metrics import MetricSeries, metrics
from .timeline import FaultSpan, PhaseSpan, timeline
from .trend import history, trend

__all__ = [
    "Build",
    "FaultSpan",
    "MetricSeries",
    "PhaseSpan",
    "QuantileSeries",
    "RecoveryCurve",
    "budget_burn_down",
    "capacity",
    "history",
    "latency_by_quantile",
    "metrics",
    "quantile_changes",
    "recovery_curves",
    "runs_by_build",
    "timeline",
    "trend",
]
