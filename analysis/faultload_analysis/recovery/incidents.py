"""Hysteresis: where an incident begins and ends, first in slices, then exactly among its requests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from faultload_analysis.evidence.dependence import Array, Counts, Mask
from faultload_analysis.latency.slices import Slices
from faultload_analysis.recovery.gaps import Gaps
from faultload_analysis.recovery.slice_rule import SliceRule


@dataclass(frozen=True, slots=True)
class Incidents:
    """Hysteresis over slices: where an incident begins and where it is over for good.

    `bad`, `alone`: as `SliceRule.judge` finds them, and the gaps that are as bad.
    """

    cut: Slices
    rule: SliceRule
    bad: Mask
    alone: Mask
    hold_s: float
    until_s: float
    last: int
    sparse_total: float | None

    def begins_at(self, i: int) -> bool:
        """Slice i is bad and so is one of the next two that hold requests, or should; or it is bad enough alone."""
        if not self.bad[i]:
            return False
        says = (self.cut.total > 0) | self.alone
        first = self._next(says, i + 1)
        second = self._next(says, first + 1)
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

    def last_return(self, start: int, open_until_s: float) -> tuple[int | None, int]:
        """The last recovery of the incident that begins at `start`, as `recovered_from`, and how many dips it had.

        What begins anew before `open_until_s` is a dip of the same incident.
        """
        good, dips = self.recovered_from(start), 1
        while good is not None:
            again = self.first_from(good)
            if again is None or self.cut.starts[again] >= open_until_s - 1e-9:
                break
            good, dips = self.recovered_from(again), dips + 1
        return good, dips

    def good_at_the_end(self, start: int) -> tuple[int | None, float]:
        """The first good slice after the last bad one since `start`, None without any; and for how long it held."""
        j = start + int(np.flatnonzero(self.bad[start : self.last + 1])[-1]) + 1
        while j <= self.last and not self.cut.total[j]:
            j += 1
        if j > self.last or not self._calm(j, self.last):
            return None, 0.0
        return j, sum(self._lasts(k) for k in range(j, self.last + 1))

    def _lasts(self, k: int) -> float:
        """How much slice k adds to a run of good slices, seconds."""
        if not self.cut.total[k] and self.sparse_total is None:
            return 0.0
        start = float(self.cut.starts[k])
        return min(start + self.cut.width_s, self.until_s, self.cut.end_s) - start

    def _held(self, j: int) -> int | None:
        """None when the run from slice j lasts the hold, else the next slice at which one could begin."""
        lasted = 0.0
        for k in range(j, self.last + 1):
            if self.bad[k]:
                return k + 1
            lasted += self._lasts(k)
            if lasted >= self.hold_s - 1e-6:
                return None if self._calm(j, k) else j + 1
        return self.last + 1

    def _calm(self, j: int, k: int) -> bool:
        """Whether the failures of slices j to k together are noise, and there were requests to tell."""
        total, failed = int(self.cut.total[j : k + 1].sum()), int(self.cut.failed[j : k + 1].sum())
        enough = self.sparse_total is None or total >= 0.5 * self.sparse_total * (k + 1 - j)
        return enough and failed <= max(1, self.rule.noise(total, max(self.rule.max_bad_share, 1e-3)))

    def spans_from(self, i: int) -> list[tuple[int, int | None]]:
        """The incidents that begin from slice i on: the first slice of each, and the good one after it, or None."""
        found: list[tuple[int, int | None]] = []
        at = self.first_from(i)
        while at is not None:
            over = self.recovered_from(at)
            found.append((at, over))
            at = None if over is None else self.first_from(over)
        return found


def _convincing(share: float) -> int:
    """How many good requests in a row say with 95 % that an outage of this bad share is not on."""
    return 1 if share >= 1.0 else max(1, math.ceil(math.log(0.05) / math.log1p(-max(share, 1e-6))))


def _requests(cut: Slices, limit_s: float, a_s: float, b_s: float) -> tuple[Array, Mask]:
    times, latency = cut.requests(a_s, b_s)
    return times, latency > limit_s


def _first_bad(cut: Slices, limit_s: float, slice_index: int, since_s: float) -> float | None:
    """The first bad request of a slice from a moment on; None without any."""
    times, bad = _requests(cut, limit_s, max(since_s, float(cut.starts[slice_index])), cut.end_of(slice_index))
    return float(times[np.argmax(bad)]) if bad.any() else None


def impact_bounds(cut: Slices, limit_s: float, start: int, injected_s: float) -> tuple[float, float]:
    """The earliest and the seen moment of impact: the first bad request after injection.

    Reads the slice `start`, and as many before it as it takes to find good requests. Where that slice is a gap:
    the last request before it; where only users who wait make it bad: the first one of the last bad slice before.
    """
    good = cut.total - cut.over(limit_s)
    first = min(max(int(np.searchsorted(cut.starts, injected_s, side="right")) - 1, 0), start)
    if not cut.total[start]:
        before = np.flatnonzero(cut.total[first:start]) + first
        if not before.size:
            return injected_s, injected_s
        times, _ = _requests(cut, limit_s, float(cut.starts[before[-1]]), cut.end_of(start))
        at = max(injected_s, float(times[-1]))
        return at, at

    def read(slice_index: int) -> tuple[Array, Mask]:
        begin = max(injected_s, float(cut.starts[slice_index]))
        return _requests(cut, limit_s, begin, cut.end_of(start))

    left = start
    times, bad = read(left)
    hits = np.flatnonzero(bad)
    if hits.size == 0:
        slow = np.flatnonzero(cut.over(limit_s)[first:start]) + first
        if not slow.size or (at_s := _first_bad(cut, limit_s, int(slow[-1]), injected_s)) is None:
            return injected_s, injected_s
        return at_s, at_s
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


def recovery_bounds(cut: Slices, limit_s: float, start: int, good: int, gaps: Gaps) -> tuple[float, float, float]:
    """Last bad request, first good one after it, and the latest that the incident can have lasted.

    Reads the last slice with a bad request before slice `good`, and as many after it as it takes to find
    good requests. Where a gap came last the first good request ended it; it lasted at least until no more than
    three of the requests that were due were missing, which has a probability of 5 % where users are served.
    """
    over = cut.over(limit_s)
    failing, empty = np.flatnonzero(over[start:good]), np.flatnonzero(gaps.bad[start:good])
    last_bad = start + int(failing[-1]) if failing.size else -1
    last_gap = start + int(empty[-1]) if empty.size else -1
    waiting = last_gap >= 0 and bool(cut.total[last_gap])
    if last_gap > last_bad or (waiting and last_gap == last_bad):
        ended = float(gaps.ends_s[last_gap]) if waiting else float(cut.starts[good])
        times, bad = _requests(cut, limit_s, ended, cut.end_of(good))
        back = float(times[np.flatnonzero(~bad)[0]]) if not bad.all() else cut.end_of(good)
        if waiting:
            return ended, back, back
        rate = float(gaps.expected[last_gap]) / cut.width_s
        return max(float(cut.starts[start]), back - 3.0 / rate), back, back
    fine = cut.total - over
    left = last_bad

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


def last_bad_s(cut: Slices, limit_s: float, start: int, last: int, gaps: Gaps) -> float:
    """The last bad moment of the slices `start` to `last`: of a request, or of a gap."""
    failing = np.flatnonzero(cut.over(limit_s)[start : last + 1])
    empty = np.flatnonzero(gaps.bad[start : last + 1])
    if empty.size and (not failing.size or empty[-1] > failing[-1]):
        return float(gaps.ends_s[start + int(empty[-1])])
    at = start + int(failing[-1])
    times, bad = _requests(cut, limit_s, float(cut.starts[at]), cut.end_of(at))
    return float(times[np.flatnonzero(bad)[-1]])
