"""Impact, detection and recovery of a fault as users saw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from faultload_analysis.evidence.dependence import Array, Counts, Mask
from faultload_analysis.evidence.verdict import Estimate, exact, no_data
from faultload_analysis.latency.slices import SliceBuilder, Slices, slices
from faultload_analysis.recovery.durability import lost_writes
from faultload_analysis.recovery.incidents import Incidents, impact_bounds, recovery_bounds
from faultload_analysis.recovery.outcome import Recovery
from faultload_analysis.recovery.production import availability_from
from faultload_analysis.recovery.repeats import exponential_bounds, mttr
from faultload_analysis.recovery.slice_rule import SliceRule, baseline_rule

__all__ = [
    "Recovery",
    "SliceBuilder",
    "SliceRule",
    "Slices",
    "availability_from",
    "baseline_rule",
    "exponential_bounds",
    "lost_writes",
    "mttr",
    "recover",
    "slices",
    "ttr_estimate",
]


_SPARSE = 3.0


def _unknown(why: str, *, baseline_ok: bool) -> Recovery:
    return Recovery(None, None, None, None, False, False, None, None, baseline_ok, why)


def recover(
    cut: Slices,
    rule: SliceRule,
    *,
    injected_s: float,
    until_s: float,
    hold_s: float = 10.0,
    undone_s: float | None = None,
    max_duration_s: float | None = None,
    alerts_s: Sequence[float] = (),
) -> Recovery:
    """Find impact and recovery of the fault injected at `injected_s`, watched until `until_s`.

    `cut` must begin at least `hold_s` before the injection. Baseline: not measurable when the rule's is bad,
    when there were no requests in the `hold_s` before the injection, or when an incident was already on.
    Impact: the first bad slice from the injection on with another bad one among the next two that hold
    requests, or so bad that it counts alone; backdated to its first bad request. Recovery: the first good
    slice of the first run of good slices that lasts `hold_s`; a bad slice inside is the same incident.
    Empty slices are neither good nor bad; they count towards the hold only where the baseline had fewer
    than 3 requests per slice. The failures of the hold together must be noise too. Absorbed: no impact, watched
    for the hold and half of the time at least, and fewer than half of all requests bad; else not measurable.
    `max_duration_s`, for one-shot faults that the tool mends after that time: recovery must begin before it.
    Never recovered: censored. `alerts_s`: replayed alert times, for detection. `undone_s` only tells, in `why`,
    whether recovery came before it, and how long the fault must be watched to be called absorbed.
    ValueError when until_s <= injected_s or hold_s <= 0, or when a time is not a finite number.
    """
    if not (-math.inf < injected_s < until_s < math.inf and 0 < hold_s < math.inf):
        raise ValueError(f"nothing to watch from {injected_s} to {until_s} with a hold of {hold_s}")
    if not all(math.isfinite(x) for x in (undone_s or 0.0, max_duration_s or 0.0, *alerts_s)):
        raise ValueError("the times of the undo, of the alerts and the maximum duration must be finite numbers")
    if not rule.baseline_ok:
        return _unknown(f"the baseline was bad: {rule.why}", baseline_ok=False)
    bad, alone, over = rule.judge(cut)
    first = cut.index_at(injected_s)
    last = cut.index_at(until_s - 1e-9)
    before = _before(cut, rule, injected_s, hold_s)
    problem = _baseline_problem(cut, bad, alone, before, hold_s)
    if problem:
        return _unknown(problem, baseline_ok=False)
    usual = float(cut.total[before].mean())
    sparse = usual if usual < _SPARSE else None
    incidents = Incidents(cut, rule, bad, alone, hold_s, until_s, last, sparse)
    start = incidents.first_from(first)
    if start is None:
        return _unimpaired(cut, over, first, injected_s, until_s, hold_s, undone_s, sparse)
    shares = _shares(cut, over)
    impact_low, impact_at = impact_bounds(cut, rule.latency_limit_s, start, injected_s)
    latest = until_s if max_duration_s is None else min(until_s, injected_s + max_duration_s)
    good = incidents.recovered_from(start)
    peak = start + int(np.argmax(shares[start : (last if good is None else good) + 1]))
    back = None if good is None else recovery_bounds(cut, rule.latency_limit_s, start, good)
    watched = max(0.0, latest - impact_at)
    censored = Recovery(
        impact_s=max(0.0, impact_at - injected_s),
        detect_s=next((a - impact_at for a in sorted(alerts_s) if impact_at <= a <= until_s), None),
        mitigate_s=_mitigated(cut, shares, peak, last, impact_at),
        recover_s=None,
        absorbed=False,
        recovered=False,
        censored_s=watched,
        resolution_s=None,
        baseline_ok=True,
        why=f"not recovered within {watched:.1f} s of impact",
        impact_at_s=impact_at,
        incidents=1,
        worst_bad_share=float(shares[peak]),
    )
    if good is None or back is None:
        return censored
    last_bad, back_at, back_high = back
    took = back_at - impact_at
    if back_at > latest:
        return replace(censored, why=f"{censored.why}: it was mended, and came back after {took:.1f} s")
    low, high = max(0.0, last_bad - impact_at), back_high - impact_low
    mitigated = None if censored.mitigate_s is None else min(censored.mitigate_s, took)
    again = incidents.count_from(good)
    notes = [f"back {took:.2f} s after impact (between {low:.2f} and {high:.2f} s)"]
    if undone_s is not None:
        notes.append("before the fault was undone" if back_at < undone_s else "after the fault was undone")
    if again:
        notes.append(f"{again} more incident{'s' if again > 1 else ''} before the end of the watch")
    return replace(
        censored,
        mitigate_s=mitigated,
        recover_s=took,
        recovered=True,
        censored_s=None,
        resolution_s=high - low,
        why=", ".join(notes),
        recovered_at_s=back_at,
        hold_end_s=back_at + hold_s,
        low_s=low,
        high_s=high,
        incidents=1 + again,
    )


def _before(cut: Slices, rule: SliceRule, injected_s: float, hold_s: float) -> slice:
    """The slices of the `hold_s` before injection, without those whose requests the fault could still hit."""
    grace = min(rule.latency_limit_s, hold_s)
    end = math.floor((injected_s - grace - cut.start_s) / cut.width_s + 1e-9)
    begin = math.floor((injected_s - grace - hold_s - cut.start_s) / cut.width_s + 1e-9)
    return slice(max(0, begin), max(0, min(end, cut.starts.size)))


def _baseline_problem(cut: Slices, bad: Mask, alone: Mask, before: slice, hold_s: float) -> str:
    if not cut.total[before].any():
        return f"no requests were seen in the {hold_s:g} s before the injection"
    held = np.flatnonzero(cut.total[before]) + before.start
    near = any(bad[a] and bad[held[i + 1 : i + 3]].any() for i, a in enumerate(held))
    if near or alone[held].any():
        return f"an incident was already on in the {hold_s:g} s before the injection"
    return ""


def _unimpaired(
    cut: Slices,
    over: Counts,
    first: int,
    injected_s: float,
    until_s: float,
    hold_s: float,
    undone_s: float | None,
    sparse: float | None,
) -> Recovery:
    """No incident: absorbed when it was watched long enough to say so, and few enough requests were bad."""
    ends = np.minimum(cut.starts + cut.width_s, min(until_s, cut.end_s))
    spans = np.maximum(0.0, ends - np.maximum(cut.starts, injected_s))[first:]
    counted = spans[cut.total[first:] > 0] if sparse is None else spans
    seen, all_of_it = float(counted.sum()), float(spans.sum())
    watched = cut.total[first:][spans > 0].any() and seen >= max(hold_s, 0.5 * all_of_it) - 1e-6
    if not watched or (undone_s is not None and min(until_s, cut.end_s) < undone_s - 1e-6):
        return _unknown(f"no impact seen, but requests were watched for {seen:.1f} s only", baseline_ok=True)
    after = slice(first, first + int(np.count_nonzero(spans)))
    total, bad = int(cut.total[after].sum()), int(over[after].sum())
    if 2 * bad >= total or (sparse is not None and total < 0.5 * sparse * np.count_nonzero(spans)):
        return _unknown(f"no impact for certain: {bad} of only {total} requests were bad", baseline_ok=True)
    return Recovery(
        None,
        None,
        None,
        0.0,
        True,
        True,
        None,
        0.0,
        True,
        f"absorbed: {_noise(int(cut.failed[after].sum()), total)}",
        low_s=0.0,
        high_s=0.0,
    )


def _noise(failed: int, total: int) -> str:
    if not failed:
        return "users saw no impact"
    return f"{failed} of {total} requests failed, too few at a time for an impact"


def _shares(cut: Slices, over: Counts) -> Array:
    return np.asarray(over / np.maximum(cut.total, 1), dtype=np.float64)


def _mitigated(cut: Slices, shares: Array, peak: int, last: int, impact_at: float) -> float | None:
    """When the bad share leaves the worst band: the first slice after the worst with under half its share."""
    for i in range(peak + 1, last + 1):
        if cut.total[i] and shares[i] < 0.5 * shares[peak]:
            return max(0.0, float(cut.starts[i]) - impact_at)
    return None


def ttr_estimate(recovery: Recovery) -> Estimate:
    """Judge one recovery that was seen; bounds from the requests around its ends, `n` 1 fault.

    Absorbed is 0. Never recovered is +inf, at least `censored_s`. Not measurable: value None.
    """
    if not recovery.measurable:
        return no_data(recovery.why, n=1)
    if recovery.absorbed:
        return exact(0.0, 1, why=recovery.why)
    if not recovery.recovered:
        return Estimate(math.inf, recovery.censored_s, None, 1, None, "censored", recovery.why)
    return Estimate(
        recovery.recover_s, recovery.low_s, recovery.high_s, 1, None, "seen between requests", recovery.why
    )
