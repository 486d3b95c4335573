"""Figures of a run, one function each, returning a matplotlib Figure; readable in print and colour-blind-safe."""

from .capacity import capacity
from .curves import QuantileSeries, RecoveryCurve, latency_by_quantile, recovery_curves
from .metrics import MetricSeries, metrics
from .timeline import FaultSpan, PhaseSpan, timeline

__all__ = [
    "FaultSpan",
    "MetricSeries",
    "PhaseSpan",
    "QuantileSeries",
    "RecoveryCurve",
    "capacity",
    "latency_by_quantile",
    "metrics",
    "recovery_curves",
    "timeline",
]
