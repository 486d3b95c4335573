"""Counts requests, and those that missed, in windows of equal width: how good each stretch of time was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Counts, Mask

_IMPOSSIBLE = 0.001


class WindowCounter:
    """Counts values by time, and those above `over` (None: those that are +inf), from chunks in any order.

    The windows of `width_s` follow each other from the start of each of `stretches` (start, end), seconds, which do
    not overlap; what is left at an end is shorter than a window and left out. `starts`, `total`, `missed`: shape
    (k,). ValueError for a width that is not above 0 and finite.
    """

    def __init__(self, stretches: Sequence[tuple[float, float]], width_s: float, over: float | None = None) -> None:
        if not 0 < width_s < math.inf:
            raise ValueError(f"a window lasts longer than 0 s, and not for ever: {width_s}")
        counts = [max(0, math.floor((end - start) / width_s + 1e-9)) for start, end in stretches]
        parts = [start + width_s * np.arange(k) for (start, _), k in zip(stretches, counts, strict=True)]
        self.starts: Array = np.sort(np.concatenate([np.empty(0), *parts]))
        self.width_s = width_s
        self._over = over
        self.total: Counts = np.zeros(self.starts.size, dtype=np.int64)
        self.missed: Counts = np.zeros(self.starts.size, dtype=np.int64)

    def add(self, times_s: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Values at these moments, shape (n,) each; those outside of every window are left out."""
        times, held = np.asarray(times_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
        if self.starts.size == 0:
            return
        index = np.searchsorted(self.starts, times, side="right") - 1
        inside = (index >= 0) & (times < self.starts[index] + self.width_s)
        missed = inside & self.misses(held)
        self.total += np.bincount(index[inside], minlength=self.starts.size)
        self.missed += np.bincount(index[missed], minlength=self.starts.size)

    def misses(self, values: npt.ArrayLike) -> Mask:
        """Which values miss; shape (n,)."""
        held = np.asarray(values, dtype=np.float64)
        return np.asarray(np.isposinf(held) if self._over is None else held > self._over, dtype=np.bool_)

    def bad(self, allowed: Fraction) -> tuple[Mask, Mask]:
        """Which windows are bad, and which of them hold no request; shape (k,) each.

        Bad is a window of which more than the share `allowed` missed, counted exactly: a p-quantile x_(ceil(np)) is
        over the limit when more than n (1 - p) values are. So is one without requests where, at the mean rate of
        all windows, that would happen by chance less often than once in 1000 (Poisson).
        """
        too_many = self.missed * allowed.denominator > self.total * allowed.numerator
        mean = float(self.total.mean()) if self.total.size else 0.0
        silent = (self.total == 0) & (math.exp(-mean) < _IMPOSSIBLE)
        return too_many | silent, silent
