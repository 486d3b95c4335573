"""The slope of a metric over time: robust, with an interval, and silent when the series is too short."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from .verdict import Estimate, no_data

_MAX_BINS = 120


def slope_estimate(
    times_s: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    min_points: int = 30,
    min_duration_s: float = 60.0,
    confidence: float = 0.95,
) -> Estimate:
    """Theil-Sen slope of `values` over `times_s` (both shape (n,)), in units of the value per second.

    Over 120 points are first reduced to the medians of 120 equal time bins. Sen's interval assumes
    independent residuals, so it is widened by sqrt((1 + r) / (1 - r)), r their lag-1 autocorrelation,
    corrected for its bias in short series (Kendall), never below 0. A straight line is assumed: leave the
    warm-up out. Fewer than `min_points` points or less than `min_duration_s`: value None, "too short to
    say". NaN values are left out. ValueError when the shapes differ.
    Source: Sen 1968 (scipy.stats.theilslopes); von Storch & Zwiers 1999, equivalent sample size.
    """
    t, v = np.asarray(times_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.shape != v.shape or t.ndim != 1:
        raise ValueError(f"times {t.shape} and values {v.shape} must be one shape (n,)")
    keep = np.isfinite(t) & np.isfinite(v)
    t, v = t[keep], v[keep]
    n = int(t.size)
    duration = float(t.max() - t.min()) if n else 0.0
    if n < max(min_points, 3) or duration < min_duration_s or duration <= 0:
        return no_data(f"too short to say: {n} points over {duration:.0f} s", n=n, method="Theil-Sen")
    order = np.argsort(t, kind="stable")
    t, v = t[order], v[order]
    if n > _MAX_BINS:
        edges = np.linspace(t[0], t[-1], _MAX_BINS + 1)
        cuts = np.searchsorted(t, edges[1:-1])
        parts = [(a, b) for a, b in zip(np.split(t, cuts), np.split(v, cuts), strict=True) if a.size]
        t, v = np.array([a.mean() for a, _ in parts]), np.array([np.median(b) for _, b in parts])
    m = int(t.size)
    if m < 3:
        return no_data(f"too short to say: the points lie at {m} moments", n=n, method="Theil-Sen")
    fit = stats.theilslopes(v, t, alpha=2.0 * confidence - 1.0)
    slope = float(fit[0])
    inflation = _residual_inflation(v - slope * t)
    widen = math.sqrt(inflation)
    low, high = slope - (slope - float(fit[2])) * widen, slope + (float(fit[3]) - slope) * widen
    return Estimate(
        slope, low, high, n, m / inflation, "Theil-Sen, interval widened for autocorrelation", _note(n, m)
    )


def _note(n: int, m: int) -> str:
    return "" if n == m else f"{n} points in {m} time bins"


def _residual_inflation(residuals: npt.NDArray[np.float64]) -> float:
    centred = residuals - np.median(residuals)
    power = float(np.dot(centred, centred))
    if power <= 0.0:
        return 1.0
    m = centred.size
    r = float(np.dot(centred[:-1], centred[1:])) / power
    r = min(0.98, r + (1.0 + 3.0 * max(r, 0.0)) / m)
    return max(1.0, (1.0 + r) / (1.0 - r))
