"""What objectives read: the requests gathered by filter and phase, all in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from faultload.record.measured import Measured
from faultload.record.rows import Floats, Mask, Samples
from faultload.spec.measures import measure_of
from faultload.spec.term import LATENCIES, Objective, Term
from faultload.verdict.alerts import ReplayedRule
from faultload.verdict.phases import Phases
from faultload.verdict.recoveries import by_fault
from faultload.verdict.writes import WriteCounts, write_counts
from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.latency.events import EventCounter, LongestEvent
from faultload_analysis.latency.generator import Spoiled
from faultload_analysis.latency.population import KEEP, Population
from faultload_analysis.latency.throughput import RateCounter
from faultload_analysis.latency.windows import WindowCounter
from faultload_analysis.recovery.faults import Recovery
from faultload_analysis.recovery.overload import Overload


@dataclass(frozen=True, slots=True)
class Selection:
    """Which values of which requests: latency or service time, by filters and phase.

    Of spoiled seconds the failures count, always: late is not failed. Their ok requests count for outcomes, if
    `spoiled_too`, and not for how long they took, which the generator may have prolonged.
    """

    subject: str
    filters: tuple[tuple[str, str], ...] = ()
    phase: str | None = None
    spoiled_too: bool = False

    @classmethod
    def of(cls, term: Term, phase: str | None, *, spoiled_too: bool = False) -> Selection:
        """What a term reads during a phase."""
        subject = term.measured if term.measured in LATENCIES else "latency"
        # a condition asks how long a request took, which the generator may have prolonged
        return cls(subject, _request_filters(term), phase, spoiled_too and term.condition is None)


@dataclass(frozen=True, slots=True)
class Completions:
    """Ok requests by completion over a stretch, in slices of its own."""

    filters: tuple[tuple[str, str], ...]
    start_s: float
    end_s: float

    @classmethod
    def of(cls, term: Term, stretch: tuple[float, float]) -> Completions:
        """What a term reads of a stretch."""
        return cls(_request_filters(term), *stretch)


@dataclass(frozen=True, slots=True)
class Windowed:
    """Requests of a selection in windows of time, and how many of each took longer than `over` (None: failed).

    `events`: the longest stretch of them too.
    """

    selection: Selection
    width_s: float
    over: float | None
    events: bool = False

    def counter(self, phases: Phases) -> WindowCounter:
        """What counts them."""
        kind = EventCounter if self.events else WindowCounter
        return kind(phases.stretches(self.selection.phase), self.width_s, self.over)


def _request_filters(term: Term) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(term.selection.items()))


@dataclass(frozen=True, slots=True)
class OddValues:
    """How many values of an observation are no number (they say nothing), below all numbers, and above them."""

    nan: int = 0
    below: int = 0
    above: int = 0

    def noted(self, found: Estimate) -> Estimate:
        """An estimate that was made without them, those above aside; with any below, nothing bounds it there."""
        counts = ((self.nan, "no number, left out"), (self.below, "-infinity, left out"), (self.above, "infinity"))
        told = [f"{count} of the values observed: {what}" for count, what in counts if count]
        why = "; ".join(filter(None, [found.why, *told]))
        return replace(found, low=None, why=why) if self.below else replace(found, why=why)


Reader = Callable[[Samples, Floats], None]


class Wanted:
    """What objectives ask for before the pass over the requests."""

    def __init__(self, phases: Phases, *, any_spoiled: bool = False) -> None:
        self._phases, self._any_spoiled = phases, any_spoiled
        self.selections: dict[Selection, set[float]] = {}
        self.rates: set[Completions] = set()
        self.windowed: set[Windowed] = set()

    def requests(self, term: Term, phase: str | None, target: float | None = None) -> None:
        """All requests that a term reads during a phase, for their outcomes; counted exactly above `target`."""
        self._want(Selection.of(term, phase, spoiled_too=self._any_spoiled), target)

    def latencies(self, term: Term, phase: str | None, target: float | None = None) -> None:
        """The latencies that a term reads during a phase, counted exactly above `target`."""
        self._want(Selection.of(term, phase), target)

    def _want(self, selection: Selection, target: float | None) -> None:
        self.selections.setdefault(selection, set()).update([] if target is None else [target])

    def completions(self, term: Term, phase: str | None) -> None:
        """The ok requests that a term reads, by completion, over the longest stretch of a phase."""
        stretch = self._phases.longest_stretch(phase)
        if stretch is not None:
            self.rates.add(Completions.of(term, stretch))

    def windows(self, term: Term, phase: str | None, width_s: float, over: float | None) -> None:
        """The requests that a term reads, in windows of a phase."""
        self.windowed.add(Windowed(Selection.of(term, phase), width_s, over))

    def events(self, term: Term, phase: str | None, longest_s: float, over: float) -> None:
        """The requests that a term reads, for the longest event among them."""
        self.windowed.add(Windowed(Selection.of(term, phase), longest_s, over, events=True))

    def in_steps(self, objectives: Sequence[Objective]) -> Iterator[Objective]:
        """Each objective during each step of the load."""
        for span in self._phases.steps:
            yield from (replace(one, phase=span.name) for one in objectives)


@dataclass(frozen=True)
class Evidence:
    """Everything that an objective may read. What was not gathered ahead is gathered when it is asked for.

    `recoveries` by fault label, `overloads` by surge, `alerts`: the scenario's own rules by name; `failure_rates`:
    failures per second in production, by fault, as the scenario declares them; `capacities`: kept by SLO, see
    `faultload.verdict.capacity`.
    """

    measured: Measured
    phases: Phases
    recoveries: Mapping[str, Recovery]
    spoiled: Spoiled | None = None
    confidence: float = 0.95
    overloads: Mapping[str, Overload] = field(default_factory=dict)
    alerts: Mapping[str, ReplayedRule] = field(default_factory=dict)
    failure_rates: Mapping[str, float] = field(default_factory=dict)
    capacities: dict[tuple[str, ...], Any] = field(default_factory=dict, repr=False)
    _populations: dict[Selection, Population] = field(default_factory=dict, repr=False)
    _rates: dict[Completions, RateCounter] = field(default_factory=dict, repr=False)
    _windows: dict[Windowed, WindowCounter] = field(default_factory=dict, repr=False)

    def gather(self, objectives: Sequence[Objective], readers: Sequence[Reader] = ()) -> None:
        """One pass for all objectives, and for whatever else wants to see the requests."""
        wanted = Wanted(self.phases, any_spoiled=self._any_spoiled)
        for one in objectives:
            measure_of(one.term).gather(one, wanted)
        self._pass(wanted.selections, wanted.rates, readers, wanted.windowed)

    def estimate(self, objective: Objective) -> Estimate:
        """The measure of an objective with its bounds, in base units; never raises for missing data."""
        return measure_of(objective.term).estimate(self, objective)

    def requests_of(self, term: Term, phase: str | None, target: float | None = None) -> Population:
        """All requests that a term reads, in order of intended start, for their outcomes: of spoiled seconds too.

        Counts above `target` are exact if it was gathered.
        """
        return self._population(Selection.of(term, phase, spoiled_too=self._any_spoiled), target)

    @property
    def _any_spoiled(self) -> bool:
        return self.spoiled is not None and self.spoiled.seconds > 0

    def requests(self, phase: str | None) -> int:
        """How many requests a phase has, without the ok ones of spoiled seconds."""
        return self._population(Selection("latency", phase=phase), None).n

    def _population(self, selection: Selection, target: float | None) -> Population:
        if selection not in self._populations:
            self._pass({selection: set() if target is None else {target}}, set(), ())
        return self._populations[selection]

    def completions(self, term: Term, phase: str | None) -> RateCounter | None:
        """The ok requests that a term reads by completion, over a phase's longest stretch; None without one."""
        stretch = self.phases.longest_stretch(phase)
        if stretch is None:
            return None
        completions = Completions.of(term, stretch)
        if completions not in self._rates:
            self._pass({}, {completions}, ())
        return self._rates[completions]

    def windows(self, term: Term, phase: str | None, width_s: float, over: float | None) -> WindowCounter:
        """The requests that a term reads in windows of each stretch of a phase, without spoiled seconds."""
        wanted = Windowed(Selection.of(term, phase), width_s, over)
        if wanted not in self._windows:
            self._pass({}, (), (), {wanted})
        return self._windows[wanted]

    def events(self, term: Term, phase: str | None, longest_s: float, over: float) -> LongestEvent:
        """What it means for the requests that a term reads that no event makes them slow for longer than so."""
        wanted = Windowed(Selection.of(term, phase), longest_s, over, events=True)
        if wanted not in self._windows:
            self._pass({}, (), (), {wanted})
        counter = self._windows[wanted]
        assert isinstance(counter, EventCounter)
        return counter.found()

    def values_of(self, term: Term, phase: str | None, target: float | None = None) -> Population:
        """The latencies or the observation that a term reads, in order of time; see `Selection`."""
        if term.subject in LATENCIES:
            return self._population(Selection.of(term, phase), target)
        found = Population(targets=[] if target is None else [target])
        for _, values in self._observed(term, phase):
            found.add(values[values > -np.inf])
        return found

    def odd_values(self, term: Term, phase: str | None) -> OddValues:
        """The values of an observation that are no number, or infinite; none of what is no observation."""
        if term.subject in LATENCIES:
            return OddValues()
        parts = [values[~np.isfinite(values)] for _, values in self._observed(term, phase)]
        odd = np.concatenate(parts or [np.empty(0)])
        nan, below = (int(np.count_nonzero(one)) for one in (np.isnan(odd), odd == -np.inf))
        return OddValues(nan, below, odd.size - nan - below)

    def observed(self, term: Term, phase: str | None) -> tuple[Floats, Floats]:
        """Times in seconds and values of an observation, each of shape (n,), in order of time."""
        parts = [(np.empty(0), np.empty(0)), *self._observed(term, phase)]
        times, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return times, values

    def _observed(self, term: Term, phase: str | None) -> Iterator[tuple[Floats, Floats]]:
        for part in self.measured.record.observations():
            chosen = part.name.equal(term.subject) & self.phases.mask(part.t_s, phase)
            for label in ("journey", "variant"):
                if label in term.filters:
                    chosen &= part.labels[label].equal(term.filters[label])
            yield part.t_s[chosen], part.value[chosen]

    def has_metric(self, name: str) -> bool:
        """Whether instances were asked for a metric of that name."""
        return name in self.measured.metrics.name.names

    def instances(
        self, metric: str, filters: Mapping[str, str], phase: str | None
    ) -> Iterator[tuple[Floats, Floats]]:
        """Times in seconds and values of a metric during a phase, for each instance that has any."""
        series = self.measured.metrics
        chosen = series.name.equal(metric) & self.phases.mask(series.t_s, phase)
        for label in ("service", "instance"):
            if label in filters:
                chosen &= series.labels[label].equal(filters[label])
        codes = series.labels["instance"].codes
        for code in np.unique(codes[chosen]):
            rows = chosen & (codes == code)
            yield series.t_s[rows], series.value[rows]

    def iterations(self, filters: Mapping[str, str], phase: str | None) -> tuple[int, int]:
        """How many iterations of the journeys were due in a phase, and how many of them went well."""
        total = well = 0
        for part in self.measured.record.iteration_ends():
            chosen = self.phases.mask(part.intended_s, phase)
            for label in ("journey", "variant"):
                if label in filters:
                    chosen &= getattr(part, label).equal(filters[label])
            total += int(np.count_nonzero(chosen))
            well += int(np.count_nonzero(chosen & part.outcome.equal("ok")))
        return total, well

    def recoveries_of(self, fault: str) -> list[tuple[str, Recovery]]:
        """Label and recovery of one fault over its repeats; of all faults when the name is empty."""
        return by_fault(self.recoveries, fault)

    def why_not_injected(self, fault: str) -> str:
        """Why there is no recovery of a fault, or of any when the name is empty."""
        held = next((one for one in self.measured.faults if one.gate is False and fault in ("", one.fault)), None)
        if held is not None:
            return f"{held.label} was not injected: {held.gate_why}"
        return f"fault '{fault}' was not injected" if fault else "no fault was injected"

    @property
    def writes(self) -> WriteCounts | None:
        """The write ledger after it was read back; None where it was not."""
        return write_counts(self.measured)

    def _pass(
        self,
        wanted: Mapping[Selection, set[float]],
        rates: Iterable[Completions],
        readers: Sequence[Reader],
        windowed: Iterable[Windowed] = (),
    ) -> None:
        populations = {
            one: Population(targets=sorted(targets), keep=KEEP)
            for one, targets in wanted.items()
            if one not in self._populations
        }
        counters = {one: RateCounter(one.start_s, one.end_s) for one in rates if one not in self._rates}
        windows = {one: one.counter(self.phases) for one in windowed if one not in self._windows}
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="readers") as beside:
            read: Future[None] | None = None
            for part in self.measured.record.samples():
                view = _View(part, self)
                if read is not None:
                    read.result()
                read = beside.submit(_read_all, readers, part, view.moments())
                for selection, population in populations.items():
                    values, chosen = view.values(selection), view.chosen(selection)
                    population.add(values if chosen.all() else values[chosen])
                for one, window in windows.items():
                    values, chosen = view.values(one.selection), view.chosen(one.selection)
                    window.add(view.moments()[chosen], values[chosen])
                for completions, counter in counters.items():
                    counter.add(part.ended_s[part.ok & view.matching(completions.filters)])
            if read is not None:
                read.result()
        self._populations.update(populations)
        self._rates.update(counters)
        self._windows.update(windows)


def _read_all(readers: Sequence[Reader], part: Samples, moments: Floats) -> None:
    for reader in readers:
        reader(part, moments)


class _View:
    """One chunk of requests; masks that several selections share are made once."""

    def __init__(self, part: Samples, evidence: Evidence) -> None:
        self._part = part
        self._evidence = evidence
        self._masks: dict[object, Mask] = {}
        self._moved: Floats | None = None

    def values(self, selection: Selection) -> Floats:
        return self._part.latency_s if selection.subject == "latency" else self._part.service_s

    def chosen(self, selection: Selection) -> Mask:
        mask = self.matching(selection.filters) & self._during(selection.phase)
        spoiled = self._evidence.spoiled
        if spoiled is not None and spoiled.seconds and not selection.spoiled_too:
            mask &= ~self._once("spoiled", lambda: self._part.ok & spoiled.at(self._part.intended_s))
        return mask

    def matching(self, filters: tuple[tuple[str, str], ...]) -> Mask:
        if not filters:
            return self._once(filters, lambda: np.ones(len(self._part), dtype=np.bool_))
        record = self._evidence.measured.record
        return self._once(filters, lambda: self._part.matching(dict(filters), record))

    def _during(self, phase: str | None) -> Mask:
        return self._once(("during", phase), lambda: self._evidence.phases.mask(self.moments(), phase))

    def moments(self) -> Floats:
        """When each request counts for a phase."""
        if self._moved is None:
            self._moved = self._evidence.phases.moments(self._part.intended_s, self._part.ended_s)
        return self._moved

    def _once(self, key: object, make: Callable[[], Mask]) -> Mask:
        if key not in self._masks:
            self._masks[key] = make()
        return self._masks[key]
