"""What objectives read: the record's requests gathered by filters and phase, in one pass over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from faultload.record.measured import Measured
from faultload.record.rows import Mask, Samples
from faultload.spec.objective import LATENCIES, Objective, Term
from faultload.verdict.phases import Phases
from faultload_analysis.latency.generator import Spoiled
from faultload_analysis.latency.population import KEEP, Population
from faultload_analysis.latency.throughput import RateCounter
from faultload_analysis.recovery.faults import Recovery
from faultload_analysis.recovery.overload import Overload

_OF_LATENCY = ("availability", "error_rate", "budget", "burn_rate")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which values of which requests: latency or service time, by filters and phase, without spoiled seconds."""

    subject: str
    filters: tuple[tuple[str, str], ...] = ()
    phase: str | None = None

    @classmethod
    def of(cls, term: Term, phase: str | None) -> Selection:
        """What a term reads during a phase."""
        subject = term.subject if term.subject in LATENCIES else "latency"
        return cls(subject, _request_filters(term), phase)


@dataclass(frozen=True, slots=True)
class Completions:
    """Ok requests by completion over a stretch, in slices of its own."""

    filters: tuple[tuple[str, str], ...]
    start_s: float
    end_s: float

    @classmethod
    def of(cls, term: Term, stretch: tuple[float, float]) -> Completions:
        return cls(_request_filters(term), *stretch)


def _request_filters(term: Term) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in term.filters.items() if key != "events"))


Reader = Callable[[Samples], None]


@dataclass(frozen=True)
class Evidence:
    """Everything that an objective may read. What was not gathered ahead is gathered when it is asked for.

    `recoveries` by fault label, `overloads` by surge; `failure_rates`: failures per second in production, by
    fault, as the scenario declares them.
    """

    measured: Measured
    phases: Phases
    recoveries: Mapping[str, Recovery]
    spoiled: Spoiled | None = None
    confidence: float = 0.95
    overloads: Mapping[str, Overload] = field(default_factory=dict)
    failure_rates: Mapping[str, float] = field(default_factory=dict)
    _populations: dict[Selection, Population] = field(default_factory=dict, repr=False)
    _rates: dict[Completions, RateCounter] = field(default_factory=dict, repr=False)

    def gather(self, objectives: Sequence[Objective], readers: Sequence[Reader] = ()) -> None:
        """One pass for all objectives, and for whatever else wants to see the requests."""
        wanted: dict[Selection, set[float]] = {}
        rates: set[Completions] = set()
        for one in objectives:
            for term in (one.term, *(arg for arg in one.term.args if isinstance(arg, Term))):
                if term.subject in LATENCIES or term.name in _OF_LATENCY:
                    targets = wanted.setdefault(Selection.of(term, one.phase), set())
                    if term.subject in LATENCIES and term is one.term:
                        targets.add(one.target.value)
            if one.term.name == "throughput":
                stretch = self.phases.longest_stretch(one.phase)
                rates |= {Completions.of(one.term, stretch)} if stretch is not None else set()
        self._pass(wanted, rates, readers)

    def population(self, selection: Selection, target: float | None = None) -> Population:
        """The selected values in order of intended start; counts above `target` are exact if it was gathered."""
        if selection not in self._populations:
            self._pass({selection: set() if target is None else {target}}, set(), ())
        return self._populations[selection]

    def requests(self, phase: str | None) -> int:
        """How many requests a phase has, without spoiled seconds."""
        return self.population(Selection("latency", phase=phase)).n

    def rate(self, completions: Completions) -> RateCounter:
        if completions not in self._rates:
            self._pass({}, {completions}, ())
        return self._rates[completions]

    def _pass(
        self,
        wanted: Mapping[Selection, set[float]],
        rates: Iterable[Completions],
        readers: Sequence[Reader],
    ) -> None:
        populations = {
            one: Population(targets=sorted(targets), keep=KEEP)
            for one, targets in wanted.items()
            if one not in self._populations
        }
        counters = {one: RateCounter(one.start_s, one.end_s) for one in rates if one not in self._rates}
        for part in self.measured.record.samples():
            view = _View(part, self)
            for selection, population in populations.items():
                values = part.latency_s if selection.subject == "latency" else part.service_s
                chosen = view.chosen(selection)
                population.add(values if chosen.all() else values[chosen])
            for completions, counter in counters.items():
                counter.add(part.ended_s[part.ok & view.matching(completions.filters)])
            for reader in readers:
                reader(part)
        self._populations.update(populations)
        self._rates.update(counters)


class _View:
    """One chunk of requests; masks that several selections share are made once."""

    def __init__(self, part: Samples, evidence: Evidence) -> None:
        self._part = part
        self._evidence = evidence
        self._masks: dict[object, Mask] = {}

    def chosen(self, selection: Selection) -> Mask:
        mask = self.matching(selection.filters) & self._during(selection.phase)
        spoiled = self._evidence.spoiled
        if spoiled is not None and spoiled.seconds:
            mask &= ~self._once("spoiled", lambda: spoiled.at(self._part.intended_s))
        return mask

    def matching(self, filters: tuple[tuple[str, str], ...]) -> Mask:
        if not filters:
            return self._once(filters, lambda: np.ones(len(self._part), dtype=np.bool_))
        record = self._evidence.measured.record
        return self._once(filters, lambda: self._part.matching(dict(filters), record))

    def _during(self, phase: str | None) -> Mask:
        return self._once(("during", phase), lambda: self._evidence.phases.mask(self._part.intended_s, phase))

    def _once(self, key: object, make: Callable[[], Mask]) -> Mask:
        if key not in self._masks:
            self._masks[key] = make()
        return self._masks[key]
