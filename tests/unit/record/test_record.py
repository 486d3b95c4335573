"""The run directory: lines that survive a crash, JSON without infinities, results, and no secret in any of them."""

from __future__ import annotations

import json
import math
import multiprocessing
from pathlib import Path

import pytest

from faultload.commands import crash
from faultload.errors import InvalidInput
from faultload.host.secrets import SECRETS_ENV
from faultload.record import directory as record
from faultload.record import tables
from faultload.record.directory import RunDirectory
from faultload.record.events import Gate, Note
from faultload.record.lines import LineTail, append_line, numbered_lines
from faultload.record.redactor import Redactor
from faultload.record.sealed import seal

SECRET = 'pa"ss\\wörd'


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "run")
    run.begin({"profile": "full"})
    return run


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("LONGER", SECRET + "-and-more")
    monkeypatch.setenv("SHORT", "1234567")
    monkeypatch.setenv(SECRETS_ENV, "TOKEN,LONGER,SHORT,NOT_SET")
    return SECRET


def test_a_run_directory_must_be_new_or_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert RunDirectory.create(tmp_path / "empty").log("load-0").parent.is_dir()
    with pytest.raises(InvalidInput, match="is not empty"):
        RunDirectory.create(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="is not empty"):
        RunDirectory.create(tmp_path / "file")
    with pytest.raises(InvalidInput, match="cannot make the run directory"):
        RunDirectory.create(tmp_path / "file" / "run")
    with pytest.raises(InvalidInput, match=r"it has no run\.json"):
        RunDirectory.existing(tmp_path)


def test_run_json_holds_the_zero_before_anything_starts(run: RunDirectory) -> None:
    info = RunDirectory.existing(run.path).info()
    assert info.profile == "full"
    assert set(info.to_json()) >= {"versions", "machine", "t0", "started"}
    assert info.t0 is not None
    assert RunDirectory(run.path).clock.t0_ns == info.t0.monotonic_ns
    assert 0 <= RunDirectory(run.path).clock.now() < 60
    run.update({"verdict": "PASS"})
    assert run.info().verdict == "PASS"
    assert run.info().t0 == info.t0


def test_events_by_kind(run: RunDirectory) -> None:
    run.event("note", what="one")
    run.event("gate", t=7.5, fault="cut", k=1, passed=False)
    assert [event.kind for event in run.events()] == ["note", "gate"]
    assert run.events_of(Gate)[0].t == 7.5
    assert 0 <= run.events_of(Note)[0].t < 60


def test_json_has_no_infinity(run: RunDirectory) -> None:
    run.write_verdict({"a": math.inf, "b": [-math.inf, math.nan], "c": {1: (2, 3)}, "d": 10**20})
    assert run.verdict() == {"a": "inf", "b": ["-inf", None], "c": {"1": [2, 3]}, "d": 10**20}
    assert RunDirectory(run.path / "none").verdict() is None


def test_a_torn_line_is_left_out_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_line(path, {"n": 1}, sync=True)
    with open(path, "ab") as file:
        file.write(b'{"n": 2, "text": "cut o')
    assert list(numbered_lines(path)) == [(1, {"n": 1})]
    append_line(path, {"n": 3})
    assert list(numbered_lines(path)) == [(1, {"n": 1}), (3, {"n": 3})]
    with open(path, "ab") as file:
        file.write(b"5\n[6]\nnull\n\xff\xfe\n")
    assert [number for number, _ in numbered_lines(path)] == [1, 3]
    assert list(numbered_lines(tmp_path / "none.jsonl")) == []


def append_many(path: Path, writer: int) -> None:
    for n in range(100):
        append_line(path, {"writer": writer, "n": n, "text": "x" * 2000})


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_many, args=(path, writer)) for writer in range(3)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(20)
        assert one.exitcode == 0
    for writer in range(3):
        assert [line["n"] for _, line in numbered_lines(path) if line["writer"] == writer] == list(range(100))


def test_a_tail_gives_each_line_once_and_waits_for_one_under_way(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = LineTail(path)
    assert tail.read() == []
    append_line(path, {"n": 1})
    append_line(path, {"n": 2})
    assert [line["n"] for line in tail.read()] == [1, 2]
    with open(path, "ab") as file:
        file.write(b'{"n": ')
        file.flush()
        assert tail.read() == []
        file.write(b'3}\n7\n{"n": 4')
    assert [line["n"] for line in tail.read()] == [3]
    append_line(path, {"n": 5})
    assert [line["n"] for line in tail.read()] == [5]
    assert tail.read() == []


def test_a_log_past_its_limit_keeps_its_last_lines(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "LOG_LIMIT_BYTES", 1000)
    run.log("load-0").write_text("".join(f"line {n:03}\n" for n in range(200)))
    run.log("warden").write_text("short\n")
    run.trim_logs()
    lines = run.log("load-0").read_text().splitlines()
    assert lines == [f"line {n:03}" for n in range(200 - len(lines), 200)]
    assert 50 < len(lines) <= 55
    assert run.log("warden").read_text() == "short\n"


def found_in(folder: Path, text: str) -> list[str]:
    """Files of a folder in which a text stands: plain, or as JSON escapes it."""
    forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(form.encode() in path.read_bytes() for form in forms)
    ]


def test_no_secret_in_anything_that_is_written(tmp_path: Path, secret: str) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.begin({"scenario": {"load": {"token": secret}, secret: 1}, "command": ["--set", f"x={secret}"]})
    run.update({"why": f"refused {secret}"})
    run.event("note", text=f"<{secret}>", fields={secret: [secret, {"deep": secret}]})
    append_line(run.faults_path, {"undo": {"dsn": f"postgresql://u:{secret}@h"}})
    run.write_verdict({"reasons": [secret], secret: None})
    run.write_text("summary.md", f"it was {secret}\n")
    run.log("load-0").write_text(f"plain {secret} repr {secret!r} json {json.dumps(secret)}\n")
    run.chaos_journal("cut", 1).write_text(json.dumps({"output": secret}))
    run.write_checks_path.write_text(json.dumps({"error": secret}, ensure_ascii=False))
    run.redact_foreign_files()
    assert found_in(run.path, secret) == []
    assert run.events_of(Note)[0].text == "<***TOKEN***>"
    assert run.events()[0].to_json()["fields"] == {"***TOKEN***": ["***TOKEN***", {"deep": "***TOKEN***"}]}
    assert run.info().scenario == {"load": {"token": "***TOKEN***"}, "***TOKEN***": 1}
    assert (run.verdict() or {})["reasons"] == ["***TOKEN***"]
    assert run.log("load-0").read_text().count("***TOKEN***") == 3
    assert json.loads(run.chaos_journal("cut", 1).read_text()) == {"output": "***TOKEN***"}


def test_no_secret_in_a_table_or_a_crash_file(tmp_path: Path, secret: str, state: Path) -> None:
    for names in (["GET /?t=" + secret, None], (["x", None])):
        folder = tmp_path / f"run-{len(names[0] or '')}"
        folder.mkdir()
        writer = tables.TableWriter(folder, "observations")
        plain = {"t_ns": [1, 2], "value": [0.5, 1], "journey": ["A", secret], "variant": [None, None]}
        writer.write({**plain, "name": ([0, 1], names)})
        writer.close()
        seal(folder)
        table = tables.read(folder, "observations")
        assert table["journey"].to_pylist() == ["A", "***TOKEN***"]
        assert secret not in str(table["name"].to_pylist())
    try:
        raise RuntimeError(f"cannot log in with {secret}")
    except RuntimeError as error:
        crash.write_crash(error)
    assert "***TOKEN***" in next((state / "crashes").iterdir()).read_text()
    assert found_in(state, secret) == []


def test_the_longest_secret_is_replaced_first(secret: str) -> None:
    redactor = Redactor.from_environment()
    assert redactor.text(f"{secret}-and-more {secret}") == "***LONGER*** ***TOKEN***"
    assert redactor.text("1234567") == "1234567", "under eight characters there would be false hits"
    assert not Redactor(()).knows_secrets
