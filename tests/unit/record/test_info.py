"""run.json as RunInfo: it is read as it was written, a mistake names file and key, newer keys disturb nobody."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from synthetic_run import SCENARIO, write_run

from faultload.cli import main
from faultload.errors import ExitCode, InvalidInput
from faultload.load.plan import Plan
from faultload.record.directory import RunDirectory
from faultload.record.info import RunInfo

STAGE = {"kind": "hold", "start_s": 0.0, "end_s": 9.0, "low": 5.0, "high": 5.0, "phase": None}
WHOLE: dict[str, Any] = {
    "record": 1,
    "scenario": SCENARIO,
    "file": "scenarios/x.yaml",
    "profile": "smoke",
    "scaled": {"time": "x 0.3"},
    "seed": 7,
    "command": ["faultload", "run"],
    "load": {"journeys": "x.py", "stages": [STAGE], "workers": 2, "seed": 7, "model": "closed", "mix": {"A": 1.0}},
    "injections": [{"fault": "cut", "k": 2, "at_s": 5.0, "by_chance": True, "process": "chaos-cut-2"}],
    "versions": {"python": "3.11"},
    "t0": {"monotonic_ns": 5, "wall": "2026-01-01T00:00:00.000Z"},
    "target": {"id": "t"},
    "load_start_s": 2.5,
    "ended": 30.0,
    "stopped": {"by": "person", "why": "Ctrl-C"},
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run")


def written(run: RunDirectory, value: object) -> RunDirectory:
    run.info_path.write_text(value if isinstance(value, str) else json.dumps(value))
    return run


def test_what_is_read_is_what_was_written(run: RunDirectory) -> None:
    info = written(run, WHOLE).info()
    assert json.loads(json.dumps(info.to_json())) == WHOLE
    assert (info.load.workers, info.load.closed, info.load.stages[0].end_s) == (2, True, 9.0)
    assert [(one.label, one.by_chance, one.process) for one in info.injections] == [("cut#2", True, "chaos-cut-2")]
    assert info.stopped is not None and info.stopped.by == "person"
    assert info.as_run().name == "database-failover"


def test_what_is_not_there_has_the_meaning_that_it_always_had(run: RunDirectory) -> None:
    info = run.info()
    assert info.to_json() == {}
    assert (info.record, info.profile, info.load.workers, info.load.timeout_s) == (0, "full", 1, 10.0)
    assert (info.load_start_s, info.ended, info.stopped, info.started_target) == (None, None, None, None)
    assert not info.load.closed and info.load.stages == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("load.workers", "two"),
        ("load.workers", 0),
        ("load.workers", 10**30),
        ("load.stages[0].end_s", math.nan),
        ("load_start_s", math.inf),
        ("load_start_s", 1e300),
        ("load.stages[0].low", None),
        ("load.stages[0].kind", "wave"),
        ("load.stages[0].end_s", 1e12),
        ("load.stages[0].low", -1.0),
        ("load.timeout_s", 1e308),
        ("load.timeout_s", 0),
        ("load.drop_after_s", -1),
        ("load.max_users", 10**9),
        ("load_end_s", 1e300),
        ("duration_s", 1e300),
        ("t0.monotonic_ns", "early"),
        ("injections[0].k", "first"),
        ("load_start_s", {}),
        ("scaled", []),
        ("profile", 3),
    ],
)
def test_a_wrong_type_or_an_impossible_value_names_file_and_key(run: RunDirectory, key: str, value: object) -> None:
    changed = json.loads(json.dumps(WHOLE))
    place = changed
    *parts, last = key.replace("[0]", ".0").split(".")
    for part in parts:
        place = place[int(part) if part.isdigit() else part]
    place[last] = value
    with pytest.raises(InvalidInput) as caught:
        written(run, changed).info()
    assert str(caught.value).startswith(f"{run.info_path}: {key}: ")
    assert "put back a copy" in str(caught.value)


@pytest.mark.parametrize(("text", "what"), [("{", "no JSON"), ("[1]", "no JSON object"), ("7", "no JSON object")])
def test_what_is_no_json_object_is_named(run: RunDirectory, text: str, what: str) -> None:
    with pytest.raises(InvalidInput, match=f"run.json: this is {what}"):
        written(run, text).info()


def test_a_missing_key_is_named_by_whoever_needs_it(run: RunDirectory) -> None:
    written(run, {})
    for need, key in (
        (lambda: run.clock, "t0"),
        (lambda: run.info().as_run(), "scenario"),
        (lambda: Plan.of_run(run, 0), "load.host"),
    ):
        with pytest.raises(InvalidInput, match=f"run.json: {key}: this key is missing"):
            need()


def test_a_scenario_that_cannot_be_read_is_named_within_run_json(run: RunDirectory) -> None:
    written(run, {**WHOLE, "scenario": {**SCENARIO, "objectives": ["p99(latency) is good"]}})
    with pytest.raises(InvalidInput, match=r"run\.json: scenario\.objectives\[0\]"):
        run.info().as_run()


def test_a_key_of_a_newer_version_disturbs_nobody_and_stays(run: RunDirectory) -> None:
    newer = {**WHOLE, "source": "another tool", "load": {**WHOLE["load"], "hosts": ["a"], "stages": [STAGE]}}
    written(run, newer).update({"verdict": "PASS"})
    assert json.loads(run.info_path.read_text()) == {**newer, "verdict": "PASS"}
    assert run.info().to_json()["source"] == "another tool"
    assert run.info().load.to_json()["hosts"] == ["a"]


def test_nothing_is_written_that_cannot_be_read(run: RunDirectory) -> None:
    run.begin({})
    with pytest.raises(InvalidInput, match="load_start_s"):
        run.update({"load_start_s": "soon"})
    assert run.info().load_start_s is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"load": {"workers": []}}, "run.json: load.workers: "), ({"scenario": None}, "run.json: scenario: ")],
)
def test_report_of_an_odd_run_is_a_usage_error(
    tmp_path: Path, fields: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run = write_run(tmp_path / "run")
    written(run, {**run.info().to_json(), **fields})
    monkeypatch.setattr("sys.argv", ["faultload", "report", str(run.path)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_it_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunInfo().profile = "smoke"  # type: ignore[misc]
