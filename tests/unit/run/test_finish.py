"""The last part of a run on a machine that gives no more: a verdict is written whole, or its absence is named."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from synthetic_run import write_run

from faultload.errors import NoVerdict, in_words, of_the_machine
from faultload.record import sealed
from faultload.record.directory import RunDirectory
from faultload.run.finish import finish

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_for(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """No room for these results."""
    plain = RunDirectory.write_text

    def write(run: RunDirectory, name: str, text: str) -> Path:
        if name in names:
            raise FULL
        return plain(run, name, text)

    monkeypatch.setattr(RunDirectory, "write_text", write)


def test_a_report_that_has_no_room_is_named_and_the_exit_code_stays_that_of_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    full_for(monkeypatch, "junit.xml", "report.html")
    verdict = finish(run)
    assert capsys.readouterr().err == (
        "junit.xml was not written: No space left on device\nreport.html was not written: No space left on device\n"
    )
    written = run.verdict()
    assert written is not None and written["exit_code"] == verdict["exit_code"] != 70
    assert (run.path / "summary.md").exists() and not (run.path / "report.html").exists()


def test_a_verdict_that_has_no_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run")
    full_for(monkeypatch, "verdict.json")
    with pytest.raises(NoVerdict, match="no verdict was written: No space left on device; `faultload report "):
        finish(run)
    assert run.verdict() is None


@pytest.mark.parametrize(
    ("left", "by", "code"),
    [([], None, 70), ([], "abort", 70), ([], "person", 130), (["cut#1", "slow#2"], "person", 6)],
)
def test_without_a_verdict_what_is_open_and_who_stopped_the_run_decide_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[str], by: str | None, code: int
) -> None:
    run = write_run(tmp_path / "run")
    if by is not None:
        run.update({"stopped": {"by": by, "why": "enough"}})
    full_for(monkeypatch, "verdict.json")
    faults = [SimpleNamespace(label=label) for label in left]
    monkeypatch.setattr("faultload.run.finish.still_open", lambda run: faults)
    with pytest.raises(NoVerdict, match="no verdict was written: No space left on device") as problem:
        finish(run)
    assert int(problem.value.exit_code) == code
    named = f"NOT undone: cut#1, slow#2: `faultload undo {run.path}` tries again"
    assert (named in str(problem.value)) == bool(left)


@pytest.mark.parametrize(("left", "code"), [([], 130), ([SimpleNamespace(label="cut#1")], 6)])
def test_a_run_that_is_not_judged_says_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[Any], code: int
) -> None:
    monkeypatch.setattr("faultload.run.finish.still_open", lambda run: left)
    assert finish(write_run(tmp_path / "run"), skip_analysis=True)["exit_code"] == code


def test_a_run_that_cannot_be_sealed_can_be_judged_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", killed=True)
    plain = sealed.parquet_writer

    def full(*_: Any, **__: Any) -> Any:
        raise FULL

    monkeypatch.setattr(sealed, "parquet_writer", full)
    with pytest.raises(NoVerdict):
        finish(run)
    assert not list(run.path.glob("*.part"))
    monkeypatch.setattr(sealed, "parquet_writer", plain)
    assert finish(run)["objectives"]


def test_a_bug_stays_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run")
    monkeypatch.setattr(RunDirectory, "write_text", lambda *_: {}["missing"])
    with pytest.raises(KeyError):
        finish(run)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files", "/x"), "Too many open files: /x"),
        (MemoryError(), "this machine has no memory left for it"),
        (RuntimeError("can't start new thread"), "RuntimeError: can't start new thread"),
        (ImportError("a.so: failed to map segment from shared object"), "this machine has no memory left for it"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "Resource temporarily unavailable"),
    ],
)
def test_what_a_machine_lacks_is_no_bug(error: Exception, words: str) -> None:
    assert of_the_machine(error)
    assert in_words(error) == words


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "x"), ImportError("No module named 'x'"), RuntimeError("x"), ValueError("x")]
)
def test_all_else_is_one(error: Exception) -> None:
    assert not of_the_machine(error)


def test_half_a_verdict_is_never_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.write_text("verdict.json", "whole")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(FULL))
    with pytest.raises(OSError, match="No space"):
        run.write_text("verdict.json", "the next one")
    assert (run.path / "verdict.json").read_text() == "whole"
    assert [path.name for path in run.path.iterdir() if path.is_file()] == ["verdict.json"]
