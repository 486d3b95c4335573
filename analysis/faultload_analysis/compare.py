"""Comparing two groups of dependent samples by block bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .dependence import BATCHES, MIN_TO_BATCH, Array
from .verdict import Estimate, no_data

Statistic = Callable[[Array], float]


def ratio_estimate(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    statistic: Statistic,
    *,
    confidence: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> Estimate:
    """statistic(a) / statistic(b) with one-sided percentile bounds by circular block bootstrap.

    `a`, `b`: shape (n,), (m,), each in time order; resampled apart in blocks of 1/20 of their length, so
    that dependence up to that length is kept (Politis & Romano 1992). The seed is fixed: the same data give
    the same bounds. Below 60 samples on a side the bounds are open. No samples, or a zero or infinite
    denominator: value None. Compares samples of one run; between runs the unit of replication is the run.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.size == 0 or y.size == 0:
        return no_data("one side has no samples", n=int(x.size + y.size))
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError("values hold NaN")
    n = int(x.size + y.size)
    top, bottom = statistic(x), statistic(y)
    if not (math.isfinite(bottom) and bottom != 0.0) or math.isnan(top):
        return no_data(f"the ratio of {top:g} to {bottom:g} says nothing", n=n)
    value = top / bottom
    method = f"circular block bootstrap, {resamples} resamples"
    if min(x.size, y.size) < MIN_TO_BATCH:
        return Estimate(value, None, None, n, None, method, "too few samples on a side for bounds")
    rng = np.random.default_rng(seed)
    ratios = np.empty(resamples)
    for i in range(resamples):
        above, below = statistic(_resampled(x, rng)), statistic(_resampled(y, rng))
        ratios[i] = above / below if below != 0.0 and math.isfinite(below) else math.nan
    if np.isnan(ratios).any():
        return Estimate(value, None, None, n, None, method, "resampled denominators vanish")
    ratios.sort()
    edge = math.floor((1.0 - confidence) * resamples)
    high = float(ratios[-1 - edge])
    return Estimate(value, float(ratios[edge]), high if math.isfinite(high) else None, n, None, method)


def _resampled(values: Array, rng: np.random.Generator) -> Array:
    n = values.size
    block = math.ceil(n / BATCHES)
    starts = rng.integers(0, n, size=math.ceil(n / block))
    index = (starts[:, None] + np.arange(block)[None, :]).ravel()[:n]
    index[index >= n] -= n
    return np.asarray(values[index], dtype=np.float64)
