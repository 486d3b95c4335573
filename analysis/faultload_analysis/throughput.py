"""Rates: events per second with bounds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .latency import mean_estimate
from .verdict import Estimate, no_data


def rate_estimate(times_s: npt.ArrayLike, *, start_s: float, end_s: float, confidence: float = 0.95) -> Estimate:
    """Events per second over [start_s, end_s), with bounds by batch means of the whole seconds.

    `times_s`: shape (n,), for throughput the completions of ok requests. `n` counts the seconds. The bounds
    come from the whole seconds, the value from all of the time. ValueError when the time is not positive;
    less than one second: value None.
    """
    if not end_s > start_s:
        raise ValueError(f"no time between {start_s} and {end_s}")
    seconds = math.floor(end_s - start_s + 1e-9)
    if seconds < 1:
        return no_data("shorter than a second")
    t = np.asarray(times_s, dtype=np.float64)
    t = t[(t >= start_s) & (t < start_s + seconds)]
    per_second = np.bincount(np.minimum((t - start_s).astype(np.int64), seconds - 1), minlength=seconds)
    # 0/1 counts are counts here, not outcomes: shift them away from the binomial branch of the mean.
    shifted = mean_estimate(per_second + 2.0, confidence=confidence)

    def back(x: float | None) -> float | None:
        return None if x is None else max(0.0, x - 2.0)

    return replace(
        shifted,
        value=back(shifted.value),
        low=back(shifted.low),
        high=back(shifted.high),
        method=f"per second, {shifted.method}",
    )
