"""What a run measured: its rows in chunks, metrics, faults, events, writes and load times."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any

from faultload.record.directory import E, RunDirectory
from faultload.record.events import Event, Gate, Health, Note, Witness
from faultload.record.faults import OPEN_STATES, FaultLine
from faultload.record.info import PlannedInjection, RunInfo
from faultload.record.recorded import Recorded
from faultload.record.rows import Record, Series
from faultload.record.writes import WriteChecks
from faultload.spec.stages import Stage, cooldown_start, end_of, warmup_end


@dataclass(frozen=True)
class FaultTimes:
    """One injected (or skipped) fault. Times are seconds on the run's clock; None where it never got that far.

    `fault` is its name in the scenario, `k` which repetition it is (from 1), `kind` its word. `gate` and
    `witnessed` say whether the gate was open and whether the fault was seen; `gate_why`, `witness_what` and
    `gone_what` give the details.
    """

    fault: str
    k: int
    kind: str
    instances: list[Mapping[str, Any]] = field(default_factory=list)
    injected_at: float | None = None
    active_at: float | None = None
    undone_at: float | None = None
    ended_at: float | None = None
    """Of one that ended early, by somebody else: when it was last seen."""
    ended_what: str = ""
    max_duration_s: float | None = None
    one_shot: bool = False
    """Whether the fault ends without being undone, as a kill does."""
    state: str = "SKIPPED"
    gate: bool | None = None
    gate_why: str = ""
    witnessed: bool | None = None
    witness_what: str = ""
    gone_what: str = ""

    @property
    def label(self) -> str:
        """The name of the fault and which repetition it is, such as `api-kill#1`."""
        return f"{self.fault}#{self.k}"

    @property
    def over_at(self) -> float | None:
        """Where its own time ends: it was undone, or had ended before."""
        return self.undone_at if self.ended_at is None else self.ended_at

    @property
    def lasted_s(self) -> float | None:
        """How long it was there, in seconds; None where it has no end."""
        if self.over_at is None or self.injected_at is None:
            return None
        return self.over_at - (self.injected_at if self.active_at is None else self.active_at)

    @property
    def still_open(self) -> bool:
        """Whether the record ends with the fault still in place."""
        return self.state in OPEN_STATES


@dataclass(frozen=True)
class Measured:
    """A run directory as it is judged. `steady_from_s`: where its warm-up ends, if not with the ramps."""

    info: RunInfo
    events: Sequence[Event]
    record: Record
    metrics: Series
    faults: Sequence[FaultTimes]
    write_checks: WriteChecks | None
    steady_from_s: float | None = None

    @property
    def promises(self) -> int:
        """The number of the record: which rules about completeness it can be held to; 0 of before it had one."""
        return self.info.record

    @property
    def stages(self) -> Sequence[Stage]:
        return self.info.load.stages

    @cached_property
    def load_start_s(self) -> float:
        """Seconds from the run's zero to the load's start; the first sample's when it was not noted."""
        if self.info.load_start_s is not None:
            return self.info.load_start_s
        first = next(self.record.times(), None)
        return 0.0 if first is None else float(first.intended_s[0])

    @cached_property
    def load_end_s(self) -> float:
        """Where the load ended: as planned, or where it was cut short."""
        planned = self.load_start_s + end_of(self.stages)
        if self.info.load_end_s is not None:
            return min(planned, self.info.load_end_s)
        if self.info.ended is None:
            ends = [float(part.ended_s.max()) for part in self.record.times() if len(part)]
            return min(planned, max(ends)) if ends else planned
        return planned

    @property
    def warmup_end_s(self) -> float:
        ramps_end = self.load_start_s + warmup_end(self.stages)
        return min(ramps_end if self.steady_from_s is None else self.steady_from_s, self.load_end_s)

    @property
    def cooldown_start_s(self) -> float:
        return min(self.load_start_s + cooldown_start(self.stages), self.load_end_s)

    @cached_property
    def health(self) -> dict[int, list[Health]]:
        """The generator's own health by worker, in order of time."""
        found: dict[int, list[Health]] = {}
        for event in self.of_kind(Health):
            found.setdefault(event.worker, []).append(event)
        return found

    @cached_property
    def by_chance(self) -> frozenset[str]:
        """The names of the faults that came by chance."""
        return frozenset(one.fault for one in self.info.injections if one.by_chance)

    @cached_property
    def held(self) -> list[FaultTimes]:
        """The faults that should have been injected and were not.

        One by chance that the gate or the guard held is none of them, as long as any other came.
        """
        chance = [fault for fault in self.faults if fault.fault in self.by_chance]
        forgiven = any(fault.injected_at is not None for fault in chance)
        return [
            fault
            for fault in self.faults
            if fault.gate is False and not (forgiven and fault.fault in self.by_chance)
        ]

    @cached_property
    def missing(self) -> list[PlannedInjection]:
        """The planned injections that did not happen, and of which the record does not say why.

        None of a run that was cut short: what had not come yet is missed by nobody.
        """
        if self.info.stopped is not None or self.info.ended is None:
            return []
        explained = {(one.fault, one.k) for one in self.faults if one.injected_at is not None or one.gate is False}
        return [one for one in self.info.injections if (one.fault, one.k) not in explained]

    @cached_property
    def _by_class(self) -> Mapping[type[Event], Sequence[tuple[int, Event]]]:
        """The events of each class with their places."""
        found: dict[type[Event], list[tuple[int, Event]]] = {}
        for place, event in enumerate(self.events):
            found.setdefault(type(event), []).append((place, event))
        return found

    def of_kind(self, kind: type[E]) -> Iterator[E]:
        """The events of a class, as they stand in the record."""
        parts = [part for one, part in self._by_class.items() if issubclass(one, kind)]
        return (event for _, event in heapq.merge(*parts, key=itemgetter(0)) if isinstance(event, kind))

    def note(self, what: str) -> Note | None:
        """The last note of a sort."""
        return next((note for note in reversed(list(self.of_kind(Note))) if note.what == what), None)


def read_measured(run: RunDirectory) -> Measured:
    """Read a run directory, sealed or live. Raises InvalidInput when it is none."""
    info = run.info()
    events = run.events()
    record = Recorded(run)
    return Measured(
        info=info,
        events=events,
        record=record,
        metrics=record.metrics(),
        faults=fault_times(run.faults(), events),
        write_checks=run.write_checks(),
    )


def fault_times(lines: Sequence[FaultLine], events: Sequence[Event]) -> list[FaultTimes]:
    """The faults of a run from faults.jsonl and its gate and witness events, in order of time."""
    found: dict[tuple[str, int], dict[str, Any]] = {}

    def of(fault: str, k: int, t: float) -> dict[str, Any]:
        return found.setdefault((fault, k), {"fault": fault, "k": k, "kind": "", "order": t})

    for line in lines:
        one = of(line.fault, line.k, line.t)
        one |= {"kind": line.kind, "state": line.state, "max_duration_s": line.max_duration_s}
        one |= {"one_shot": line.one_shot, "instances": list(line.instances)}
        if line.state == "INJECTING":
            one["injected_at"] = line.t
        if line.state == "ACTIVE":
            one["active_at"] = line.t
        if line.state == "ENDED":
            one["ended_at"] = line.t if line.seen_until is None else line.seen_until
            one["ended_what"] = line.what
        if line.state == "UNDONE":
            one["undone_at"] = line.t
    for event in events:
        if isinstance(event, Gate):
            of(event.fault, event.k, event.t).update(gate=event.passed, gate_why=event.why)
        elif isinstance(event, Witness):
            there = {"witnessed": event.seen, "witness_what": event.what}
            of(event.fault, event.k, event.t).update(there if event.of == "there" else {"gone_what": event.what})
        elif isinstance(event, Note) and event.what == "not_injected" and event.fault is not None:
            of(event.fault, event.k, event.t).update(gate=False, gate_why=event.text)
    ordered = sorted(found.values(), key=lambda one: float(one.get("injected_at") or one["order"]))
    return [FaultTimes(**{key: value for key, value in one.items() if key != "order"}) for one in ordered]
