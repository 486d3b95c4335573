"""The steps of a load: where they are, and what ended well in each, with how precisely it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from faultload.record.measured import Measured
from faultload.record.rows import Floats, Iterations
from faultload.verdict.phases import Span
from faultload_analysis.capacity.limit import bound_confidence
from faultload_analysis.evidence.dependence import Mask
from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.verdict import Estimate

SETTLING = 0.1
"""The first tenth of a step is left out: queues are still filling."""

SHORTEST_S = 2.0
_BATCHES = 20
_LEAST_ERROR = 1e-3


def step_spans(measured: Measured, spans: Sequence[Span]) -> list[Span]:
    """The steady part of every stage of constant level that no fault or recovery touches."""
    disturbed = [span for span in spans if span.name.split(":")[0] in ("fault", "recovery")]
    found = []
    for index, stage in enumerate(measured.stages, start=1):
        steady = stage.kind in ("hold", "step") and stage.low == stage.high > 0
        begin = measured.load_start_s + stage.start_s + SETTLING * stage.duration_s
        end = min(measured.load_start_s + stage.end_s, measured.load_end_s)
        touched = any(span.start < end and begin < span.end for span in disturbed)
        if steady and not touched and end - begin >= SHORTEST_S:
            found.append(Span(f"step:{index}", begin, end))
    return found


class StepCounts:
    """What happened in one step: iterations that were due, ended, and ended well, and users in the system."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.due = self.ended = 0
        self._edges = np.linspace(span.start, span.end, _BATCHES + 1)
        self._batches = np.zeros(_BATCHES)
        self._spent = np.zeros(_BATCHES + 1)

    def add(self, part: Iterations, begun: Floats, ok: Mask) -> None:
        """A chunk of iterations, when each began, and which ended well."""
        start, end = self.span.start, self.span.end
        self.due += int(np.count_nonzero((part.intended_s >= start) & (part.intended_s < end)))
        here = (part.ended_s >= start) & (part.ended_s < end)
        self.ended += int(np.count_nonzero(here))
        well = part.ended_s[here & ok]
        self._batches += np.histogram(well, self._edges)[0]
        touching = (begun < end) & (part.ended_s > start)
        self._spent += self._since(begun[touching]) - self._since(part.ended_s[touching])

    def drop(self, intended_s: Floats) -> None:
        """Slots that were due then and never became an iteration."""
        self.due += int(np.count_nonzero((intended_s >= self.span.start) & (intended_s < self.span.end)))

    def _since(self, moments: Floats) -> Floats:
        """At each edge the sum over the moments before it of the time since them, within the step."""
        inside = np.clip(moments, self.span.start, self.span.end)
        place = np.searchsorted(self._edges, inside, side="left")
        count = np.cumsum(np.bincount(place, minlength=_BATCHES + 1)[: _BATCHES + 1])
        total = np.cumsum(np.bincount(place, weights=inside, minlength=_BATCHES + 1)[: _BATCHES + 1])
        return np.asarray(self._edges * count - total, dtype=np.float64)

    @property
    def due_per_s(self) -> float:
        """Iterations that fell due, per second."""
        return self.due / self.span.duration_s

    @property
    def achieved_per_s(self) -> float:
        """Iterations that ended, well or not, per second."""
        return self.ended / self.span.duration_s

    @property
    def goodput_per_s(self) -> float:
        """Iterations that ended well, per second."""
        return float(self._batches.sum()) / self.span.duration_s

    @property
    def users(self) -> float:
        """The mean number of iterations under way."""
        return float(self._spent[-1]) / self.span.duration_s

    def goodput(self, steps: int) -> Estimate:
        """The goodput with bounds over twentieths that hold together with those of all `steps`."""
        half = t_quantile(bound_confidence(steps), _BATCHES - 1) * self.error_per_s(0.0)
        value, n = self.goodput_per_s, int(self._batches.sum())
        return Estimate(value, max(0.0, value - half), value + half, n, None, "batch means, Student t")

    def error_per_s(self, slope: float) -> float:
        """The standard error of goodput less `slope` times users, over twentieths of the step.

        That is the distance from a curve of this slope, to which an error in the users counts too; at least a
        thousandth of the goodput, as no point of a curve is known without error.
        """
        width_s = self.span.duration_s / _BATCHES
        apart = (self._batches - slope * np.diff(self._spent)) / width_s
        error = float(np.std(apart, ddof=1)) / math.sqrt(_BATCHES)
        return max(error, _LEAST_ERROR * self.goodput_per_s)


def counted_steps(measured: Measured, spans: Sequence[Span]) -> list[StepCounts]:
    """What happened in each of the steps, from one pass over the iterations and one over the samples."""
    steps = [StepCounts(span) for span in spans]
    for part in measured.record.iterations():
        begun, ok = part.intended_s + part.waited_s + part.slip_s, part.outcome.equal("ok")
        for step in steps:
            step.add(part, begun, ok)
    for samples in measured.record.samples():
        dropped = samples.intended_s[samples.outcome.equal("dropped")]
        for step in steps:
            step.drop(dropped)
    return steps
