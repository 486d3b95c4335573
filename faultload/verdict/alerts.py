"""The alert rules of a scenario replayed over a run: when each would have fired, and which fault it told of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from faultload.record.measured import Measured
from faultload.record.rows import Samples
from faultload.spec.alerts import AlertRule
from faultload.verdict.recoveries import Outcomes
from faultload_analysis.recovery.outcome import Recovery
from faultload_analysis.slo.alerts import Alert, BurnWindow


@dataclass(frozen=True)
class ReplayedRule:
    """A rule and when it would have fired during a load of `load_s`."""

    rule: AlertRule
    fired: Sequence[Alert]
    load_s: float

    @property
    def taken_for_granted(self) -> str:
        """What its windows assume of the time before the load; empty where they do not reach there."""
        return self.rule.before_the_load(self.load_s)

    def told_of(self, recovery: Recovery) -> Recovery:
        """A recovery with the detection that this rule alone would have been."""
        impact_at = recovery.impact_at_s
        if impact_at is None:
            return recovery
        until = math.inf if recovery.until_s is None else recovery.until_s
        starts = [one.start_s - impact_at for one in self.fired if impact_at <= one.start_s <= until]
        firing = any(one.start_s <= impact_at < (one.end_s or math.inf) for one in self.fired)
        return replace(recovery, detect_s=min(starts, default=None), alerted=firing)

    def to_json(self) -> dict[str, Any]:
        """What verdict.json says of it; moments in seconds since the run's zero."""
        return {
            "alert": self.rule.name,
            "objective": self.rule.objective,
            "rule": self.rule.text,
            "fired": [{"at": one.start_s, "until": one.end_s} for one in self.fired],
            "why": self.taken_for_granted,
        }


def replayed(measured: Measured, rules: Sequence[AlertRule]) -> dict[str, ReplayedRule]:
    """Each rule by its name, replayed over the requests of the load as they became known; one pass for all."""
    counters = [(rule, Outcomes(measured)) for rule in rules]
    for part in measured.record.samples() if counters else ():
        for rule, counter in counters:
            _count(rule, counter, part, measured)
    load_s = measured.load_end_s - measured.load_start_s
    return {rule.name: ReplayedRule(rule, _fired(rule, counter), load_s) for rule, counter in counters}


def _count(rule: AlertRule, counter: Outcomes, part: Samples, measured: Measured) -> None:
    term, over = rule.parsed.term, rule.bad_over
    watched = part.matching(term.filters, measured.record)
    took = part.service_s if term.measured == "service_time" else part.latency_s
    bad = ~part.ok if over is None else took > over
    counter.count(part.ended_s[watched], bad[watched])


def _fired(rule: AlertRule, counter: Outcomes) -> list[Alert]:
    window = BurnWindow(rule.name, rule.long, rule.short_s, rule.too_many / rule.allowed, rule.for_)
    return counter.alerts(1.0 - rule.allowed, (window,))


def all_fired(rules: Mapping[str, ReplayedRule]) -> list[Alert] | None:
    """The alerts of all rules in order of time; None where there is no rule."""
    if not rules:
        return None
    return sorted((one for rule in rules.values() for one in rule.fired), key=lambda one: one.start_s)


def detected_by(rules: Mapping[str, ReplayedRule], recovery: Recovery | None) -> str | None:
    """The rule that told of a fault first; None where none did."""
    if recovery is None or recovery.detect_s is None:
        return None
    told = {name: rule.told_of(recovery).detect_s for name, rule in rules.items()}
    return min((name for name in told if told[name] is not None), key=lambda name: told[name] or 0.0, default=None)
