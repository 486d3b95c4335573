"""Impact, detection and recovery of a fault as users saw them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from faultload_analysis.evidence.dependence import Array, Mask
from faultload_analysis.evidence.verdict import Estimate, exact, no_data
from faultload_analysis.latency.slices import SliceBuilder, Slices, slices
from faultload_analysis.recovery.absorbed import Caught, Watch, unknown
from faultload_analysis.recovery.durability import lost_writes
from faultload_analysis.recovery.gaps import Gaps, gaps_in
from faultload_analysis.recovery.incidents import Incidents, impact_bounds, last_bad_s, recovery_bounds
from faultload_analysis.recovery.outcome import Recovery
from faultload_analysis.recovery.production import availability_from
from faultload_analysis.recovery.repeats import at_least_s, exponential_bounds, mttr
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
    firing_s: Sequence[tuple[float, float]] = (),
    gaps: Gaps | None = None,
    caught: Caught | None = None,
) -> Recovery:
    """Find impact and recovery of the fault injected at `injected_s`, watched until `until_s`.

    `cut` must begin at least `hold_s` before the injection; `gaps`: those among its slices;
    `caught`: the requests in flight at the injection, which count too where a fault would be called absorbed.
    Baseline: not measurable when the rule's is bad, when there were no requests in the `hold_s` before the
    injection, or when an incident was already on. Impact: the first bad slice from the injection on with another
    bad one among the next two that hold requests, or so bad that it counts alone; backdated to its first bad
    request. Recovery: the first good slice of the first run of good slices that lasts `hold_s`; a bad slice inside
    is the same incident, and so is a dip that begins before the fault has been undone for `hold_s`: the last return
    counts. Empty slices are neither good nor bad, but for gaps; they count towards the hold only where the baseline
    had fewer than 3 requests per slice. The failures of the hold together must be noise too. A watch that ends
    before the hold is over saw a recovery of a fault that was undone where good slices followed for at least half
    of it, and no bad one.
    Absorbed: no impact, watched for the hold and half of the time at least, no more bad requests than the baseline
    explains (`is_excess`), and few enough for certain; else not measurable.
    `max_duration_s`, for one-shot faults that the tool mends after that time: recovery must begin before it.
    Never recovered: censored. `alerts_s`: replayed alert times, for detection, and `firing_s` from when to when
    they fired. `undone_s` tells how long the fault was open; None: until the end of the watch.
    ValueError when until_s <= injected_s or hold_s <= 0, or when a time is not a finite number.
    """
    if not (-math.inf < injected_s < until_s < math.inf and 0 < hold_s < math.inf):
        raise ValueError(f"nothing to watch from {injected_s} to {until_s} with a hold of {hold_s}")
    if not all(math.isfinite(x) for x in (undone_s or 0.0, max_duration_s or 0.0, *alerts_s)):
        raise ValueError("the times of the undo, of the alerts and the maximum duration must be finite numbers")
    if not rule.baseline_ok:
        return unknown(f"the baseline was bad: {rule.why}", baseline_ok=False)
    bad, alone, over = rule.judge(cut)
    gaps = gaps_in(cut, None, slice(0)) if gaps is None else gaps
    bad, alone = bad | gaps.bad, alone | gaps.alone
    first = cut.index_at(injected_s)
    last = cut.index_at(until_s - 1e-9)
    before = _before(cut, rule, injected_s, hold_s)
    problem = _baseline_problem(cut, bad, alone, before, hold_s)
    if problem:
        return unknown(problem, baseline_ok=False)
    usual = float(cut.total[before].mean())
    sparse = usual if usual < _SPARSE else None
    incidents = Incidents(cut, rule, bad, alone, hold_s, until_s, last, sparse)
    start = incidents.first_from(first)
    if start is None:
        watch = Watch(cut, rule, over, injected_s, until_s, hold_s, undone_s, sparse, caught or Caught())
        return watch.unimpaired()
    shares = np.maximum(gaps.share, over / np.maximum(cut.total, 1))
    impact_low, impact_at = impact_bounds(cut, rule.latency_limit_s, start, injected_s)
    latest = until_s if max_duration_s is None else min(until_s, injected_s + max_duration_s)
    good, dips = incidents.last_return(start, math.inf if undone_s is None else undone_s + hold_s)
    held_s = hold_s
    if good is None:
        good, held_s = incidents.good_at_the_end(start)
    enough_s = hold_s if undone_s is None else 0.5 * hold_s
    seen = good is not None and held_s >= enough_s - 1e-6
    peak = start + int(np.argmax(shares[start : (last if good is None or not seen else good) + 1]))
    watched = max(0.0, latest - impact_at)
    last_bad = last_bad_s(cut, rule.latency_limit_s, start, last if good is None else good - 1, gaps)
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
        low_s=max(0.0, min(last_bad, latest) - impact_at),
        incidents=1,
        worst_bad_share=float(shares[peak]),
        alerted=any(begin <= impact_at < end for begin, end in firing_s),
        until_s=until_s,
    )
    if good is None:
        return censored
    last_bad, back_at, back_high = recovery_bounds(cut, rule.latency_limit_s, start, good, gaps)
    took = back_at - impact_at
    if not seen:
        short = f"back {took:.2f} s after impact, but good for {held_s:.1f} s only when the watch ended"
        why = f"{short}: {enough_s:g} s would tell"
        return replace(censored, why=why, low_s=max(0.0, min(last_bad, latest) - impact_at))
    if back_at > latest:
        return replace(censored, why=f"{censored.why}: it was mended, and came back after {took:.1f} s")
    low, high = max(0.0, last_bad - impact_at), back_high - impact_low
    mitigated = None if censored.mitigate_s is None else min(censored.mitigate_s, took)
    later = _later(cut, incidents.spans_from(good))
    return replace(
        censored,
        mitigate_s=mitigated,
        recover_s=took,
        recovered=True,
        censored_s=None,
        resolution_s=high - low,
        why=", ".join(
            [
                f"back {took:.2f} s after impact (between {low:.2f} and {high:.2f} s)",
                *_notes(back_at, undone_s, dips, held_s, hold_s),
                *_said(later, rule.outages, took, cut.width_s),
            ]
        ),
        recovered_at_s=back_at,
        hold_end_s=back_at + hold_s,
        low_s=low,
        high_s=high,
        incidents=1 + len(later),
        later=later,
    )


def _notes(back_at: float, undone_s: float | None, dips: int, held_s: float, hold_s: float) -> Iterator[str]:
    if undone_s is not None:
        yield "before the fault was undone" if back_at < undone_s else "after the fault was undone"
    if dips > 1:
        yield f"the last of {dips} dips of this fault"
    if held_s < hold_s - 1e-6:
        yield f"good for {held_s:.1f} s when the watch ended, at least half the hold of {hold_s:g} s"


def _later(cut: Slices, spans: list[tuple[int, int | None]]) -> tuple[tuple[float, float | None], ...]:
    return tuple((float(cut.starts[a]), None if b is None else float(cut.starts[b])) for a, b in spans)


def _said(
    later: Sequence[tuple[float, float | None]], outages: int, took_s: float, width_s: float
) -> Iterator[str]:
    """What else there was: incidents after this one, and outages of the baseline that were as long."""
    if later:
        ends = "until the end" if later[0][1] is None else f"to {later[0][1]:.0f} s"
        many = f"{len(later)} more incident{'s' if len(later) > 1 else ''} before the end of the watch"
        yield f"{many}, the {'first' if len(later) > 1 else 'one'} from {later[0][0]:.0f} {ends}"
    if outages and took_s <= (outages + 1) * width_s:
        yield "the baseline had an outage as long of its own"


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
    if near or alone[before].any():
        return f"an incident was already on in the {hold_s:g} s before the injection"
    return ""


def _mitigated(cut: Slices, shares: Array, peak: int, last: int, impact_at: float) -> float | None:
    """When the bad share leaves the worst band: the first slice after the worst with under half its share."""
    for i in range(peak + 1, last + 1):
        if cut.total[i] and shares[i] < 0.5 * shares[peak]:
            return max(0.0, float(cut.starts[i]) - impact_at)
    return None


def ttr_estimate(recovery: Recovery) -> Estimate:
    """Judge one recovery that was seen; bounds from the requests around its ends, `n` 1 fault.

    Absorbed is 0. Never recovered is +inf, at least until the last bad moment. Not measurable: value None.
    """
    if not recovery.measurable:
        return no_data(recovery.why, n=1)
    if recovery.absorbed:
        return exact(0.0, 1, why=recovery.why)
    if not recovery.recovered:
        return Estimate(math.inf, at_least_s(recovery), None, 1, None, "censored", recovery.why)
    return Estimate(
        recovery.recover_s, recovery.low_s, recovery.high_s, 1, None, "seen between requests", recovery.why
    )
