"""Scaling efficiency: the rate at scale over the rate at the start, with bounds over repeats."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate, no_data

_METHOD = "ratio of means, Fieller with Welch degrees of freedom"


def scaling_efficiency(
    start_per_s: npt.ArrayLike, scale_per_s: npt.ArrayLike, *, factor: float = 1.0, confidence: float = 0.95
) -> Estimate:
    """mean(scale) / (factor mean(start)) with two one-sided bounds; 0.96 is 96 % of linear.

    `start_per_s`, `scale_per_s`: shape (n,), (m,), the goodput (what ended well) of independent repeats, or of
    batches long enough to be (many response times each); never single requests. `factor`: how many times the
    resources or users of the start are there at scale, X(N) / (N X(1)); 1 for a rate that should just stay as it
    was. Bounds: all ratios r for which Welch's t of scale - r start is within t_confidence (Fieller 1954), so the
    spread of both sides counts. Fewer than 2 on a side, or no spread at all: open bounds. Empty: value None.
    ValueError for rates that are not finite or negative, a start of 0, or factor <= 0.
    """
    start, scale, confidence = _rates(start_per_s), _rates(scale_per_s), checked_confidence(confidence)
    if not (factor > 0 and math.isfinite(factor)):
        raise ValueError(f"the factor must be above 0, not {factor}")
    n = start.size + scale.size
    if start.size == 0 or scale.size == 0:
        return no_data("one side has no rates", n=n, method=_METHOD)
    below, above = float(start.mean()), float(scale.mean())
    if below == 0.0:
        raise ValueError("the rate at the start is 0: nothing to compare with")
    value = above / below / factor
    if above == 0.0:
        return Estimate(0.0, 0.0, None, n, None, _METHOD, "nothing came at scale, which bounds nothing above")
    if min(start.size, scale.size) < 2:
        return Estimate(value, None, None, n, None, _METHOD, "one repeat on a side bounds nothing: repeat it")
    var_start = float(start.var(ddof=1)) / start.size
    var_scale = float(scale.var(ddof=1)) / scale.size
    if max(var_start / below**2, var_scale / max(above, below) ** 2) < 1e-24:
        return Estimate(value, None, None, n, None, _METHOD, "the repeats do not vary, which bounds nothing")

    def excess(ratio: float) -> float:
        """Welch's t of scale - ratio start, signed."""
        a, b = var_scale, ratio * ratio * var_start
        df = (a + b) ** 2 / (a * a / (scale.size - 1) + b * b / (start.size - 1))
        return (above - ratio * below) / math.sqrt(a + b) / t_quantile(confidence, df)

    point = above / below
    low = _root(excess, 1.0, point, -1.0)
    high = _root(excess, -1.0, point, 1.0)
    why = "" if high is not None else "the start varies too much for an upper bound"
    return Estimate(
        value, 0.0 if low is None else low / factor, None if high is None else high / factor, n, None, _METHOD, why
    )


def _root(excess: Callable[[float], float], wanted: float, start: float, sign: float) -> float | None:
    """Where from the point estimate on `excess` reaches `wanted`; None: not within 10^-9 and 10^6 times it."""
    step, inside, least = 1e-3 * start, start, 1e-9 * start
    while inside < 1e6 * start:
        outside = max(least, inside + sign * step)
        if (excess(outside) - wanted) * sign <= 0.0:
            a, b = sorted((inside, outside))
            return float(scipy.optimize.brentq(lambda r: excess(r) - wanted, a, b, xtol=1e-14 * start))
        if outside == least:
            return None
        inside, step = outside, 2.0 * step
    return None


def _rates(values: npt.ArrayLike) -> Array:
    rates = np.asarray(values, dtype=np.float64)
    if rates.ndim != 1:
        raise ValueError(f"rates must be one-dimensional, not of shape {rates.shape}")
    if not np.isfinite(rates).all() or (rates < 0).any():
        raise ValueError("rates must be finite and not negative")
    return rates
