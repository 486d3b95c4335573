"""One build against another: ratios, baselines, change points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faultload_analysis.on_demand import on_demand

if TYPE_CHECKING:
    from faultload_analysis.compare.baseline import BaselineCheck, Place, baseline_gate, baselines_needed
    from faultload_analysis.compare.bootstrap import quantile_difference, quantile_ratio, ratio_estimate
    from faultload_analysis.compare.builds import (
        Comparison,
        Contrast,
        Difference,
        compare_many,
        compare_runs,
        overhead_estimate,
        runs_needed,
        speedup_estimate,
    )
    from faultload_analysis.compare.changepoints import ChangePoint, ChangePoints, change_points

__all__ = [
    "BaselineCheck",
    "ChangePoint",
    "ChangePoints",
    "Comparison",
    "Contrast",
    "Difference",
    "Place",
    "baseline_gate",
    "baselines_needed",
    "change_points",
    "compare_many",
    "compare_runs",
    "overhead_estimate",
    "quantile_difference",
    "quantile_ratio",
    "ratio_estimate",
    "runs_needed",
    "speedup_estimate",
]

_HOME = {
    "BaselineCheck": "baseline",
    "ChangePoint": "changepoints",
    "ChangePoints": "changepoints",
    "Comparison": "builds",
    "Contrast": "builds",
    "Difference": "builds",
    "Place": "baseline",
    "baseline_gate": "baseline",
    "baselines_needed": "baseline",
    "change_points": "changepoints",
    "compare_many": "builds",
    "compare_runs": "builds",
    "overhead_estimate": "builds",
    "quantile_difference": "bootstrap",
    "quantile_ratio": "bootstrap",
    "ratio_estimate": "bootstrap",
    "runs_needed": "builds",
    "speedup_estimate": "builds",
}

__getattr__ = on_demand(__name__, _HOME)
