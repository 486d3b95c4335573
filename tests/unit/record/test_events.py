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


@pytest.mark.parametrize(
    "line",
    [
        '{"t":1.0,"wall":"w","kind":"health","worker":2,"n":7,"loop_lag_p99_ms":1.5,"users":3,"newer":[1]}',
        '{"t":1,"kind":"health","cpu_percent":NaN,"p50_ms":-Infinity,"p99_ms":"high","ok":"5","failed":2.0}',
        '{"t":1.0,"kind":"health","cpu_percent":1e999,"p50_ms":true}',
        '{"t":1.0,"kind":"count","worker":null,"n":0,"rows":{"metrics":[[4,2,9007199254740991]]},"last":true}',
        '{"t":1.0,"kind":"count","n":1,"rows":{},"made":{"samples":3}}',
        r'{"t":1.0,"kind":"health","wall":"\ud800"}',
        '{"t":1.0,"kind":"note","kind":"health","worker":1}',
        '{"t":1.0,"kind":"health","kind":"note","what":"late"}',
        '{"t":1.0,"kind":"note","what":"late","of":{"kind":"health","t":2.0}}',
        r'{"t":1.0,"kind":"note","text":"\"kind\":\"health\""}',
        '{"t":1.0, "kind": "health", "worker": 4}',
    ],
)
def test_an_event_read_at_once_from_its_line_is_the_one_that_its_fields_are(run: RunDirectory, line: str) -> None:
    run.events_path.write_text(line + "\n")
    [found] = run.events()
    wanted = event_of(json.loads(line))
    assert (type(found), found, found.model_fields_set) == (type(wanted), wanted, wanted.model_fields_set)
    assert run.events_of(type(wanted)) == [wanted]


@pytest.mark.parametrize(
    "line", [b'{"t":1,"kind":"health"', b'["kind":"count"]', b'[{"kind":"health"}]', b"", b"\xff"]
)
def test_a_line_that_holds_no_object_is_left_out(run: RunDirectory, line: bytes) -> None:
    run.events_path.write_bytes(line + b'\n{"t":2.0,"kind":"health"}\n')
    assert [one.t for one in run.events()] == [2.0]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"t":1.0,"kind":"count","n":0,"rows":{"samples":[[1,2]]}}', "rows.samples[0].2"),
        ('{"t":1.0,"kind":"count"}', "n"),
        ('{"t":"soon","kind":"health"}', "t"),
    ],
)
def test_a_mistake_in_an_event_of_every_second_names_line_and_key(run: RunDirectory, line: str, key: str) -> None:
    run.event("health", t=0.5)
    with open(run.events_path, "a") as file:
        file.write(line + "\n")
    with pytest.raises(InvalidInput) as caught:
        run.events()
    assert str(caught.value).startswith(f"{run.events_path}:2: {key}: ")


def test_it_is_frozen() -> None:
    event = event_of({"t": 1.0, "kind": "note"})
    with pytest.raises(ValueError, match="frozen"):
        event.t = 2.0  # type: ignore[misc]
