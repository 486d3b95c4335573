"""A run on the reference system whose conductor and warden were killed: refused until `faultload undo`."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from folder import Folder

from faultload.chaos.warden import processes_of
from faultload.record.directory import RunDirectory

pytestmark = [pytest.mark.system, pytest.mark.long]
SCENARIO = Path(__file__).parents[2] / "scenarios" / "memory" / "steady.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    folder.clean()


def wait_until_loaded(run: RunDirectory, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while run.info().load_start_s is None:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


def test_a_reference_system_left_behind_is_refused_until_undo(folder: Folder) -> None:
    run = RunDirectory(folder.path / "out")
    quiet = subprocess.DEVNULL
    argv = folder.argv("run", SCENARIO, "--profile", "smoke", "--out", run.path)
    process = subprocess.Popen(argv, cwd=folder.path, env=folder.env, stdout=quiet, stderr=quiet)
    try:
        wait_until_loaded(run, process)
        process.send_signal(signal.SIGSTOP)  # it must not replace its warden meanwhile
        processes = processes_of(run)
        processes["warden"].signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    refused = folder.faultload("run", SCENARIO, "--profile", "smoke")
    assert refused.returncode == 5, refused.stderr
    assert "faultload undo reference:memory:local" in refused.stderr
    assert folder.faultload("target", "status", "memory").returncode == 0, "what was left must still be there"
    done = folder.faultload("undo", "reference:memory:local")
    assert done.returncode == 0, done.stderr
    assert "reference:memory:local: stopped" in done.stdout
    assert "is not up" in folder.faultload("target", "status", "memory").stdout
    assert [name for name, one in processes.items() if one.alive()] == []
