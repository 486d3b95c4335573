"""Latency broken down by request, journey or phase, and the worst stretch of time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from faultload_analysis.latency.histogram import Array, checked
from faultload_analysis.latency.quantiles import LatencySummary, summary
from faultload_analysis.latency.rank import Probability, rank

STEPS = 10
MOST_WINDOWS = 10_000_000


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Summaries of `total` and of each of `groups` by name, in the order of the names; empty ones have n = 0."""

    total: LatencySummary
    groups: Mapping[str, LatencySummary]


def by_group(values: npt.ArrayLike, groups: npt.ArrayLike, names: Sequence[str]) -> Breakdown:
    """Describe latencies by request, journey, phase, or what else `groups` tells apart.

    `values`: shape (n,), seconds, +inf for failed. `groups`: shape (n,), integers, the index into `names` of
    each value's group. O(n log n) time. ValueError for NaN, -inf, differing shapes, an index outside `names`
    or a name given twice.
    """
    array = checked(values)
    codes = np.asarray(groups)
    if codes.size == 0:
        codes = codes.astype(np.int64)
    if codes.shape != array.shape:
        raise ValueError(f"values {array.shape} and groups {codes.shape} must be one shape (n,)")
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"groups are indices into names, not {codes.dtype}")
    if len(set(names)) != len(names):
        raise ValueError(f"a name is given twice: {', '.join(sorted(names))}")
    if codes.size and not (int(codes.min()) >= 0 and int(codes.max()) < len(names)):
        raise ValueError(f"groups reach from {codes.min()} to {codes.max()}, but there are {len(names)} names")
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1))
    parts = {name: summary(array[order[edges[i] : edges[i + 1]]]) for i, name in enumerate(names)}
    return Breakdown(summary(array), MappingProxyType(parts))


@dataclass(frozen=True, slots=True)
class WorstWindow:
    """The window [start_s, end_s) whose quantile `value` is the largest; `n` requests, share `failed_share`.

    `value` may be +inf. All of these are None (and n 0) when no window holds the `needed` requests. `ranked`
    windows did, `too_few` windows with at least one request did not. `why` is a sentence for the reader.
    """

    start_s: float | None
    end_s: float | None
    value: float | None
    n: int
    failed_share: float | None
    needed: int
    ranked: int
    too_few: int
    why: str


def requests_needed(p: Probability) -> int:
    """The fewest requests whose p-quantile is worth showing: 1 for p50, 10 for p90, 100 for p99, 1000 for p99.9.

    The smallest power of ten at which x_(ceil(np)) is not the maximum; 1 up to the median, and for the maximum
    itself. Source: Rally (elastic/rally, percentiles_for_sample_size).
    """
    needed = 10
    if rank(needed, p) <= needed // 2 or p == 1:
        return 1
    while rank(needed, p) == needed:
        needed *= 10
    return needed


def worst_window(
    times_s: npt.ArrayLike,
    latency_s: npt.ArrayLike,
    *,
    width_s: float,
    p: Probability = 0.99,
    min_requests: int = 1,
) -> WorstWindow:
    """The window of `width_s` with the largest p-quantile of latency, x_(ceil(np)), failed ones as +inf.

    `times_s` (intended starts), `latency_s`: shape (n,), seconds. Windows start at the first request and then
    every tenth of their width, until one holds the last request: a window that lies between two of them is
    seen with nine tenths of its width or more. Those with fewer than max(`min_requests`,
    `requests_needed(p)`) requests are not ranked: their quantile would be their maximum. Of equal quantiles
    the larger failed share wins, then the earlier start. It is the worst of many: to be shown, never to be
    judged as if it had been picked beforehand.

    Times in any order: they are sorted, so where the clock went backwards a request counts when the clock
    said. O(n log n) time. ValueError for differing shapes, NaN, infinite times, -inf latency, a width that is
    not positive, or more than 10 million windows.
    """
    times, latency = np.asarray(times_s, dtype=np.float64), checked(latency_s)
    if times.shape != latency.shape:
        raise ValueError(f"times {times.shape} and latencies {latency.shape} must be one shape (n,)")
    if not np.isfinite(times).all():
        raise ValueError("times hold NaN or infinite values")
    if not (math.isfinite(width_s) and width_s > 0):
        raise ValueError(f"a window has a positive width, not {width_s} s")
    needed = max(min_requests, requests_needed(p))
    if times.size == 0:
        return _none(needed, 0, "no requests to look at")
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        times, latency = times[order], latency[order]
    starts = _starts(float(times[0]), float(times[-1]), width_s)
    first = np.searchsorted(times, starts)
    last = np.searchsorted(times, starts + width_s)
    counts = last - first
    enough = np.flatnonzero(counts >= needed)
    too_few = int(np.count_nonzero(counts)) - enough.size
    if enough.size == 0:
        most = int(counts.max())
        return _none(needed, too_few, f"no window of {width_s:g} s holds {needed} requests, the fullest {most}")
    failures = np.concatenate(([0], np.cumsum(np.isposinf(latency))))
    shares = (failures[last] - failures[first]) / np.maximum(counts, 1)
    best, value = -1, -math.inf
    for i in enough.tolist():
        part = latency[first[i] : last[i]]
        r = rank(part.size, p)
        if np.count_nonzero(part >= value) <= part.size - r:
            continue  # its quantile is below the largest so far
        mine = float(np.partition(part, r - 1)[r - 1])
        if best < 0 or (mine, shares[i]) > (value, shares[best]):
            best, value = i, mine
    why = f"the worst of {enough.size} windows of {width_s:g} s, one every {width_s / STEPS:g} s"
    if too_few:
        why += f"; {too_few} with fewer than {needed} requests are left out"
    return WorstWindow(
        float(starts[best]),
        float(starts[best] + width_s),
        value,
        int(counts[best]),
        float(shares[best]),
        needed,
        int(enough.size),
        too_few,
        why,
    )


def _starts(first_s: float, last_s: float, width_s: float) -> Array:
    """The starts of the windows, shape (w,)."""
    step = width_s / STEPS
    count = max(1.0, math.floor((last_s - first_s - width_s) / step) + 2.0)
    if count > MOST_WINDOWS:
        raise ValueError(f"{count:.3g} windows of {width_s:g} s between {first_s:g} and {last_s:g} s are too many")
    return np.asarray(first_s + step * np.arange(int(count)), dtype=np.float64)


def _none(needed: int, too_few: int, why: str) -> WorstWindow:
    return WorstWindow(None, None, None, 0, None, needed, 0, too_few, why)
