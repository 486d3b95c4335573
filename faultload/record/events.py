"""events.jsonl: what happened during a run, with one kind of entry per kind of event."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from faultload.record.entry import Entry, Moment
from faultload.record.lines import object_in

E = TypeVar("E", bound="Event")


def _measured(value: object) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


Gauge = Annotated[float | None, BeforeValidator(_measured)]
"""A measured number; what is none was not measured, which spoils its second and not the run."""


class Event(Entry):
    """What all events have; an event of a kind that only a newer version knows has no more than this."""

    KIND: ClassVar[str | None] = None
    """The kind that a class is for; None: any. Of notes there are classes of their own for some `WHAT`."""
    WHAT: ClassVar[str | None] = None

    t: Moment
    """Seconds on the run's clock."""
    wall: str = ""
    kind: str

    @classmethod
    def is_kind_of(cls, value: Mapping[str, Any]) -> bool:
        """Whether a line is an event of this class."""
        return cls.KIND in (None, value.get("kind")) and cls.WHAT in (None, value.get("what"))


class FaultEvent(Event):
    """What events of a fault have."""

    fault: str
    k: int

    @property
    def label(self) -> str:
        return f"{self.fault}#{self.k}"


class Gate(FaultEvent):
    """The gate's look at the system right before a fault."""

    KIND = "gate"

    passed: bool
    why: str = ""


class Witness(FaultEvent):
    """Whether a fault was seen to be `there`, or `gone` after its undo."""

    KIND = "witness"

    of: str
    seen: bool
    what: str = ""
    by: str = ""


class Note(Event):
    """Something worth knowing: `what` is a word for programs, `text` a sentence for people."""

    KIND = "note"

    what: str = ""
    text: str = ""
    by: str = ""
    worker: int = 0
    fault: str | None = None
    """The fault that it is about, if it is."""
    k: int = 1


class Slots(Note):
    """What became of the slots of a load process, at its end."""

    WHAT = "slots"

    offered: int


class Look(Entry):
    """One look at the hypothesis of an experiment: `before`, `during` or `after` its method."""

    when: str
    met: bool
    why: str = ""


class ExperimentEnded(Note):
    """What Chaos Toolkit says of the experiment of one injection, at its end."""

    WHAT = "experiment_ended"

    status: str = ""
    looks: tuple[Look, ...] = ()
    failed: tuple[str, ...] = ()
    """What the team's own actions and probes did not do, in words."""

    @property
    def injection(self) -> tuple[str | None, int]:
        """Name and number of the injection that it was."""
        return self.fault, self.k


class LocustTable(Note):
    """Locust's own figures of a load process, at its end."""

    WHAT = "locust_table"

    requests: int | None = None
    failures: int | None = None
    p50: Gauge = None
    """Milliseconds, as the others."""
    p90: Gauge = None
    p95: Gauge = None
    p99: Gauge = None


class Abort(Event):
    """An abort condition ended the run."""

    KIND = "abort"

    why: str = ""


class ProcessEvent(Event):
    """A process of the run came to a state: started, ready, ended, failed, died."""

    KIND = "process"

    process: str
    state: str
    pid: int | None = None
    started: float | None = None
    """When the process began, as `host.processes` tells one from another of the same pid."""
    why: str = ""


class Health(Event):
    """A load process over the second that ends at `t`."""

    KIND = "health"

    worker: int = 0
    n: int | None = None
    """The number of the event, from 0 on for each worker; None before record 2."""
    loop_lag_p99_ms: Gauge = None
    cpu_percent: Gauge = None
    users: int | None = None
    ok: int = 0
    failed: int = 0
    started: int = 0
    p50_ms: Gauge = None
    p99_ms: Gauge = None


class Count(Event):
    """What a writer of tables is about to write: a load process, or the telemetry, which is no worker."""

    KIND = "count"

    worker: int | None = None
    n: int
    """The number of the count, from 0 on for each writer."""
    rows: Mapping[str, tuple[tuple[int, int, int], ...]] = Field(default_factory=dict)
    """By table: second of the run's clock, rows whose time lies in it, and their digest (`record/counts.py`)."""
    health: int = 0
    """How many `health` events the load process had written before."""
    last: bool = False
    """Whether it has nothing more to say."""
    made: Mapping[str, int] = Field(default_factory=dict)
    """Of the last one: rows by table as they were counted one by one, when they were made."""


class SamplerNote(Note):
    """The telemetry could not sample the instances of a service (`failed`), or can again (`again`)."""

    WHAT = "sampler"

    service: str | None = None
    """None: of all services."""
    state: str


_CLASSES: Sequence[type[Event]] = (
    Health,
    Count,
    SamplerNote,
    Gate,
    Witness,
    Slots,
    ExperimentEnded,
    LocustTable,
    Note,
    ProcessEvent,
    Abort,
    Event,
)
"""The first that a line is of is its class."""


def event_of(value: Mapping[str, Any], file: Path | None = None, line: int | None = None) -> Event:
    """Read an event. Raises InvalidInput that names file, line and key of every mistake."""
    return next(one for one in _CLASSES if one.is_kind_of(value)).from_json(value, file, line)


_FREQUENT: Mapping[bytes, type[Event]] = {b'"kind":"health"': Health, b'"kind":"count"': Count}


def _frequent(line: bytes) -> Event | None:
    """An event of the kinds that come every second, read at once from its line; None where that cannot be done."""
    for mark, kind in _FREQUENT.items():
        if mark in line:
            try:
                found = kind.model_validate_json(line)
            except ValidationError:
                return None
            return found if found.kind == kind.KIND else None
    return None


def events_in(path: Path, kind: type[E]) -> Iterator[E]:
    """The events of one class in a file, torn lines left out. Raises InvalidInput for one that cannot be read."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            event = _frequent(line)
            if event is None:
                value = object_in(line)
                if value is None or not kind.is_kind_of(value):
                    continue
                event = event_of(value, path, number)
            if isinstance(event, kind):
                yield event
