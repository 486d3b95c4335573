"""A run at a glance: timeline, totals and latencies, from one pass over iterations and one over requests."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from faultload.record.directory import OUTCOMES
from faultload.record.measured import Measured
from faultload.record.rows import Floats, Labels, Mask, Samples
from faultload.verdict.phases import Phases
from faultload_analysis.latency.generator import SlipBuilder, Slips, limit_for
from faultload_analysis.latency.histogram import Histogram
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.timeline import Timeline, TimelineBuilder

Ranked = Population | Histogram
MOST_KEPT = 2_000_000
_FEW_NAMES = 32


class Rankings:
    """Values by key: kept whole while there are few in all, histograms from then on."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Ranked] = {}
        self._count = 0

    def add(self, key: Hashable, values: Floats) -> None:
        kept = self._count <= MOST_KEPT
        self._count += values.size
        if kept and self._count > MOST_KEPT:
            self._by_key = {
                known: one.histogram() if isinstance(one, Population) else one
                for known, one in self._by_key.items()
            }
        if key not in self._by_key:
            self._by_key[key] = Population() if self._count <= MOST_KEPT else Histogram()
        self._by_key[key].add(values)

    def __getitem__(self, key: Hashable) -> Ranked:
        return self._by_key.get(key) or Population()

    def keys(self) -> list[Hashable]:
        return list(self._by_key)


@dataclass(frozen=True)
class Offered:
    """What became of the slots of the schedule: how many began, how many of them late, and how late."""

    slips: Slips
    begun: int
    late: int
    waited_max_s: float


@dataclass(frozen=True)
class Overview:
    """A run at a glance.

    `by_request`: latencies without warm-up and cool-down, of each request by name and under None of all of
    them, dropped slots too. `made`: `latency` and `service time` of all requests that were made. `count`,
    `dropped`: of the whole run. `last_end_s`: when the last request ended.
    """

    timeline: Timeline
    by_request: Mapping[str | None, Ranked]
    made: Mapping[str, Ranked]
    count: int
    dropped: int
    last_end_s: float


class OverviewBuilder:
    """Takes the iterations at once and then, once phases are known, the requests chunk by chunk."""

    def __init__(self, measured: Measured) -> None:
        start = math.floor(measured.load_start_s)
        moments = [moment for fault in measured.faults for moment in (fault.injected_at, fault.undone_at) if moment]
        end = max([measured.load_end_s, *moments, start + 1.0])
        self._measured = measured
        self._timeline = TimelineBuilder(start, end, OUTCOMES)
        self._requests, self._made = Rankings(), Rankings()
        self._count = self._dropped = 0
        self._last_end_s = 0.0

    def read_iterations(self) -> Offered:
        """One pass over the iterations."""
        measured = self._measured
        slips = SlipBuilder(math.floor(measured.load_start_s), math.ceil(measured.load_end_s))
        begun = late = 0
        waited = 0.0
        for part in measured.record.starts():
            slips.add(part.intended_s, part.slip_s)
            self._timeline.add_iterations(part.intended_s, part.intended_s + part.waited_s + part.slip_s)
            begun += part.intended_s.size
            late += int(np.count_nonzero(part.slip_s > limit_for(None)))
            waited = max(waited, float(part.waited_s.max(initial=0.0)))
        return Offered(slips.finish(), begun, late, waited)

    def add(self, phases: Phases, part: Samples, moments: Floats) -> None:
        """The next requests, and when each of them counts for a phase (`Phases.moments`)."""
        self._count += len(part)
        if not len(part):
            return
        self._last_end_s = max(self._last_end_s, float(part.ended_s.max()))
        self._timeline.add(part.intended_s, part.latency_s, in_fixed_order(part.outcome))
        made: Mask | slice = slice(None)
        dropped = part.outcome.equal("dropped")
        if dropped.any():
            self._dropped += int(np.count_nonzero(dropped))
            self._timeline.add_iterations(part.intended_s[dropped], [])
            made = ~dropped
        self._made.add("latency", part.latency_s[made])
        self._made.add("service time", part.service_s[made])
        inside = phases.mask(moments, None)
        latency, request = (
            (part.latency_s, part.request)
            if inside.all()
            else (
                part.latency_s[inside],
                part.request[inside],
            )
        )
        self._requests.add(None, latency)
        for name, values in _by_name(request, latency):
            self._requests.add(name, values)

    def finish(self) -> Overview:
        names = [name for name in self._requests.keys() if isinstance(name, str)]  # noqa: SIM118 - not a mapping
        return Overview(
            timeline=self._timeline.finish(),
            by_request={name: self._requests[name] for name in (None, *sorted(names))},
            made={name: self._made[name] for name in ("service time", "latency")},
            count=self._count,
            dropped=self._dropped,
            last_end_s=self._last_end_s,
        )


def _by_name(labels: Labels, values: Floats) -> list[tuple[str, Floats]]:
    """The values of each text that occurs."""
    present = np.flatnonzero(np.bincount(labels.codes[labels.codes >= 0], minlength=len(labels.names)))
    named = [(code, name) for code in present.tolist() if (name := labels.names[code]) is not None]
    if len(named) == 1 and (labels.codes >= 0).all():
        return [(named[0][1], values)]
    if len(named) <= _FEW_NAMES:
        return [(name, values[labels.codes == code]) for code, name in named]
    order = np.argsort(labels.codes, kind="stable")
    edges = np.searchsorted(labels.codes[order], [[code, code + 1] for code, _ in named])
    return [(name, values[order[low:high]]) for (_, name), (low, high) in zip(named, edges, strict=True)]


def in_fixed_order(outcome: Labels) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Outcomes as indices into OUTCOMES, so that equal outcomes look alike in every report."""
    order = [OUTCOMES.index(name) if name in OUTCOMES else -1 for name in outcome.names]
    return np.asarray([*order, -1], dtype=np.int32)[outcome.codes]
