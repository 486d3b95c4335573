"""Cells that the promise of docs/calibration.md names: by kind and statistic, why no bound can hold there."""

from __future__ import annotations

_TOO_HEAVY = "the variance is infinite, or nearly: no run shows enough of the tail"

_TOO_SHORT = "200 requests are a seventh of what it takes the queue to forget its state"

NAMED: dict[tuple[str, str], str] = {
    ("pareto-1.5", "mean"): _TOO_HEAVY,
    ("mg1-pareto", "mean"): _TOO_HEAVY,
    ("mm1-0.95", "p90"): _TOO_SHORT,
}
