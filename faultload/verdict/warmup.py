"""Where the warm-up of a run ends: with its ramps, or where MSER-5 says (`warmup: auto`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from faultload.record.measured import Measured
from faultload.record.rows import Times, joined_times
from faultload.spec.scenario import Scenario
from faultload.spec.stages import steady_until, warmup_end
from faultload.spec.units import format_seconds
from faultload_analysis.latency.warmup import WarmUp, mser
from faultload_analysis.recovery.absorbed import unknown
from faultload_analysis.recovery.outcome import Recovery
from faultload_analysis.recovery.overload import Overload, OverloadState

MOST_S, MOST_ROWS = 900.0, 1_000_000
"""MSER-5 sees so much of the constant load at most: its first quarter of an hour, or million requests."""
_WORTH_SAYING_S = 1.0


@dataclass(frozen=True)
class Warmed:
    """What MSER-5 says of a run's constant load before its first disturbance, and whether the scenario applies it.

    `ends_s`: where the warm-up ends by it, on the run's clock, `after_s` after the ramps; `failed`: of the
    requests that it leaves out.
    """

    applied: bool
    found: WarmUp
    ends_s: float
    after_s: float
    failed: int

    @property
    def unsteady(self) -> str:
        """Why no steady state was seen, where the scenario asks for one; else empty."""
        return f"no steady state was seen: {self.found.why}" if self.applied and self.found.too_short else ""

    @property
    def said(self) -> str:
        """One sentence for the reader: what was left out, or would be; empty where that is not worth one."""
        if self.unsteady:
            return self.unsteady
        worth = not self.found.too_short and self.after_s >= _WORTH_SAYING_S
        if not (self.applied or worth):
            return ""
        if not self.found.discard:
            return f"MSER-5 sees no warm-up in {self.found.n:,} requests of constant load"
        left_out = f"{self.found.discard:,} of {self.found.n:,} requests"
        failed = f", {self.failed:,} of them failed" if self.failed else ""
        what = f"the first {format_seconds(self.after_s)} of constant load as warm-up ({left_out}{failed})"
        return (
            f"MSER-5 leaves out {what}" if self.applied else f"MSER-5 would leave out {what}: `warmup: auto` does"
        )

    def apply(self, measured: Measured) -> Measured:
        """The run with the warm-up that it is judged with."""
        settled = self.applied and not self.found.too_short
        return replace(measured, steady_from_s=self.ends_s) if settled else measured

    def recoveries(self, recoveries: Mapping[str, Recovery]) -> Mapping[str, Recovery]:
        """Recovery is measured against the baseline: without a steady one it cannot be."""
        if not self.unsteady:
            return recoveries
        return {label: unknown(self.unsteady, baseline_ok=False) for label in recoveries}

    def overloads(self, overloads: Mapping[str, Overload]) -> Mapping[str, Overload]:
        """The same of the return after a surge."""
        if not self.unsteady:
            return overloads
        return {name: self._unknown(one) for name, one in overloads.items()}

    def _unknown(self, one: Overload) -> Overload:
        state = OverloadState.NOT_MEASURABLE
        return replace(one, state=state, recover_s=None, low_s=None, high_s=None, why=self.unsteady)

    def to_json(self, measured: Measured) -> dict[str, Any]:
        """The part of verdict.json; empty where there is nothing to say."""
        if not self.said:
            return {}
        by = "MSER-5" if self.applied and not self.unsteady else "ramps"
        proposed = {} if self.applied else {"proposed_at": self.ends_s}
        return {"warmup": {"ends_at": measured.warmup_end_s, "by": by, **proposed, "why": self.said}}


def warmed(measured: Measured, scenario: Scenario) -> Warmed:
    """MSER-5 over the latencies between the ramps and the first disturbance or change of the load."""
    begin = measured.load_start_s + warmup_end(measured.stages)
    series = _constant_load(measured, begin)
    found = mser(series.latency_s)
    ends = float(series.intended_s[found.discard]) if found.discard else begin
    failed = int(np.count_nonzero(~series.ok[: found.discard]))
    return Warmed(scenario.warmup == "auto", found, ends, ends - begin, failed)


def _constant_load(measured: Measured, begin_s: float) -> Times:
    """The requests from the end of the ramps until the level changes, or a fault begins; of many the first.

    Those that were in flight when the fault began are none of them: it may have made them slow.
    """
    injected = [fault.injected_at for fault in measured.faults if fault.injected_at is not None]
    struck = min(injected, default=math.inf)
    changes = measured.load_start_s + steady_until(measured.stages)
    until = min(changes, measured.load_end_s, begin_s + MOST_S, struck)
    kept: list[Times] = []
    for part in measured.record.times(begin_s, max(begin_s, until)):
        over = part.ended_s < struck
        kept.append(Times(part.intended_s[over], part.ended_s[over], part.latency_s[over]))
        if sum(map(len, kept)) >= MOST_ROWS:
            break
    whole = joined_times(kept)
    return Times(whole.intended_s[:MOST_ROWS], whole.ended_s[:MOST_ROWS], whole.latency_s[:MOST_ROWS])
