"""Steps in a series: levels that stay, each reached at once, as memory grows that is taken in large pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from faultload_analysis.evidence.dependence import Array

_BEYOND_NOISE, _BEYOND_NOISE_OF_MEANS = 8.0, 5.0
_NEIGHBOURS = 5
_STAYS = 0.5
_MOST = 1000
_ROUNDING = 1e-14

Places = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a series, all up or all down: `at[i]` is the first point after step i, `sizes[i]` its height.

    Heights are below 0 for steps down.
    """

    at: Places
    sizes: Array

    def __len__(self) -> int:
        return int(self.at.size)

    @property
    def down(self) -> bool:
        """Whether the series falls in them."""
        return len(self) > 0 and bool(self.sizes[0] < 0)

    def without(self, values: Array) -> Array:
        """The series with every step taken out."""
        fallen = np.zeros(values.size)
        fallen[self.at] = self.sizes
        return values - np.cumsum(fallen)

    def between(self, times_s: Array, values: Array) -> tuple[Array, Array]:
        """Mean time and mean value of what lies between each two neighbouring steps, shape (k - 1,) of k steps."""
        first, sizes = self.at[:-1], np.diff(self.at)
        inside = slice(self.at[0], self.at[-1])
        times, levels = (np.add.reduceat(x[inside], first - self.at[0]) / sizes for x in (times_s, values))
        return times, levels

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
        fewest = float(scipy.special.chdtri(2 * count, confidence)) / 2
        most = float(scipy.special.chdtri(2 * count + 2, 1 - confidence)) / 2
        low, high = sorted((size * fewest / duration_s, size * most / duration_s))
        return low, high


NO_STEPS = Steps(np.empty(0, dtype=np.int64), np.empty(0))


def steps(values: Array) -> Steps:
    """The steps of values in order of time, shape (n,), n at least 2: those up, or those down if they are more.

    A step is a change between two neighbours that is beyond the median of all changes by more than 8 times the
    usual (1.4826 times their median absolute deviation), and of which at least half stays: the medians of the 5
    points before and after it differ by as much, less the drift. Under noise it is a difference between the means
    of the 5 points before and after that is the greatest nearby, more than 5 times the usual, and stays. None where
    there are half as many changes the other way, since what goes up and down does not grow; nor where there are
    more than 1,000, which are no rare events: a line sees them. Steps at neighbouring points are one that takes its
    time.
    """
    jumps = _one_way(*_jumps(values))
    return _joined(_one_way(*_with_levels(values, jumps)))


def _joined(found: Steps) -> Steps:
    if not len(found):
        return found
    first = np.flatnonzero(np.diff(found.at, prepend=-2) > 1)
    return Steps(found.at[first], np.add.reduceat(found.sizes, first))


def _one_way(at: Places, sizes: Array) -> Steps:
    up = sizes > 0
    rises, falls = int(np.count_nonzero(up)), int(np.count_nonzero(~up))
    if at.size > _MOST or max(rises, falls) <= 2 * min(rises, falls):
        return NO_STEPS
    kept = up if rises > falls else ~up
    return Steps(at[kept], sizes[kept])


def _usual(changes: Array) -> tuple[float, float]:
    median = float(np.median(changes))
    return median, 1.4826 * float(np.median(np.abs(changes - median)))


def _jumps(values: Array) -> tuple[Places, Array]:
    """Changes between neighbours that are far beyond the usual and stay, unless as many go back."""
    changes = np.diff(values)
    median, usual = _usual(changes)
    beyond = changes - median
    least = max(usual, _ROUNDING * float(np.abs(values).max()))
    far = np.flatnonzero(np.abs(beyond) > _BEYOND_NOISE * least)
    kept = _one_way(far, beyond[far]).at
    drift = _NEIGHBOURS * median
    stay = [i for i in kept.tolist() if (_level_change(values, i + 1) - drift) / beyond[i] >= _STAYS]
    at = np.array(stay, dtype=np.int64)
    return at + 1, beyond[at]


def _level_change(values: Array, at: int) -> float:
    before, after = values[max(0, at - _NEIGHBOURS) : at], values[at : at + _NEIGHBOURS]
    return float(np.median(after) - np.median(before))


def _with_levels(values: Array, jumps: Steps) -> tuple[Places, Array]:
    """With the steps that only the means before and after them tell."""
    w = _NEIGHBOURS
    if values.size < 4 * w:
        return jumps.at, jumps.sizes
    rest = jumps.without(values)
    sums = np.cumsum(np.concatenate(([0.0], rest - rest[0])))
    changes = (sums[2 * w :] - 2.0 * sums[w:-w] + sums[: -2 * w]) / w
    median, usual = _usual(changes)
    beyond = changes - median
    nearby = np.lib.stride_tricks.sliding_window_view(np.pad(np.abs(beyond), w), 2 * w + 1).max(axis=1)
    far = np.flatnonzero((np.abs(beyond) > _BEYOND_NOISE_OF_MEANS * usual) & (np.abs(beyond) >= nearby))
    if usual == 0.0:
        return jumps.at, jumps.sizes
    stay = [
        i
        for i in far.tolist()
        if (_level_change(rest, i + w) - median) / beyond[i] >= _STAYS and not (np.abs(jumps.at - i - w) <= w).any()
    ]
    more = np.array(stay, dtype=np.int64)
    at = np.concatenate([jumps.at, more + w])
    order = np.argsort(at, kind="stable")
    return at[order], np.concatenate([jumps.sizes, beyond[more]])[order]
