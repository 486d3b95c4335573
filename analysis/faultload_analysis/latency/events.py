"""The longest event that is declared (`stall=`): the requests that it hits, and whether a longer one was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.latency.windows import WindowCounter

_BY_CHANCE = 0.05
"""So many stretches as long as the longest may be expected of requests that are slow by chance."""


@dataclass(frozen=True, slots=True)
class LongestEvent:
    """What it means for a run that no event slows its requests for longer than `stall_s` at a stretch.

    `size`, `inflation`: E[S] and E[S^2]/E[S] of the number S of requests due within `stall_s`, where any are.
    `longest`, `longest_s`: the unbroken stretch of slow requests that lasted longest, from the first to the last of
    them. `slow`: how many of all `n` were.
    """

    stall_s: float
    size: float
    inflation: float
    longest: int
    longest_s: float
    slow: int
    n: int

    @property
    def was_longer(self) -> bool:
        """Whether that stretch is a longer event: slow requests do not form it by chance after a declared one."""
        more = self.longest - math.ceil(self.inflation)
        if self.longest_s <= self.stall_s or more <= 0:
            return False
        return self.n * (self.slow / self.n) ** more < _BY_CHANCE


class EventCounter(WindowCounter):
    """A `WindowCounter` with windows as long as the longest event, that takes its chunks in order of time."""

    def __init__(self, stretches: Sequence[tuple[float, float]], width_s: float, over: float | None = None) -> None:
        super().__init__(stretches, width_s, over)
        self._n = self._slow = self._longest = 0
        self._longest_s = 0.0
        self._open: tuple[int, float] | None = None

    def add(self, times_s: npt.ArrayLike, values: npt.ArrayLike) -> None:
        super().add(times_s, values)
        times, slow = np.asarray(times_s, dtype=np.float64), self.misses(values)
        self._n += slow.size
        self._slow += int(np.count_nonzero(slow))
        if not slow.size:
            return
        edges = np.flatnonzero(np.diff(np.concatenate(([False], slow, [False])).astype(np.int8)))
        counts, since, until = edges[1::2] - edges[::2], times[edges[::2]], times[edges[1::2] - 1]
        if self._open is not None and slow[0]:
            counts[0] += self._open[0]
            since[0] = self._open[1]
        self._open = (int(counts[-1]), float(since[-1])) if slow[-1] else None
        if counts.size:
            worst = int(np.argmax(until - since))
            if until[worst] - since[worst] > self._longest_s:
                self._longest, self._longest_s = int(counts[worst]), float(until[worst] - since[worst])

    def found(self) -> LongestEvent:
        """What the declared event means for the values so far; one window at least as long as all hits them all."""
        held = self.total[self.total > 0].astype(np.float64)
        size, inflation = float(self._n), float(self._n)
        if held.size:
            size, inflation = float(held.mean()), float((held * held).sum() / held.sum())
        return LongestEvent(
            self.width_s, max(1.0, size), max(1.0, inflation), self._longest, self._longest_s, self._slow, self._n
        )
