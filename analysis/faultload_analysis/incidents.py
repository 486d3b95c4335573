"""Hysteresis: where an incident begins and ends among slices, and where exactly among its requests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .dependence import Mask
from .slices import SliceRule, Slices, noise


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
        following = np.flatnonzero(self.cut.total[i + 1 : self.last + 1])[:2] + i + 1
        return bool(self.alone[i] or self.bad[following].any())

    def first_from(self, i: int) -> int | None:
        return next(
            (int(j) for j in np.flatnonzero(self.bad[: self.last + 1]) if j >= i and self.begins_at(int(j))), None
        )

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
        return enough and failed <= max(1, noise(total, max(self.rule.max_bad_share, 1e-3)))

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


def impact_bounds(cut: Slices, bad: Mask, start: int, injected_s: float) -> tuple[float, float]:
    """The earliest and the seen moment of impact: the first bad request after injection."""
    from_injection = int(np.searchsorted(cut.times, injected_s))
    begin, end = max(int(cut.offsets[start]), from_injection), int(cut.offsets[start + 1])
    hits = np.flatnonzero(bad[begin:end])
    if hits.size == 0:
        return injected_s, injected_s
    at = begin + int(hits[0])
    while at > from_injection and bad[at - 1]:
        at -= 1
    share = float(bad[at:end].mean())
    good_before = np.flatnonzero(~bad[from_injection:at]) + from_injection
    needed = _convincing(share)
    low = float(cut.times[good_before[-needed]]) if good_before.size >= needed else injected_s
    return min(low, float(cut.times[at])), float(cut.times[at])


def recovery_bounds(cut: Slices, bad: Mask, start: int, good: int) -> tuple[float, float, float]:
    """Last bad request, first good one after it, and the latest that the incident can have lasted."""
    begin, end = int(cut.offsets[start]), int(cut.offsets[good])
    at = begin + int(np.flatnonzero(bad[begin:end])[-1])
    while at + 1 < bad.size and bad[at + 1]:
        at += 1
    tail = int(cut.offsets[cut.index_at(float(cut.times[at]))])
    share = float(bad[min(tail, at) : at + 1].mean())
    good_after = np.flatnonzero(~bad[at + 1 :]) + at + 1
    back = float(cut.times[good_after[0]]) if good_after.size else float(cut.starts[good])
    needed = _convincing(share)
    high = float(cut.times[good_after[needed - 1]]) if good_after.size >= needed else cut.end_s
    return float(cut.times[at]), back, max(back, high)
