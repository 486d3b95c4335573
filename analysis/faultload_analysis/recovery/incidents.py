"""Hysteresis: where an incident begins and ends, first in slices, then exactly among its requests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from faultload_analysis.evidence.dependence import Array, Counts, Mask
from faultload_analysis.latency.slices import Slices
from faultload_analysis.recovery.slice_rule import SliceRule


@dataclass(frozen=True, slots=True)
class Incidents:
    """Hysteresis over slices: where an incident begins and where it is over for good."""

    cut: Slices
    rule: SliceRule
    bad: Mask
    alone: Mask
    hold_s: float
    until_s: float
    last: int
    sparse_total: float | None

    def begins_at(self, i: int) -> bool:
        """Slice i is bad and so is one of the next two that hold requests; or it is bad enough alone."""
        if not self.bad[i]:
            return False
        first = self._next(self.cut.total, i + 1)
        second = self._next(self.cut.total, first + 1)
        return any(self.bad[j] for j in (first, second) if j <= self.last) or bool(self.alone[i])

    def first_from(self, i: int) -> int | None:
        """The first slice from i on in which an incident begins; None: none does."""
        while (i := self._next(self.bad, i)) <= self.last:
            if self.begins_at(i):
                return i
            i += 1
        return None

    def _next(self, flags: Counts | Mask, i: int) -> int:
        """The first slice from i on whose flag is not zero; beyond the last one when there is none."""
        block = 64
        while i <= self.last:
            found = np.flatnonzero(flags[i : min(i + block, self.last + 1)])
            if found.size:
                return i + int(found[0])
            i, block = i + block, 4 * block
        return self.last + 1

    def recovered_from(self, start: int) -> int | None:
        """The first good slice after `start` whose run of good slices lasts the hold; None: none does."""
        j = start + 1
        while j <= self.last:
            if self.cut.total[j] == 0 or self.bad[j]:
                j += 1
                continue
            held = self._held(j)
            if held is None:
                return j
            if held > self.last:
                return None
            j = held
        return None

    def _held(self, j: int) -> int | None:
        """None when the run from slice j lasts the hold, else the next slice at which one could begin."""
        lasted = 0.0
        for k in range(j, self.last + 1):
            if self.bad[k]:
                return k + 1
            end = min(float(self.cut.starts[k]) + self.cut.width_s, self.until_s, self.cut.end_s)
            if self.cut.total[k] or self.sparse_total is not None:
                lasted += end - float(self.cut.starts[k])
            if lasted >= self.hold_s - 1e-6:
                return None if self._calm(j, k) else j + 1
        return self.last + 1

    def _calm(self, j: int, k: int) -> bool:
        """Whether the failures of slices j to k together are noise, and there were requests to tell."""
        total, failed = int(self.cut.total[j : k + 1].sum()), int(self.cut.failed[j : k + 1].sum())
        enough = self.sparse_total is None or total >= 0.5 * self.sparse_total * (k + 1 - j)
        return enough and failed <= max(1, self.rule.noise(total, max(self.rule.max_bad_share, 1e-3)))

    def count_from(self, i: int) -> int:
        """How many incidents begin from slice i on."""
        count, at = 0, self.first_from(i)
        while at is not None:
            count += 1
            over = self.recovered_from(at)
            at = None if over is None else self.first_from(over)
        return count


def _convincing(share: float) -> int:
    """How many good requests in a row say with 95 % that an outage of this bad share is not on."""
    return 1 if share >= 1.0 else max(1, math.ceil(math.log(0.05) / math.log1p(-max(share, 1e-6))))


def _requests(cut: Slices, limit_s: float, a_s: float, b_s: float) -> tuple[Array, Mask]:
    times, latency = cut.requests(a_s, b_s)
    return times, latency > limit_s


def impact_bounds(cut: Slices, limit_s: float, start: int, injected_s: float) -> tuple[float, float]:
    """The earliest and the seen moment of impact: the first bad request after injection.

    Reads the slice `start`, and as many before it as it takes to find good requests.
    """
    good = cut.total - cut.over(limit_s)
    first = min(max(int(np.searchsorted(cut.starts, injected_s, side="right")) - 1, 0), start)

    def read(slice_index: int) -> tuple[Array, Mask]:
        begin = max(injected_s, float(cut.starts[slice_index]))
        return _requests(cut, limit_s, begin, cut.end_of(start))

    left = start
    times, bad = read(left)
    hits = np.flatnonzero(bad)
    if hits.size == 0:
        return injected_s, injected_s
    at = int(hits[0])
    if at == 0 and left > first:
        with_good = np.flatnonzero(good[first:left]) + first
        left = int(with_good[-1]) if with_good.size else first
        size = times.size
        times, bad = read(left)
        at += times.size - size
        while at > 0 and bad[at - 1]:
            at -= 1
    needed = _convincing(float(bad[at:].mean()))
    missing = needed - int(np.count_nonzero(~bad[:at]))
    if missing > 0 and left > first:
        enough = np.flatnonzero(np.cumsum(good[first:left][::-1]) >= missing)
        left = left - 1 - int(enough[0]) if enough.size else first
        size = times.size
        times, bad = read(left)
        at += times.size - size
    good_before = np.flatnonzero(~bad[:at])
    low = float(times[good_before[-needed]]) if good_before.size >= needed else injected_s
    return min(low, float(times[at])), float(times[at])


def recovery_bounds(cut: Slices, limit_s: float, start: int, good: int) -> tuple[float, float, float]:
    """Last bad request, first good one after it, and the latest that the incident can have lasted.

    Reads the last slice with a bad request before slice `good`, and as many after it as it takes to find
    good requests.
    """
    over = cut.over(limit_s)
    fine = cut.total - over
    left = start + int(np.flatnonzero(over[start:good])[-1])

    def read(slice_index: int) -> tuple[Array, Mask]:
        return _requests(cut, limit_s, float(cut.starts[left]), cut.end_of(slice_index))

    last = cut.starts.size - 1
    later = np.flatnonzero(fine[good:])
    right = good + int(later[0]) if later.size else last
    times, bad = read(right)
    at = int(np.flatnonzero(bad[: np.searchsorted(times, cut.starts[good])])[-1])
    while at + 1 < bad.size and bad[at + 1]:
        at += 1
    tail = int(np.searchsorted(times, cut.starts[cut.index_at(float(times[at]))]))
    needed = _convincing(float(bad[min(tail, at) : at + 1].mean()))
    missing = needed - int(np.count_nonzero(~bad[at + 1 :]))
    if missing > 0 and right < last:
        enough = np.flatnonzero(np.cumsum(fine[right + 1 :]) >= missing)
        right = right + 1 + int(enough[0]) if enough.size else last
        times, bad = read(right)
    good_after = np.flatnonzero(~bad[at + 1 :]) + at + 1
    back = float(times[good_after[0]]) if good_after.size else float(cut.starts[good])
    high = float(times[good_after[needed - 1]]) if good_after.size >= needed else cut.end_s
    return float(times[at]), back, max(back, high)
