"""After an overload: whether the system comes back on its own, how fast, and at which loads it failed and
recovered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Counts, Mask
from faultload_analysis.evidence.inputs import checked_counts
from faultload_analysis.evidence.verdict import Estimate, Verdict, no_data
from faultload_analysis.recovery.noise import noise

TIMES_TRIGGER = 5.0
MINIMUM_S = 300.0
_LOAD_TOLERANCE = 0.1
_IMPROVED = 0.8
_RELAPSED = 0.1


class OverloadState(StrEnum):
    """What the system did once the trigger was gone and the load was back to normal.

    ABSORBED (no impact), RECOVERED, SLOW (recovered, but slowly), METASTABLE (it stays down), TOO_SHORT (not
    watched long enough to say) or NOT_MEASURABLE.
    """

    ABSORBED = "absorbed"
    RECOVERED = "recovered"
    SLOW = "slow"
    METASTABLE = "metastable"
    TOO_SHORT = "too short to say"
    NOT_MEASURABLE = "not measurable"


@dataclass(frozen=True, slots=True)
class Overload:
    """One trigger and what followed. Times are seconds since the trigger ended.

    `recover_s`: until goodput was back, between `low_s` and `high_s`; None: never within `watched_s`, with
    `low_s` the last that was seen of the trouble. `needed_s`: how long had to be watched to call it metastable.
    `resolution_s`: high_s - low_s. `bad_share_after`: of all requests after the trigger.
    """

    state: OverloadState
    recover_s: float | None
    low_s: float | None
    high_s: float | None
    watched_s: float
    needed_s: float
    bad_share_before: float | None
    bad_share_after: float | None
    why: str

    @property
    def resolution_s(self) -> float | None:
        """How far apart the two bounds are, seconds; None when either is missing."""
        return None if self.low_s is None or self.high_s is None else self.high_s - self.low_s


def overload_recovery(
    starts_s: npt.ArrayLike,
    total: npt.ArrayLike,
    bad: npt.ArrayLike,
    *,
    width_s: float,
    trigger_start_s: float,
    trigger_end_s: float,
    max_bad_share: float = 0.01,
    hold_s: float = 10.0,
    slow_after_s: float | None = None,
    minimum_s: float = MINIMUM_S,
    latency_s: npt.ArrayLike | None = None,
) -> Overload:
    """Whether goodput came back after a trigger (overload, cold cache, outage) that lasted d and was then removed.

    `starts_s`, `total`, `bad`: shape (k,), slices of `width_s` in any order: their start, how many requests were
    intended in them, and how many of those failed or took too long. A slice is bad when more of it is than
    binomial noise (0.001) around the allowed share explains: `max_bad_share`, or half as much again as before
    the trigger. Empty slices are neither. Back: the first good slice of a run that lasts `hold_s`, with at most a
    tenth of what follows bad. Slow: later than `slow_after_s` (d) after the trigger. Metastable (Bronson et al.,
    HotOS 2021; Huang et al., OSDI 2022): not back after max(5 d, `minimum_s`) at no more than 110 % of the load
    before, and not getting better. Better: the share of bad requests, or the median `latency_s` of each slice
    (shape (k,), seconds, optional), falls from the first to the last quarter by more than a fifth, because a
    plain backlog that drains is no metastable state. Not back, but watched for less or getting better: too short
    to say. A recovery at less than 90 % of the load before proves nothing, nor does one to a bad baseline: not
    measurable. Retries of the generator belong to the load: they can be what sustains the failure.
    ValueError for differing shapes, impossible counts, times that are not finite, NaN latencies of slices that hold
    requests, or a trigger that does not end after its start.
    """
    starts, sizes, bads = _checked(starts_s, total, bad)
    order = np.argsort(starts, kind="stable")
    starts, sizes, bads = starts[order], sizes[order], bads[order]
    times_fit = -math.inf < trigger_start_s < trigger_end_s < math.inf and 0 < width_s < math.inf and hold_s > 0
    if not (times_fit and 0.0 <= max_bad_share < 1.0):
        raise ValueError(
            f"not an overload: trigger {trigger_start_s} to {trigger_end_s} s, slices of {width_s} s, "
            f"hold {hold_s} s, bad share {max_bad_share}"
        )
    seen = sizes > 0
    before = seen & (starts + width_s <= trigger_start_s + 1e-9)
    after = seen & (starts >= trigger_end_s - 1e-9)
    lasted = trigger_end_s - trigger_start_s
    base, share = _share(bads, sizes, before), _share(bads, sizes, after)
    watched = float(starts[-1]) + width_s - trigger_end_s if after.any() else 0.0
    needed = max(TIMES_TRIGGER * lasted, minimum_s)

    def outcome(
        state: OverloadState,
        why: str,
        took: float | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> Overload:
        return Overload(state, took, low, high, watched, needed, base, share, why)

    if base is None:
        return outcome(OverloadState.NOT_MEASURABLE, "no requests before the trigger: nothing to come back to")
    if int(bads[before].sum()) > noise(int(sizes[before].sum()), max(max_bad_share, 1e-3)):
        why = f"{base:.2%} of the requests before the trigger were bad, {max_bad_share:.2%} may be"
        return outcome(OverloadState.NOT_MEASURABLE, why)
    if share is None:
        return outcome(OverloadState.NOT_MEASURABLE, "no requests after the trigger")
    allowed = max(max_bad_share, 1.5 * base, 1e-3)
    is_bad = np.array([n > 0 and k > noise(n, allowed) for k, n in zip(bads.tolist(), sizes.tolist(), strict=True)])
    at, trouble = starts[after] - trigger_end_s, is_bad[after]
    load = float(
        sizes[starts >= trigger_end_s - 1e-9].mean() / sizes[starts + width_s <= trigger_start_s + 1e-9].mean()
    )
    good = _back(at, trouble, width_s, hold_s)
    if good is not None:
        if load < 1.0 - _LOAD_TOLERANCE:
            why = f"the load after the trigger was {load:.0%} of that before: coming back at less proves nothing"
            return outcome(OverloadState.NOT_MEASURABLE, why)
        return _came_back(
            outcome, at, trouble, good, is_bad[~before & ~after & seen], width_s, slow_after_s or lasted
        )
    last_bad = float(at[np.flatnonzero(trouble)[-1]]) if trouble.any() else 0.0
    low = watched if trouble[-1] else last_bad
    why = f"not back {watched:.4g} s after the trigger, {share:.1%} of the requests bad"
    if load > 1.0 + _LOAD_TOLERANCE:
        why = f"{why}; but the load after it was {load:.0%} of that before"
        return outcome(OverloadState.NOT_MEASURABLE, why)
    if not trouble[-1]:
        return outcome(
            OverloadState.TOO_SHORT, f"{why}; the good end is shorter than the hold of {hold_s:g} s", None, low
        )
    if watched < needed - 1e-6:
        return outcome(
            OverloadState.TOO_SHORT, f"{why}; {needed:.4g} s are needed to call it metastable", None, low
        )
    shares = np.asarray(bads[after] / sizes[after], dtype=np.float64)
    if _improves(shares) or (latency_s is not None and _improves(_latencies(latency_s, order, after))):
        return outcome(OverloadState.TOO_SHORT, f"{why}; it was still getting better", None, low)
    why = f"{why} and not getting better, at {load:.0%} of the load before"
    return outcome(OverloadState.METASTABLE, why, None, low)


def _came_back(
    outcome: Callable[..., Overload],
    at: Array,
    trouble: Mask,
    good: int,
    during: Mask,
    width_s: float,
    slow_after_s: float,
) -> Overload:
    if not during.any() and not trouble[:good].any():
        return outcome(OverloadState.ABSORBED, "no slice was bad, under the trigger or after it", 0.0, 0.0, 0.0)
    took = float(at[good]) if trouble[:good].any() else 0.0
    low = float(at[np.flatnonzero(trouble[:good])[-1]]) if trouble[:good].any() else 0.0
    high = float(at[good]) + width_s
    again = int(np.count_nonzero(trouble[good:]))
    why = f"back {took:.4g} s after the trigger (between {low:.4g} and {high:.4g} s)"
    why += f", {again} bad slices later on" if again else ""
    slow = took > slow_after_s
    why += f"; slower than {slow_after_s:.4g} s" if slow else ""
    return outcome(OverloadState.SLOW if slow else OverloadState.RECOVERED, why, took, low, high)


def _back(at: Array, trouble: Mask, width_s: float, hold_s: float) -> int | None:
    """The first good slice of a run that lasts the hold, with at most a tenth of what follows bad; None: none."""
    following = np.cumsum(trouble[::-1])[::-1] / np.arange(trouble.size, 0, -1)
    begins = np.flatnonzero(~trouble & np.concatenate(([True], trouble[:-1])))
    for i in begins:
        ends = np.flatnonzero(trouble[i:])
        last = int(i + ends[0] - 1) if ends.size else trouble.size - 1
        if at[last] + width_s - at[i] >= hold_s - 1e-6 and following[i] <= _RELAPSED:
            return int(i)
    return None


def _improves(series: Array) -> bool:
    """Whether the last quarter is clearly below the first, by their medians."""
    quarter = max(1, series.size // 4)
    return bool(np.median(series[-quarter:]) < _IMPROVED * np.median(series[:quarter]))


def _share(bad: Counts, total: Counts, mask: Mask) -> float | None:
    n = int(total[mask].sum())
    return int(bad[mask].sum()) / n if n else None


def _latencies(latency_s: npt.ArrayLike, order: npt.NDArray[np.intp], after: Mask) -> Array:
    latency = np.asarray(latency_s, dtype=np.float64)
    if latency.shape != order.shape:
        raise ValueError(f"latencies {latency.shape} and slices {order.shape} must be one shape (k,)")
    kept = np.asarray(latency[order][after], dtype=np.float64)
    if np.isnan(kept).any():
        raise ValueError("the latency of a slice that holds requests is NaN")
    return kept


def _checked(starts_s: npt.ArrayLike, total: npt.ArrayLike, bad: npt.ArrayLike) -> tuple[Array, Counts, Counts]:
    starts = np.asarray(starts_s, dtype=np.float64)
    sizes, bads = checked_counts(total, bad)
    if starts.shape != sizes.shape:
        raise ValueError(f"starts {starts.shape} and totals {sizes.shape} must be one shape (k,)")
    if not np.isfinite(starts).all():
        raise ValueError("slices must start at finite times")
    return starts, sizes.astype(np.int64), bads.astype(np.int64)


def recovery_after_overload_estimate(overload: Overload) -> Estimate:
    """Seconds from the end of the trigger until goodput was back, as an estimate; `n` 1 trigger.

    Absorbed: 0. Not back: +inf, at least what was watched. Not measurable: value None.
    """
    method = "seen between slices"
    if overload.state is OverloadState.NOT_MEASURABLE:
        return no_data(overload.why, n=1, method=method)
    if overload.recover_s is None:
        return Estimate(math.inf, overload.low_s, None, 1, None, "censored", f"{overload.state}: {overload.why}")
    return Estimate(overload.recover_s, overload.low_s, overload.high_s, 1, None, method, overload.why)


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """At which load it failed on the way up and came back on the way down, each between two tested loads.

    `failed`: (highest below it that passed before, the first that failed); `back`: (the first that passed after it,
    lowest that failed in between); None where there was none. `gap`: failure load - recovery load, from the
    middles, with what the tested loads allow as bounds: a `low` above 0 shows hysteresis.
    """

    failed: tuple[float | None, float] | None
    back: tuple[float | None, float] | None
    gap: Estimate


def hysteresis(loads: Sequence[float], verdicts: Sequence[Verdict]) -> Hysteresis:
    """Failure load minus recovery load, from a load stepped up until it fails and then down until it is well again.

    `loads`, `verdicts`: in order of time, one of each a step, without a restart in between; INCONCLUSIVE and
    INVALID steps are left out. Without hysteresis both loads are the same and the gap's middle is 0 when the steps
    down are those of the way up. Never failed: no data. Never back: the gap has no upper bound. ValueError for
    differing lengths or loads that are not above 0.
    """
    if len(loads) != len(verdicts):
        raise ValueError(f"{len(loads)} loads and {len(verdicts)} verdicts")
    if not all(0 < load < math.inf for load in loads):
        raise ValueError("loads must be finite and above 0")
    steps = [(float(x), v) for x, v in zip(loads, verdicts, strict=True) if v in (Verdict.PASS, Verdict.FAIL)]
    n, method = len(steps), "steps up and down"
    first = next((i for i, (_, v) in enumerate(steps) if v is Verdict.FAIL), None)
    if first is None:
        return Hysteresis(None, None, no_data("no load failed", n=n, method=method))
    passed = max((x for x, _ in steps[:first] if x < steps[first][0]), default=None)
    failed = (passed, steps[first][0])
    again = next((i for i in range(first, n) if steps[i][1] is Verdict.PASS), None)
    still = min(x for x, v in steps[first:again] if v is Verdict.FAIL)
    low = None if passed is None else max(0.0, passed - still)
    if again is None:
        why = f"failed at {failed[1]:g} and was not back at {still:g}, the lowest load after that"
        return Hysteresis(failed, (None, still), Estimate(math.inf, low, None, n, None, method, why))
    back = (steps[again][0], still)
    why = f"failed at {failed[1]:g} on the way up, back at {back[0]:g} on the way down"
    if any(v is Verdict.FAIL for _, v in steps[again:]):
        why += "; it failed again after that"
    if back[0] > still:
        why += f"; not monotone, since it had failed at {still:g} before that"
        low = None if low is None else 0.0
    middle_up = failed[1] if passed is None else (passed + failed[1]) / 2.0
    high = max(0.0, failed[1] - back[0])
    value = min(max(0.0, middle_up - (back[0] + still) / 2.0), high)
    return Hysteresis(failed, back, Estimate(value, low, high, n, None, method, why))
