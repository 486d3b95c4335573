"""Phases: which stretches of a run belong to the baseline, to a fault, to a recovery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from faultload.record.measured import FaultTimes, Measured
from faultload.record.rows import Floats, Mask
from faultload_analysis.recovery.faults import Recovery


@dataclass(frozen=True, slots=True)
class Span:
    """A named stretch of the run's clock, [start, end) in seconds. `also`: another name that selects it."""

    name: str
    start: float
    end: float
    also: str = ""

    @property
    def duration_s(self) -> float:
        return max(0.0, self.end - self.start)


@dataclass(frozen=True)
class Phases:
    """The spans of a run that are not baseline; baseline is every other moment of the load.

    `steps`: further stretches with a name, which may lie in any phase. `open_faults`: from when to when each fault
    was there, in order of injection; what was in flight when one began is its own.
    """

    spans: Sequence[Span]
    start_s: float
    end_s: float
    steps: Sequence[Span] = ()
    open_faults: Sequence[tuple[float, float]] = ()

    def moments(self, intended_s: Floats, ended_s: Floats) -> Floats:
        """Shape (n,): the moment that says to which phase each request belongs, in order of intended start.

        That of its intended start; but what was in flight when a fault was injected and ended before it was undone
        belongs to the fault, whatever its outcome, from the injection on.
        """
        found = intended_s
        for injected, over in reversed(self.open_faults):
            ended = ended_s[: np.searchsorted(intended_s, injected)]
            caught = np.flatnonzero(ended >= injected)
            caught = caught[ended[caught] < over]
            if caught.size:
                found = intended_s.copy() if found is intended_s else found
                found[caught] = injected
        return found

    def spans_of(self, phase: str | None) -> list[Span]:
        """The spans that a `during` selects; None is all but warm-up and cool-down. Not defined for baseline."""
        if phase in ("fault", "recovery"):
            return [span for span in self.spans if span.name.startswith(f"{phase}:")]
        return [
            span
            for span in (*self.spans, *self.steps)
            if phase is not None and phase in (span.name, span.also, span.name.rpartition("#")[0])
        ]

    def mask(self, times: Floats, phase: str | None) -> Mask:
        """Shape (n,): which moments lie in a phase."""
        if phase == "all":
            return np.ones(times.size, dtype=np.bool_)
        if phase is None:
            return ~(self._within(times, self.spans_of("warmup")) | self._within(times, self.spans_of("cooldown")))
        if phase == "baseline":
            return ~self._within(times, self.spans)
        return self._within(times, self.spans_of(phase))

    @staticmethod
    def _within(times: Floats, spans: Sequence[Span]) -> Mask:
        inside = np.zeros(times.size, dtype=np.bool_)
        for span in spans:
            inside |= (times >= span.start) & (times < span.end)
        return inside

    def duration_s(self, phase: str | None) -> float:
        """How long a phase lasted in all, to a tenth of a second."""
        grid = np.arange(self.start_s, self.end_s, 0.1, dtype=np.float64)
        return float(np.count_nonzero(self.mask(grid, phase)) * 0.1)

    def longest_stretch(self, phase: str | None) -> tuple[float, float] | None:
        """The longest unbroken stretch of a phase, in whole seconds; None when it did not happen."""
        return max(self.stretches(phase), key=lambda span: span[1] - span[0], default=None)

    def stretches(self, phase: str | None) -> list[tuple[float, float]]:
        """The unbroken stretches of a phase, in whole seconds."""
        seconds = self.seconds(phase)
        if not seconds.size:
            return []
        breaks = np.flatnonzero(np.diff(seconds) > 1.5)
        firsts = np.concatenate(([0], breaks + 1))
        lasts = np.concatenate((breaks, [seconds.size - 1]))
        return [(float(seconds[a]) - 0.5, float(seconds[b]) + 0.5) for a, b in zip(firsts, lasts, strict=True)]

    def seconds(self, phase: str | None) -> Floats:
        """The whole seconds of the load whose middle lies in a phase."""
        middles: Floats = np.arange(np.floor(self.start_s), np.ceil(self.end_s), dtype=np.float64) + 0.5
        return middles[self.mask(middles, phase)]


def phases_of(measured: Measured, recoveries: Mapping[str, Recovery]) -> Phases:
    """The phases of a run, given what recovery found for each fault by label."""
    start, end = measured.load_start_s, measured.load_end_s
    spans = []
    if measured.warmup_end_s > start:
        spans.append(Span("warmup", start, measured.warmup_end_s))
    cooldown = measured.cooldown_start_s
    spans.append(Span("cooldown", cooldown, float("inf")))
    injected = [fault for fault in measured.faults if fault.injected_at is not None]
    surges = [start + stage.start_s for stage in measured.stages if stage.kind == "surge"]
    for fault in injected:
        following = _next_start(fault, injected, surges, cooldown)
        spans += _fault_spans(fault, recoveries.get(fault.label), following, cooldown)
    for stage in measured.stages:
        if stage.phases:
            spans.append(Span(stage.phases[0], start + stage.start_s, start + stage.end_s, stage.phases[-1]))
    opened = [
        (fault.injected_at, cooldown if fault.over_at is None else fault.over_at)
        for fault in injected
        if fault.injected_at is not None
    ]
    return Phases(spans, start, end, open_faults=sorted(opened))


def _next_start(fault: FaultTimes, injected: Sequence[FaultTimes], surges: Sequence[float], end: float) -> float:
    """When the next fault begins, or the next surge after this one was over."""
    assert fault.injected_at is not None
    later = [f.injected_at for f in injected if f.injected_at is not None and f.injected_at > fault.injected_at]
    after = [] if fault.over_at is None else [start for start in surges if start > fault.over_at]
    return min([end, *later, *after])


def _fault_spans(fault: FaultTimes, recovery: Recovery | None, following: float, end: float) -> list[Span]:
    assert fault.injected_at is not None
    over = fault.over_at if fault.over_at is not None else end
    spans = [Span(f"fault:{fault.label}", fault.injected_at, over)]
    after = following
    if recovery is not None and recovery.hold_end_s is not None:
        after = min(following, recovery.hold_end_s)
    elif recovery is not None and recovery.absorbed:
        after = over
    if after > over:
        spans.append(Span(f"recovery:{fault.label}", over, after))
    return spans
