"""The load generator's own health: the seconds of a run in which its measurements cannot be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Counts, Mask
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import quantile
from faultload_analysis.latency.rank import rank
from faultload_analysis.latency.slices import SliceBuilder

MIN_LIMIT_S = 0.010
LIMIT_SHARE = 0.05
LATENCY_SHARE = 0.1
CPU_LIMIT_PERCENT = 95.0
SPOILED_SHARE = 0.05


def limit_for(bound_s: float | None) -> float:
    """How late the generator may be: max(10 ms, 5 % of the tightest latency bound that reads the second)."""
    return MIN_LIMIT_S if bound_s is None else max(MIN_LIMIT_S, LIMIT_SHARE * bound_s)


@dataclass(frozen=True, slots=True)
class Spoiled:
    """Which seconds are spoiled, and the generator's health over all of them.

    `mask`: shape (seconds,), entry i is the second from `start_s + i`. The P99s and CPU figures are None
    where nothing was measured. `reasons` are sentences with counts. `untimely`: shape (seconds,), those that are
    spoiled by more than a busy CPU: late, or not measured.
    """

    start_s: float
    mask: Mask
    slip_p99_s: float | None
    loop_lag_p99_s: float | None
    cpu_percent_max: float | None
    cpu_percent_mean: float | None
    reasons: tuple[str, ...]
    untimely: Mask

    @property
    def seconds(self) -> int:
        """How many seconds are spoiled."""
        return int(np.count_nonzero(self.mask))

    def _slice(self, start_s: float, end_s: float) -> Mask:
        if math.isnan(start_s) or math.isnan(end_s):
            raise ValueError(f"no stretch from {start_s} to {end_s} s")
        size = float(self.mask.size)
        first = math.floor(min(max(start_s - self.start_s + 1e-9, 0.0), size))
        return self.mask[first : max(first, math.ceil(min(end_s - self.start_s - 1e-9, size)))]

    def share(self, start_s: float, end_s: float) -> float:
        """Share of the seconds that touch [start_s, end_s) which are spoiled; 0 when there are none."""
        part = self._slice(start_s, end_s)
        return float(part.mean()) if part.size else 0.0

    def any_in(self, start_s: float, end_s: float) -> bool:
        """Whether a second that touches [start_s, end_s) is spoiled."""
        return bool(self._slice(start_s, end_s).any())

    def unfit(self, times_s: npt.ArrayLike) -> str:
        """Why a stretch cannot be judged: more than 5 % of its seconds are spoiled; empty when it can.

        `times_s`: shape (n,), a moment in each second of the stretch.
        """
        share = float(np.mean(self.at(times_s))) if np.size(times_s) else 0.0
        if share <= SPOILED_SHARE:
            return ""
        return f"the load generator was the limit in {share:.0%} of this phase ({'; '.join(self.reasons)})"

    def at(self, times_s: npt.ArrayLike) -> Mask:
        """Shape (n,): whether each moment lies in a spoiled second; False outside of the judged time.

        ValueError for NaN.
        """
        place = np.floor(np.asarray(times_s, dtype=np.float64) - self.start_s)
        inside = (place >= 0) & (place < self.mask.size)
        out = np.zeros(place.shape, dtype=np.bool_)
        out[inside] = self.mask[place[inside].astype(np.int64)]
        if not inside.all() and np.isnan(place).any():
            raise ValueError("times hold NaN")
        return out


@dataclass(frozen=True, slots=True)
class Slips:
    """How late the generator was: `p99_s` of the slips of each second, shape (seconds,), NaN where none was due.

    Entry i is the second from `start_s + i`; `all_p99_s` over all of them, None without any.
    """

    start_s: float
    p99_s: Array
    all_p99_s: float | None


class SlipBuilder:
    """Slips from chunks in order of intended start, over the seconds of [start_s, end_s)."""

    def __init__(self, start_s: float, end_s: float) -> None:
        """No seconds when the end is not after the start. ValueError unless both are finite."""
        if not (math.isfinite(start_s) and math.isfinite(end_s)):
            raise ValueError(f"no seconds between {start_s} and {end_s}")
        self._start_s = start_s
        seconds = max(0, math.ceil(end_s - start_s - 1e-9))
        self._span = (start_s, start_s + seconds)
        self._cut = SliceBuilder(*self._span, 1.0) if seconds else None
        self._all = Population()

    def add(self, intended_s: npt.ArrayLike, slip_s: npt.ArrayLike) -> None:
        """The next slots: when they were due and the generator's own lateness, shape (n,), seconds.

        ValueError for differing shapes, NaN, or a clock that goes back.
        """
        times, slip = _pair(intended_s, slip_s, "slip")
        if self._cut is not None:
            self._cut.add(times, slip)
            low, high = np.searchsorted(times, self._span)
            self._all.add(slip[low:high])

    def finish(self) -> Slips:
        """The slips of everything added so far."""
        nothing = np.empty(0), np.empty(0)
        p99 = np.zeros(0) if self._cut is None else self._cut.finish(lambda _a, _b: nothing).p99
        n = self._all.n
        return Slips(self._start_s, p99, self._all.order_statistic(rank(n, 0.99)) if n else None)


def slips(intended_s: npt.ArrayLike, slip_s: npt.ArrayLike, *, start_s: float, end_s: float) -> Slips:
    """The slips of slots in any order, shape (n,) each; see `SlipBuilder`."""
    times, slip = _pair(intended_s, slip_s, "slip")
    order = np.argsort(times, kind="stable")
    builder = SlipBuilder(start_s, end_s)
    builder.add(times[order], slip[order])
    return builder.finish()


def spoiled_seconds(
    slips: Slips,
    health_times_s: npt.ArrayLike,
    loop_lag_s: npt.ArrayLike,
    cpu_percent: npt.ArrayLike,
    *,
    limit_s: float,
    median_latency_s: npt.ArrayLike | None = None,
) -> Spoiled:
    """Judge every second of one load process.

    `slips`: its own lateness. `health_times_s`, `loop_lag_s`, `cpu_percent`: shape (m,), about one a second; a
    lag reaches back from its moment over its own length. A second is spoiled when the P99 (x_(ceil(0.99 n))) of
    the slips in it or of the loop lags that touch it exceeds `limit_s` (see `limit_for`), when CPU in it exceeds
    95 %, or when no health was measured within half a second of it. NaN or infinite health is not measured.

    `median_latency_s`, shape (m,): the median latency of the requests that ended in that second, NaN where
    none did. Where requests take long, the generator may be late by a tenth of that (`LATENCY_SHARE`): a
    frozen target that answers hundreds at once keeps it busy for a moment, which adds little to latencies of
    seconds; a stall of the generator itself makes latencies no longer than itself, and is not excused.

    Judge each process by itself and join them with `union`. ValueError for differing shapes, or a limit that is
    not above 0.
    """
    if not limit_s > 0:
        raise ValueError(f"the generator must be allowed to be late by more than 0 s, not {limit_s}")
    start_s, seconds = slips.start_s, slips.p99_s.size
    h, lag = _pair(health_times_s, loop_lag_s, "loop lag")
    _, cpu = _pair(health_times_s, cpu_percent, "cpu")
    median = np.full(lag.shape, np.nan) if median_latency_s is None else _pair(h, median_latency_s, "median")[1]
    allowed = np.fmax(limit_s, LATENCY_SHARE * median)
    known = np.isfinite(h) & np.isfinite(lag) & np.isfinite(cpu)
    h, lag, cpu, allowed = h[known], lag[known], cpu[known], allowed[known]
    moments = h - start_s
    here = np.floor(moments).astype(np.int64)
    by_second = np.full(seconds, limit_s)
    for touched in (here - 1, here):  # what was due in a second may end in the next one
        inside = _inside(touched, seconds)
        np.maximum.at(by_second, touched[inside], allowed[inside])
    late = np.asarray(slips.p99_s > by_second, dtype=np.bool_)
    missing = np.ones(seconds, dtype=np.bool_)
    first, last = np.ceil(moments - 1.5).astype(np.int64), np.floor(moments + 0.5).astype(np.int64)
    for near in (first, first + 1, first + 2):
        missing[near[_inside(near, seconds) & (near <= last)]] = False
    lagging = np.zeros(seconds, dtype=np.bool_)
    for at in np.flatnonzero(lag > allowed):
        lagging[max(0, math.floor(moments[at] - lag[at])) : max(0, int(here[at]) + 1)] = True
    busy = np.zeros(seconds, dtype=np.bool_)
    busy[here[_inside(here, seconds) & (cpu > CPU_LIMIT_PERCENT)]] = True
    measured = (h >= start_s) & (h < start_s + seconds + 1.0)
    causes = (
        (late, f"slip P99 over {limit_s * 1e3:.0f} ms"),
        (lagging, f"loop lag over {limit_s * 1e3:.0f} ms"),
        (busy, f"CPU over {CPU_LIMIT_PERCENT:.0f} %"),
        (missing, "health not measured"),
    )
    return Spoiled(
        start_s=start_s,
        mask=late | lagging | busy | missing,
        slip_p99_s=slips.all_p99_s,
        loop_lag_p99_s=quantile(lag[measured], 0.99) if measured.any() else None,
        cpu_percent_max=float(cpu[measured].max()) if measured.any() else None,
        cpu_percent_mean=float(cpu[measured].mean()) if measured.any() else None,
        reasons=tuple(f"{text} in {count} s" for m, text in causes if (count := int(m.sum()))),
        untimely=late | lagging | missing,
    )


def _inside(places: Counts, size: int) -> Mask:
    return np.asarray((places >= 0) & (places < size), dtype=np.bool_)


def _pair(times: npt.ArrayLike, values: npt.ArrayLike, name: str) -> tuple[Array, Array]:
    t, v = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.shape != v.shape or t.ndim != 1:
        raise ValueError(f"{name}: times {t.shape} and values {v.shape} must be one shape (n,)")
    return t, v


def union(parts: Sequence[Spoiled]) -> Spoiled:
    """Join the judgements of several load processes over the same seconds: spoiled in one is spoiled.

    The P99s and the CPU maximum are the worst process's, the CPU mean the highest mean. ValueError when
    there is none or their seconds differ.
    """
    if not parts:
        raise ValueError("no load process to join")
    first = parts[0]
    if any(p.start_s != first.start_s or p.mask.size != first.mask.size for p in parts):
        raise ValueError("load processes were judged over different seconds")

    def most(values: list[float | None]) -> float | None:
        return max((v for v in values if v is not None), default=None)

    return Spoiled(
        start_s=first.start_s,
        mask=np.logical_or.reduce([p.mask for p in parts]),
        slip_p99_s=most([p.slip_p99_s for p in parts]),
        loop_lag_p99_s=most([p.loop_lag_p99_s for p in parts]),
        cpu_percent_max=most([p.cpu_percent_max for p in parts]),
        cpu_percent_mean=most([p.cpu_percent_mean for p in parts]),
        reasons=tuple(dict.fromkeys(r for p in parts for r in p.reasons)),
        untimely=np.logical_or.reduce([p.untimely for p in parts]),
    )


@dataclass(frozen=True, slots=True)
class OfferedAchieved:
    """What the schedule asked for and what the generator delivered, in slots per second.

    `share` = 1 - (late + unsent) / planned: only what the generator owes counts. None: nothing was planned.
    """

    offered_per_s: float
    achieved_per_s: float
    planned: int
    late: int
    unsent: int
    share: float | None


def offered_achieved(
    planned: int, begun: int, late: int, dropped_busy: int, *, duration_s: float
) -> OfferedAchieved:
    """Compare offered with achieved load.

    `planned`: slots of the schedule in the judged time; `begun`: those that became an iteration, `late` of them
    by more than the limit through the generator's own doing (waiting for a user while all were busy is not);
    `dropped_busy`: slots dropped while every user was busy. Slots neither begun nor dropped so are unsent while
    a user was free: the generator's doing, like the late ones. ValueError when the duration is not above 0
    and finite or a count is negative.
    """
    if not 0 < duration_s < math.inf or min(planned, begun, late, dropped_busy) < 0 or late > begun:
        raise ValueError(f"not counts of slots: {planned=}, {begun=}, {late=}, {dropped_busy=}, {duration_s=}")
    unsent = max(0, planned - begun - dropped_busy)
    share = 1.0 - min(1.0, (late + unsent) / planned) if planned > 0 else None
    return OfferedAchieved(planned / duration_s, begun / duration_s, planned, late, unsent, share)
