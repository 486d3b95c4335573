"""faults.jsonl as FaultLine: it is read as it was written, a mistake names file, line and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from faultload.errors import InvalidInput
from faultload.record.directory import RunDirectory
from faultload.record.faults import FaultLine
from faultload.record.lines import append_line

LINE: dict[str, Any] = {
    "t": 2.5,
    "wall": "2026-01-01T00:00:00.000Z",
    "fault": "cut",
    "k": 2,
    "state": "INJECTING",
    "kind": "partition",
    "platform": "local",
    "target_id": "shop",
    "instances": [{"id": "4711", "started": 1, "name": "web-0"}],
    "undo": {"was": "running"},
    "one_shot": False,
    "max_duration_s": 20.0,
    "by": "chaos",
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run")


def test_what_is_read_is_what_was_written(run: RunDirectory) -> None:
    append_line(run.faults_path, FaultLine.from_json(LINE).to_json())
    (line,) = run.faults()
    assert json.loads(json.dumps(line.to_json())) == LINE
    assert (line.label, line.state, line.instances[0]["started"]) == ("cut#2", "INJECTING", 1)


def test_a_key_of_a_newer_version_disturbs_nobody(run: RunDirectory) -> None:
    append_line(run.faults_path, {**LINE, "severity": {"deep": [1]}})
    assert run.faults()[0].to_json()["severity"] == {"deep": [1]}


@pytest.mark.parametrize(("kind", "one_shot"), [("kill", True), ("partition", False), ("unheard_of", False)])
def test_older_lines_are_one_shot_by_their_word(kind: str, one_shot: bool) -> None:
    line = {key: value for key, value in LINE.items() if key != "one_shot"}
    assert FaultLine.from_json({**line, "kind": kind}).one_shot is one_shot


def test_what_the_record_says_counts_more_than_the_word() -> None:
    assert not FaultLine.from_json({**LINE, "kind": "kill", "one_shot": False}).one_shot


@pytest.mark.parametrize(
    ("key", "value"), [("t", None), ("k", "second"), ("instances", {}), ("one_shot", "perhaps"), ("state", 5)]
)
def test_a_wrong_type_names_file_line_and_key(run: RunDirectory, key: str, value: object) -> None:
    for line in (LINE, {**LINE, key: value}):
        append_line(run.faults_path, line)
    with pytest.raises(InvalidInput) as caught:
        run.faults()
    assert str(caught.value).startswith(f"{run.faults_path}:2: {key}: ")


def test_a_missing_key_names_file_line_and_key(run: RunDirectory) -> None:
    append_line(run.faults_path, {key: value for key, value in LINE.items() if key != "max_duration_s"})
    with pytest.raises(InvalidInput, match=r"faults\.jsonl:1: max_duration_s: this key is missing"):
        run.faults()
