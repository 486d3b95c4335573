"""Impact and recovery of every fault of a run, as users saw them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from faultload.record.measured import FaultTimes, Measured
from faultload.record.rows import Floats, Mask, Times, joined_times
from faultload.spec.baseline import declared_limits, declared_slo
from faultload.spec.scenario import Scenario
from faultload.spec.stages import area_between
from faultload_analysis.latency.slices import SliceBuilder
from faultload_analysis.recovery import faults as analysis
from faultload_analysis.recovery.absorbed import Caught
from faultload_analysis.recovery.faults import Recovery, SliceRule, Slices
from faultload_analysis.recovery.gaps import Gaps, gaps_in
from faultload_analysis.recovery.hanging import Waits, with_waits
from faultload_analysis.recovery.overload import Overload, overload_recovery
from faultload_analysis.slo.alerts import DEFAULT_WINDOWS, Alert, AlertReplay, BurnWindow

BASELINE_ROWS, BASELINE_S = 1_000_000, 900.0
"""The last quarter of an hour before the first disturbance, or million requests, says what is normal."""

_LONGEST_FLIGHTS = 2.0
"""A request is in flight for its time-out at most, after it waited for as long at most."""


def baseline(measured: Measured) -> Times:
    """The requests between warm-up and the first fault or surge; of a very long baseline the last ones."""
    first = _first_disturbance(measured)
    kept: deque[Times] = deque()
    begin = max(measured.warmup_end_s, first - BASELINE_S)
    for part in measured.record.times(begin, first):
        kept.append(part)
        while sum(map(len, kept)) - len(kept[0]) >= BASELINE_ROWS:
            kept.popleft()
    return joined_times(kept)


def _first_disturbance(measured: Measured) -> float:
    """When the first fault or surge began, or the cool-down without any."""
    return min(
        [
            measured.cooldown_start_s,
            *(fault.injected_at for fault in measured.faults if fault.injected_at is not None),
            *(start for start, _ in surges(measured).values()),
        ]
    )


def surges(measured: Measured) -> dict[str, tuple[float, float]]:
    """The overloads that the load brings itself, by name: when each starts and ends on the run's clock."""
    start = measured.load_start_s
    return {
        stage.phase or f"stage {index}": (start + stage.start_s, min(start + stage.end_s, measured.load_end_s))
        for index, stage in enumerate(measured.stages, start=1)
        if stage.kind == "surge" and start + stage.start_s < measured.load_end_s
    }


def gaps_of(measured: Measured, cut: Slices, waits: Waits | None = None) -> Gaps:
    """The gaps among slices, where users should have made requests: as many as the schedule says.

    For each iteration of the schedule (in the closed model: for each second of a user) as many requests as the
    baseline had. `waits`: of the users of the closed model, who send nothing while they wait.
    """
    before = slice(0, max(0, math.floor((_first_disturbance(measured) - cut.start_s) / cut.width_s + 1e-9)))
    edges = np.append(cut.starts, cut.end_s) - measured.load_start_s
    levels = np.array([area_between(measured.stages, a, b) for a, b in pairwise(edges.tolist())])
    scheduled = float(levels[before].sum())
    if not scheduled:
        return gaps_in(cut, None, before)
    each = float(cut.total[before].sum()) / scheduled
    gaps = gaps_in(cut, levels * each, before)
    return gaps if waits is None else with_waits(gaps, cut, waits, each, before)


def slice_rule(measured: Measured, scenario: Scenario, profile: str) -> SliceRule | None:
    """When a slice is bad: from the requests between warm-up and the first disturbance; None without any."""
    before = baseline(measured)
    limit, quantile, share = declared_limits(scenario, profile)
    try:
        return analysis.baseline_rule(
            before.latency_s,
            times_s=before.intended_s,
            width_s=scenario.recovery.slice,
            watch_s=_longest_watch(measured),
            latency_limit_s=limit,
            limit_quantile=quantile,
            max_bad_share=share,
            tolerance=scenario.recovery.tolerance,
        )
    except ValueError:
        return None


def _longest_watch(measured: Measured) -> float:
    """From a disturbance to the next one or the end, at the longest."""
    moments = [fault.injected_at for fault in measured.faults if fault.injected_at is not None]
    moments += [start for start, _ in surges(measured).values()]
    ordered = sorted([*moments, max([measured.cooldown_start_s, *moments])])
    return max([1.0, *(after - before for before, after in pairwise(ordered))])


def cut_slices(
    measured: Measured, scenario: Scenario, rule: SliceRule, also: Callable[[Times], None] | None = None
) -> Slices | None:
    """The load from the end of warm-up in slices; None when there was no such time. `also` sees all requests."""
    start, end = measured.warmup_end_s, measured.load_end_s
    if end - start < scenario.recovery.slice:
        return None
    builder = SliceBuilder(
        start, end, scenario.recovery.slice, limits_s=rule.limits_s, quantiles=bool(surges(measured))
    )
    for part in measured.record.times():
        builder.add(part.intended_s, part.latency_s)
        if also is not None:
            also(part)

    def fetch(since_s: float, until_s: float) -> tuple[Floats, Floats]:
        found = joined_times(measured.record.times(since_s, until_s))
        return found.intended_s, found.latency_s

    return builder.finish(fetch)


def recoveries_of(
    measured: Measured, scenario: Scenario, profile: str, alerts: Sequence[Alert] | None = None
) -> dict[str, Recovery]:
    """Recovery by fault label, for every fault that was injected.

    `alerts`: when alerts fired; None: the multi-window burn-rate alerts of the SRE Workbook are replayed.
    """
    injected = [fault for fault in measured.faults if fault.injected_at is not None]
    if not injected:
        return {}
    rule = slice_rule(measured, scenario, profile)
    outcomes = Outcomes(measured)
    waits = _waits(measured, scenario, rule)

    def see(part: Times) -> None:
        outcomes.add(part)
        if waits is not None:
            waits.add(part.intended_s, part.ended_s)

    cut = None if rule is None else cut_slices(measured, scenario, rule, see)
    if alerts is None:
        alerts = outcomes.alerts(declared_slo(scenario, profile))
    gaps = None if cut is None else gaps_of(measured, cut, waits)
    unmeasured = "no load was measured around this fault"
    if rule is None and len(baseline(measured)):
        unmeasured = "no request was ok before the first fault, so nothing says what recovered means"
    found = {}
    for fault in injected:
        assert fault.injected_at is not None
        until = measured.cooldown_start_s
        following = [*_following(fault, injected, scenario), *_surges_after(fault, measured)]
        if following and rule is not None:
            until = min(until, _last_untouched(min(following), rule, scenario))
        if cut is None or rule is None or until <= fault.injected_at:
            found[fault.label] = _not_measurable(unmeasured)
            continue
        found[fault.label] = analysis.recover(
            cut,
            rule,
            injected_s=fault.injected_at,
            until_s=until,
            hold_s=scenario.recovery.hold,
            undone_s=fault.over_at,
            max_duration_s=fault.max_duration_s if fault.one_shot else None,
            alerts_s=[alert.start_s for alert in alerts],
            firing_s=[(alert.start_s, math.inf if alert.end_s is None else alert.end_s) for alert in alerts],
            gaps=gaps,
            caught=_in_flight(measured, fault, rule, cut),
        )
    return found


def _waits(measured: Measured, scenario: Scenario, rule: SliceRule | None) -> Waits | None:
    """Where the waits of the closed model's users go; None in the open one, whose schedule waits for nobody."""
    if rule is None or not measured.info.load.closed:
        return None
    limit_s = rule.latency_limit_s
    return Waits(measured.warmup_end_s, measured.load_end_s, scenario.recovery.slice, limit_s)


def _in_flight(measured: Measured, fault: FaultTimes, rule: SliceRule, cut: Slices) -> Caught:
    """The requests of the slices before the injection that were in flight at it, and ended before the undo."""
    assert fault.injected_at is not None
    until = cut.starts[cut.index_at(fault.injected_at)]
    over_at = math.inf if fault.over_at is None else fault.over_at
    found = Caught()
    for part in measured.record.times(until - _LONGEST_FLIGHTS * measured.info.load.timeout_s, float(until)):
        here = (part.ended_s >= fault.injected_at) & (part.ended_s < over_at)
        latency = part.latency_s[here]
        found = Caught(
            found.total + latency.size,
            found.failed + int(np.count_nonzero(np.isinf(latency))),
            found.over + int(np.count_nonzero(latency > rule.latency_limit_s)),
        )
    return found


def _last_untouched(following_s: float, rule: SliceRule, scenario: Scenario) -> float:
    """Where the watch of a fault ends before the next one: what was still in flight then belongs to that one."""
    return following_s - rule.latency_limit_s - scenario.recovery.slice


def _following(fault: FaultTimes, injected: Sequence[FaultTimes], scenario: Scenario) -> list[float]:
    """The starts of later faults that do not overlap by permission: they end the watch of this one."""
    assert fault.injected_at is not None
    overlapping = {spec.name for spec in scenario.faults if spec.overlap}
    return [
        other.injected_at
        for other in injected
        if other.injected_at is not None
        and other.injected_at > fault.injected_at
        and other.fault not in overlapping
    ]


def _surges_after(fault: FaultTimes, measured: Measured) -> list[float]:
    """The starts of surges after a fault was over: what they do to users is not its doing."""
    return [start for start, _ in surges(measured).values() if fault.over_at is not None and start > fault.over_at]


def _not_measurable(why: str) -> Recovery:
    return Recovery(None, None, None, None, False, False, None, None, False, why)


class Outcomes:
    """Requests and failures by the second in which they became known, over the load."""

    def __init__(self, measured: Measured) -> None:
        self._start = math.floor(measured.load_start_s)
        seconds = max(1, math.ceil(measured.load_end_s) - self._start)
        self._total, self._failed = np.zeros(seconds, dtype=np.int64), np.zeros(seconds, dtype=np.int64)

    def add(self, part: Times) -> None:
        self.count(part.ended_s, ~part.ok)

    def count(self, ended_s: Floats, bad: Mask) -> None:
        """When requests ended, and which of them were bad; shape (n,) each."""
        second = np.floor(ended_s).astype(np.int64) - self._start
        inside = (second >= 0) & (second < self._total.size)
        if not inside.all():
            second, bad = second[inside], bad[inside]
        self._total += np.bincount(second, minlength=self._total.size)
        self._failed += np.bincount(second[np.flatnonzero(bad)], minlength=self._total.size)

    def alerts(self, slo: float, windows: tuple[BurnWindow, ...] = DEFAULT_WINDOWS) -> list[Alert]:
        """The burn-rate alerts that would have fired, replayed over the outcomes as they became known."""
        replay = AlertReplay(slo, windows, start_s=float(self._start))
        replay.add(self._total, self._failed)
        return replay.finish()


def overloads_of(measured: Measured, scenario: Scenario, profile: str) -> dict[str, Overload]:
    """What followed each surge of the load, by its name, until the next one or a fault."""
    found: dict[str, Overload] = {}
    spans = surges(measured)
    rule = slice_rule(measured, scenario, profile) if spans else None
    cut = None if rule is None else cut_slices(measured, scenario, rule)
    if rule is None or cut is None:
        return found
    bad = cut.over(rule.latency_limit_s)
    injected = [fault.injected_at for fault in measured.faults if fault.injected_at is not None]
    for name, (start, end) in spans.items():
        next_ones = [at for at in (*injected, *(other for other, _ in spans.values())) if at > start]
        until = min([measured.cooldown_start_s, *next_ones])
        earlier = [other_end for other, other_end in spans.values() if other < start]
        first = max(earlier, default=cut.start_s)
        seen = (cut.starts >= first) & (cut.starts + cut.width_s <= until + 1e-9)
        found[name] = overload_recovery(
            cut.starts[seen],
            cut.total[seen],
            bad[seen],
            width_s=cut.width_s,
            trigger_start_s=start,
            trigger_end_s=end,
            max_bad_share=rule.max_bad_share,
            hold_s=scenario.recovery.hold,
            latency_s=cut.p50[seen],
        )
    return found


def by_fault(recoveries: Mapping[str, Recovery], name: str) -> list[tuple[str, Recovery]]:
    """The recoveries of one fault over its repeats; of all faults when the name is empty."""
    return [(label, one) for label, one in recoveries.items() if not name or label.rpartition("#")[0] == name]
