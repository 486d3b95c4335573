"""Steps up in a series: levels that stay, each reached at once, as memory grows that is taken in large pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from faultload_analysis.evidence.dependence import Array

_BEYOND_NOISE = 8.0
_NEIGHBOURS = 5
_STAYS = 0.5
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps up of a series: `at[i]` is the first point after step i, `sizes[i]` how high the step was."""

    at: np.ndarray[tuple[int], np.dtype[np.int64]]
    sizes: Array

    def __len__(self) -> int:
        return int(self.at.size)

    def without(self, values: Array) -> Array:
        """The series with every step taken out."""
        fallen = np.zeros(values.size)
        fallen[self.at] = self.sizes
        return values - np.cumsum(fallen)

    def rate_bounds(self, duration_s: float, confidence: float) -> tuple[float, float]:
        """What the steps add per second at least, and at most, each with this confidence.

        Steps are counted as events of a Poisson process, whose rate is known from few of them only roughly: k of
        them in T come at chi2(1-c; 2k)/2T at least and at chi2(c; 2k+2)/2T at most (Garwood 1936). Steps of
        different sizes count as (sum of sizes)^2 / (sum of squares) of one size. (0, 0) without steps.
        """
        if not len(self):
            return 0.0, 0.0
        total, squares = float(self.sizes.sum()), float(np.square(self.sizes).sum())
        size, count = squares / total, total * total / squares
        low = scipy.special.chdtri(2 * count, confidence) / 2
        high = scipy.special.chdtri(2 * count + 2, 1 - confidence) / 2
        return size * float(low) / duration_s, size * float(high) / duration_s


def steps_up(values: Array) -> Steps:
    """The steps up of values in order of time, shape (n,), n at least 2.

    A step is a rise between two neighbours that is beyond the median of all changes by more than 8 times the usual
    (1.4826 times their median absolute deviation), and of which at least half stays: the medians of the 5 points
    before and after it differ by as much. None where there are half as many falls of that kind, since what goes up
    and down does not grow; nor where there are more than 1,000, which are no rare events: a line sees them.
    """
    up, down = _jumps(values), _jumps(-values)
    return up if len(up) > 2 * len(down) else Steps(np.empty(0, dtype=np.int64), np.empty(0))


def _jumps(values: Array) -> Steps:
    rises = np.diff(values)
    beyond = rises - np.median(rises)
    usual = 1.4826 * float(np.median(np.abs(beyond)))
    far = np.flatnonzero(beyond > _BEYOND_NOISE * usual)
    found = []
    for i in far.tolist() if far.size <= _MOST else ():
        before = np.median(values[max(0, i + 1 - _NEIGHBOURS) : i + 1])
        after = np.median(values[i + 1 : i + 1 + _NEIGHBOURS])
        if after - before >= _STAYS * beyond[i]:
            found.append(i)
    at = np.array(found, dtype=np.int64)
    return Steps(at + 1, beyond[at])
