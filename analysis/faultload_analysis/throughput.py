"""Rates: events per second with bounds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .latency import mean_estimate
from .verdict import Estimate, no_data


def rate_estimate(times_s: npt.ArrayLike, *, start_s: float, end_s: float, confidence: float = 0.95) -> Estimate:
    """Events per second over [start_s, end_s), with bounds by batch means of the counts in equal slices.

    `times_s`: shape (n,), for throughput the completions of ok requests. Slices are 1 s, or 1/60 of the time
    when it is shorter than a minute; `n` counts them. The bounds speak of the long-run rate, so a rate that
    was *planned* is undercut by half of all runs. ValueError when the time is not positive; less than one
    second: value None.
    """
    if not end_s > start_s:
        raise ValueError(f"no time between {start_s} and {end_s}")
    if end_s - start_s < 1.0:
        return no_data("shorter than a second")
    count = max(60, math.ceil(end_s - start_s))
    width = (end_s - start_s) / count
    t = np.asarray(times_s, dtype=np.float64)
    t = t[(t >= start_s) & (t < end_s)]
    per_slice = np.bincount(np.minimum(((t - start_s) / width).astype(np.int64), count - 1), minlength=count)
    # 0/1 counts are counts here, not outcomes: shift them away from the binomial branch of the mean.
    shifted = mean_estimate(per_slice + 2.0, confidence=confidence)

    def back(x: float | None) -> float | None:
        return None if x is None else max(0.0, x - 2.0) / width

    return replace(
        shifted,
        value=back(shifted.value),
        low=back(shifted.low),
        high=back(shifted.high),
        method=f"slices of {width:.3g} s, {shifted.method}",
    )
