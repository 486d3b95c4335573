"""Figures of a run, one function each, returning a matplotlib Figure; readable in print and colour-blind-safe."""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError(f"figures need matplotlib ({error}): pip install 'faultload[figures]'") from None

from faultload_analysis.figures.budget import budget_burn_down
from faultload_analysis.figures.capacity import capacity
from faultload_analysis.figures.comparison import Build, quantile_changes, runs_by_build
from faultload_analysis.figures.curves import QuantileSeries, RecoveryCurve, latency_by_quantile, recovery_curves
from faultload_analysis.figures.metrics import MetricSeries, metrics
from faultload_analysis.figures.timeline import FaultSpan, PhaseSpan, timeline
from faultload_analysis.figures.trend import history, trend

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
