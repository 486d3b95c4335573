"""Impact and recovery of every fault of a run, as the users saw them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from faultload.limits import declared_limits, declared_slo
from faultload.measured import FaultTimes, Measured
from faultload.rows import Floats, Samples, joined
from faultload.scenario import Scenario
from faultload.vocabulary import FAULTS
from faultload_analysis import recovery as analysis
from faultload_analysis.recovery import Recovery, SliceRule, Slices
from faultload_analysis.slices import SliceBuilder
from faultload_analysis.slo import burn_alerts

BASELINE_ROWS = 1_000_000
"""A baseline this long says all that it can about what is normal."""


def baseline(measured: Measured) -> Samples:
    """The requests between warm-up and the first fault; of a very long baseline the last ones."""
    first = min(
        (fault.injected_at for fault in measured.faults if fault.injected_at is not None),
        default=measured.cooldown_start_s,
    )
    kept: deque[Samples] = deque()
    for part in measured.record.samples(measured.warmup_end_s, first):
        kept.append(part)
        while sum(map(len, kept)) - len(kept[0]) >= BASELINE_ROWS:
            kept.popleft()
    return joined(kept)


def slice_rule(measured: Measured, scenario: Scenario, profile: str) -> SliceRule | None:
    """When a slice is bad: from the requests between warm-up and the first fault; None without any."""
    before = baseline(measured)
    limit, quantile, share = declared_limits(scenario, profile)
    try:
        return analysis.baseline_rule(
            before.latency_s,
            times_s=before.intended_s,
            width_s=scenario.recovery.slice,
            latency_limit_s=limit,
            limit_quantile=quantile,
            max_bad_share=share,
            tolerance=scenario.recovery.tolerance,
        )
    except ValueError:
        return None


def cut_slices(measured: Measured, scenario: Scenario, rule: SliceRule) -> Slices | None:
    """The load from the end of warm-up in slices; None when there was no such time."""
    start, end = measured.warmup_end_s, measured.load_end_s
    if end - start < scenario.recovery.slice:
        return None
    builder = SliceBuilder(start, end, scenario.recovery.slice, limit_s=rule.latency_limit_s)
    for part in measured.record.samples(start, end):
        builder.add(part.intended_s, part.latency_s)

    def fetch(since_s: float, until_s: float) -> tuple[Floats, Floats]:
        found = joined(measured.record.samples(since_s, until_s))
        return found.intended_s, found.latency_s

    return builder.finish(fetch)


def recoveries_of(measured: Measured, scenario: Scenario, profile: str) -> dict[str, Recovery]:
    """Recovery by fault label, for every fault that was injected."""
    injected = [fault for fault in measured.faults if fault.injected_at is not None]
    if not injected:
        return {}
    rule = slice_rule(measured, scenario, profile)
    cut = None if rule is None else cut_slices(measured, scenario, rule)
    alerts = alert_times(measured, declared_slo(scenario, profile))
    found = {}
    for fault in injected:
        assert fault.injected_at is not None
        until = measured.cooldown_start_s
        following = _following(fault, injected, scenario)
        if following and rule is not None:
            until = min(until, _last_untouched(min(following), rule, scenario))
        if cut is None or rule is None or until <= fault.injected_at:
            found[fault.label] = _not_measurable("no load was measured around this fault")
            continue
        one_shot = fault.kind in FAULTS and FAULTS[fault.kind].one_shot
        found[fault.label] = analysis.recover(
            cut,
            rule,
            injected_s=fault.injected_at,
            until_s=until,
            hold_s=scenario.recovery.hold,
            undone_s=fault.undone_at,
            max_duration_s=fault.max_duration_s if one_shot else None,
            alerts_s=alerts,
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


def _not_measurable(why: str) -> Recovery:
    return Recovery(None, None, None, None, False, False, None, None, False, why)


def alert_times(measured: Measured, slo: float) -> list[float]:
    """When burn-rate alerts would have fired, replayed over the outcomes as they became known."""
    whole = joined(measured.record.samples())
    start, end = measured.load_start_s, max(measured.load_end_s, measured.load_start_s + 1.0)
    return [a.start_s for a in burn_alerts(whole.ended_s, ~whole.ok, slo, start_s=start, end_s=end)]


def by_fault(recoveries: Mapping[str, Recovery], name: str) -> list[tuple[str, Recovery]]:
    """The recoveries of one fault over its repeats; of all faults when the name is empty."""
    return [(label, one) for label, one in recoveries.items() if not name or label.rpartition("#")[0] == name]
