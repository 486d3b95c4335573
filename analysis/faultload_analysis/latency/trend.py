"""The slope of a metric over time, with bounds that its noise, steps and saw-teeth leave; None when too short."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate, no_data
from faultload_analysis.latency.line import Line, binned, line
from faultload_analysis.latency.steps import Steps, steps
from faultload_analysis.needed import SLOPE_POINTS, SLOPE_S

_ENOUGH_EVENTS = 10
"""Steps and periods from which on how often they come is known."""
_FEWEST_WORTH = 8.0
_SPIKE = 8.0
_ROUNDING = 1e-9
_METHOD = "generalised least squares over noise of any memory"


def slope_estimate(
    times_s: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    min_points: int = SLOPE_POINTS,
    min_duration_s: float = SLOPE_S,
    confidence: float = 0.95,
) -> Estimate:
    """The slope of `values` over `times_s` (both shape (n,)), in units of the value per second.

    Over 120 points are first reduced to the means of 120 equal time bins. The line through them and its bounds
    allow for noise of every memory that the series does not rule out (`latency/line.py`). A single point far from
    both its neighbours is taken for their median. Fewer than `min_points` points or less than `min_duration_s`:
    value None, "too short to say". How often the bounds are wrong: docs/calibration.md.

    A straight line is assumed: leave the warm-up out. Where the two halves have slopes that cannot be one (their
    intervals are apart: growth to a plateau, a leak that begins late), it may bend on: the bounds are those of the
    whole, of the second half, and of a slope that changes by as much again, together. So a warm-up alone fails
    nothing and a plateau alone passes nothing.

    Where a series grows in steps (memory that is taken in large pieces), the steps are bounded as rare events
    (`latency/steps.py`), apart from the line through what lies between them, and the wider bounds count: a line
    would not see how little a few steps say. Saw-teeth that fall back ten times or more are taken as one point
    each, the mean of a whole tooth; fewer falls are bounded as steps down. `why` says how long a series with ten
    would be.

    Points may come in any order (a clock set back is sorted) and share their times; points with NaN or infinity are
    left out and counted. ValueError when the shapes differ, or the confidence is outside (0.5, 1). O(n) for sorted
    times.
    """
    t, v = np.asarray(times_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.shape != v.shape or t.ndim != 1:
        raise ValueError(f"times {t.shape} and values {v.shape} must be one shape (n,)")
    confidence = checked_confidence(confidence)
    if math.isnan(min_duration_s):
        raise ValueError("the shortest duration is not a number")
    keep = np.isfinite(t) & np.isfinite(v)
    dropped = int(t.size - np.count_nonzero(keep))
    if dropped:
        t, v = t[keep], v[keep]
    n = int(t.size)
    left_out = f"{dropped} points without a number left out" if dropped else ""
    duration = float(t.max() - t.min()) if n else 0.0
    if n < max(min_points, 3) or duration < min_duration_s or duration <= 0:
        why = f"too short to say: {n} points over {duration:.0f} s"
        return no_data("; ".join(filter(None, [why, left_out])), n=n, method=_METHOD)
    if (np.diff(t) < 0).any():
        order = np.argsort(t, kind="stable")
        t, v = t[order], v[order]
    found = steps(v)
    teeth = found.down and len(found) >= _ENOUGH_EVENTS
    t_of_bins, means = binned(*(found.between(t, v) if teeth else (t, _without_spikes(v))))
    m = int(t_of_bins.size)
    if m < 3 or t_of_bins[-1] <= t_of_bins[0]:
        return no_data(f"too short to say: the points lie at {m} moments", n=n, method=_METHOD)
    whole = line(t_of_bins, means, confidence)
    estimate = Estimate(whole.slope, whole.low, whole.high, n, whole.n_eff, _METHOD)
    halves = _bent(t_of_bins, means, confidence)
    folded = f"{len(found)} saw-teeth, each whole one as its mean" if teeth else f"{n} points in {m} time bins"
    notes = ["" if n == m else folded, left_out]
    if halves is not None:
        first, second = halves
        as_much_again = 2.0 * second.slope - first.slope
        estimate = _wider(estimate, min(second.low, as_much_again), max(second.high, as_much_again))
        notes.insert(
            0, f"not a straight line: {first.slope:.3g}/s in the first half, {second.slope:.3g}/s in the second"
        )
    elif whole.n_eff < _FEWEST_WORTH and not teeth:
        notes.insert(0, f"hardly more than a guess: worth {whole.n_eff:.1f} independent points")
    if len(found) and not teeth:
        estimate = _with_steps(estimate, t, v, found, confidence)
        notes.append(_of_steps(found, duration))
    return replace(estimate, why="; ".join(filter(None, notes)))


def _without_spikes(values: Array) -> Array:
    """With the median of itself and its neighbours for each value that is off it by 8 times the usual."""
    three = np.stack([values[:-2], values[1:-1], values[2:]])
    middle = np.median(three, axis=0)
    off = np.abs(values[1:-1] - middle)
    usual = 1.4826 * float(np.median(off))
    calm = values.copy()
    if usual > 0.0:
        calm[1:-1] = np.where(off > _SPIKE * usual, middle, values[1:-1])
    return calm


def _wider(estimate: Estimate, low: float, high: float) -> Estimate:
    assert estimate.low is not None and estimate.high is not None
    return replace(estimate, low=min(estimate.low, low), high=max(estimate.high, high))


def _with_steps(estimate: Estimate, t: Array, v: Array, found: Steps, confidence: float) -> Estimate:
    """With what comes in steps told from what grows between them: few steps say little of how often they come."""
    duration = float(t[-1] - t[0])
    between = line(*binned(t, found.without(v)), confidence)
    low, high = found.rate_bounds(duration, confidence)
    whole = replace(estimate, value=between.slope + float(found.sizes.sum()) / duration)
    return _wider(whole, between.low + low, between.high + high)


def _of_steps(found: Steps, duration_s: float) -> str:
    times = len(found)
    largest = float(np.abs(found.sizes).max())
    said = f"it fell back {times} time" if found.down else f"it grew in {times} step"
    said += f"{'' if times == 1 else 's'} {'by' if found.down else 'of'} up to {largest:.4g}"
    if times >= _ENOUGH_EVENTS:
        return said
    return f"{said}: about {_ENOUGH_EVENTS * duration_s / times:.0f} s would show {_ENOUGH_EVENTS}"


def _bent(t: Array, v: Array, confidence: float) -> tuple[Line, Line] | None:
    """The lines of both halves where they cannot be one."""
    middle = int(np.searchsorted(t, (t[0] + t[-1]) / 2.0))
    if min(middle, t.size - middle) < 2 * _FEWEST_WORTH or t[middle - 1] <= t[0] or t[-1] <= t[middle]:
        return None
    first, second = line(t[:middle], v[:middle], confidence), line(t[middle:], v[middle:], confidence)
    rounding = _ROUNDING * max(abs(first.slope), abs(second.slope))
    apart = max(first.low - second.high, second.low - first.high) > rounding
    return (first, second) if apart else None
