"""events.jsonl as Event: read as it was written, by kind; a mistake names file, line and key."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from faultload.errors import InvalidInput
from faultload.record.directory import RunDirectory
from faultload.record.events import (
    Abort,
    Event,
    Gate,
    Health,
    LocustTable,
    Note,
    ProcessEvent,
    Slots,
    Witness,
    event_of,
)
from faultload.record.lines import append_line

EVENTS: list[tuple[type[Event], dict[str, Any]]] = [
    (Gate, {"kind": "gate", "fault": "cut", "k": 1, "passed": False, "why": "not ready"}),
    (
        Witness,
        {"kind": "witness", "fault": "cut", "k": 1, "of": "gone", "seen": True, "what": "back", "by": "undo"},
    ),
    (Note, {"kind": "note", "what": "late", "text": "3 s late"}),
    (Slots, {"kind": "note", "what": "slots", "worker": 1, "offered": 9, "started": 8}),
    (LocustTable, {"kind": "note", "what": "locust_table", "worker": 0, "requests": 5, "p99": 150, "unit": "ms"}),
    (ProcessEvent, {"kind": "process", "process": "warden", "state": "started", "pid": 7, "started": 12.5}),
    (Health, {"kind": "health", "worker": 2, "cpu_percent": 5.5, "p99_ms": None, "busy_users": 3}),
    (Abort, {"kind": "abort", "why": "too many errors"}),
    (Event, {"kind": "stage", "stage": {"kind": "hold"}}),
    (Event, {"kind": "alert", "name": "HighErrors", "deep": {"a": [1]}}),
]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "run")
    run.begin({})
    return run


@pytest.mark.parametrize(("kind", "fields"), EVENTS)
def test_what_is_read_is_what_was_written(run: RunDirectory, kind: type[Event], fields: dict[str, Any]) -> None:
    run.event(fields["kind"], **{key: value for key, value in fields.items() if key != "kind"})
    (event,) = run.events()
    assert type(event) is kind
    written = json.loads(run.events_path.read_text())
    assert event.to_json() == written
    assert written == {"t": event.t, "wall": event.wall, **fields}


def test_events_of_a_class_are_found_among_others(run: RunDirectory) -> None:
    for _, fields in EVENTS:
        append_line(run.events_path, {"t": 1.0, **fields})
    assert len(run.events()) == len(EVENTS)
    assert [note.what for note in run.events_of(Note)] == ["late", "slots", "locust_table"]
    assert [slots.offered for slots in run.events_of(Slots)] == [9]
    assert [gate.label for gate in run.events_of(Gate)] == ["cut#1"]


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"kind": "gate", "fault": "cut", "k": 1, "passed": "perhaps"}, "passed"),
        ({"kind": "gate", "k": 1, "passed": True}, "fault"),
        ({"kind": "witness", "fault": "cut", "k": "first", "of": "there", "seen": True}, "k"),
        ({"kind": "health", "worker": "first"}, "worker"),
        ({"kind": "note", "what": "slots"}, "offered"),
        ({"kind": "process", "process": "load-0", "state": "started", "pid": []}, "pid"),
        ({"kind": "health", "t": "soon"}, "t"),
        ({"kind": "health", "t": "inf"}, "t"),
        ({"kind": 5}, "kind"),
        ({}, "kind"),
    ],
)
def test_a_mistake_names_file_line_and_key(run: RunDirectory, fields: dict[str, Any], key: str) -> None:
    run.event("note", what="fine")
    append_line(run.events_path, {"t": 1.0, **fields})
    with pytest.raises(InvalidInput) as caught:
        run.events()
    assert str(caught.value).startswith(f"{run.events_path}:2: {key}: ")
    assert "put back a copy" in str(caught.value)


def test_who_asks_for_one_class_is_not_kept_by_a_mistake_in_another(run: RunDirectory) -> None:
    append_line(run.events_path, {"kind": "health", "t": "soon"})
    run.event("process", process="load-0", state="ready")
    assert [one.process for one in run.events_of(ProcessEvent)] == ["load-0"]


@pytest.mark.parametrize("value", ["high", "inf", None, [], math.nan, math.inf])
def test_a_gauge_that_is_no_number_was_not_measured(value: object) -> None:
    health = event_of({"t": 1.0, "kind": "health", "cpu_percent": value, "p50_ms": 3})
    assert isinstance(health, Health)
    assert (health.cpu_percent, health.p50_ms) == (None, 3.0)


def test_it_is_frozen() -> None:
    event = event_of({"t": 1.0, "kind": "note"})
    with pytest.raises(ValueError, match="frozen"):
        event.t = 2.0  # type: ignore[misc]
