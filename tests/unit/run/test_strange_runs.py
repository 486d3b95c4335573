"""A run directory that comes from somebody else: nothing outside of it is read, written, cut or ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_run import write_run

import faultload
from faultload.commands.undo import undo_leftovers
from faultload.errors import Refused
from faultload.host.processes import identify
from faultload.record.directory import LOG_LIMIT_BYTES, RunDirectory
from faultload.run.finish import report_again


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("written") / "run").path


@pytest.fixture
def run(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return RunDirectory(Path(shutil.copytree(written, tmp_path / "run")))


def linked(inside: str) -> Callable[[Path, Path], object]:
    """A symbolic link in a run to something precious."""

    def make(run: Path, precious: Path) -> None:
        (run / inside).parent.mkdir(exist_ok=True)
        (run / inside).unlink(missing_ok=True)
        (run / inside).symlink_to(precious)

    return make


def logs_elsewhere(run: Path, precious: Path) -> None:
    shutil.rmtree(run / "logs", ignore_errors=True)
    (run / "logs").symlink_to(precious.parent)


TRAPS = {
    "a report": linked("report.html"),
    "a verdict": linked("verdict.json"),
    "a log": linked("logs/api.log"),
    "a table": linked("samples-9.parquet.part"),
    "the folder of logs": logs_elsewhere,
    "a record": linked("run.json"),
    "a FIFO": lambda run, precious: os.mkfifo(run / "logs" / "fifo.log"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_run_with_links_in_it_is_not_reported_and_what_they_lead_to_stays(
    run: RunDirectory, tmp_path: Path, trap: str
) -> None:
    (tmp_path / "var").mkdir()
    precious = tmp_path / "var" / "precious.log"
    with open(precious, "wb") as file:
        file.truncate(LOG_LIMIT_BYTES + 1)  # a log of a run would be cut
    (run.path / "logs").mkdir(exist_ok=True)
    TRAPS[trap](run.path, precious)
    with pytest.raises(Refused, match="is neither a file nor a folder"):
        report_again(run.path)
    assert precious.stat().st_size == LOG_LIMIT_BYTES + 1


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "samples-0.arrows", "logs/fifo.log"])
def test_a_fifo_in_a_run_keeps_nobody_waiting_who_opens_it(run: RunDirectory, name: str) -> None:
    fifo = run.path / name
    fifo.parent.mkdir(exist_ok=True)
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    with pytest.raises(Refused, match="is neither a file nor a folder"):
        faultload.open(run.path)
    with pytest.raises(Refused, match="is neither a file nor a folder"):
        report_again(run.path)


def test_a_run_is_reported_through_a_link_to_it(run: RunDirectory, tmp_path: Path) -> None:
    """As `runs/latest` is one."""
    (tmp_path / "latest").symlink_to(run.path)
    report_again(tmp_path / "latest")
    assert (run.path / "report.html").is_file()


def test_a_record_that_others_can_write_ends_no_process(run: RunDirectory) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as mine:
        found = identify(mine.pid)
        assert found is not None
        run.event("process", process="load-0", state="started", pid=found.pid, started=found.started)
        run.events_path.chmod(0o666)
        with pytest.raises(Refused, match="says which processes to end, but everybody can write to it"):
            undo_leftovers(str(run.path), everything=False, only_list=False)
        assert mine.poll() is None
        run.events_path.chmod(0o600)
        undo_leftovers(str(run.path), everything=False, only_list=False)
        assert mine.wait(10) != 0
