"""Every experiment of the memory pack works with `chaos run` alone: witnessed, undone, journalled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faultload import reference
from faultload.platforms import platform_of
from faultload.record import RunDirectory
from faultload.target import read_target

# those on the database come last: its standby needs a while to be synchronous again, and the gate wants it
EXPERIMENTS = sorted(
    (Path(__file__).parents[2] / "experiments" / "memory").glob("*.yaml"),
    key=lambda file: (file.stem in ("switchover_database", "kill_database_leader"), file.stem),
)

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The reference system, up for all experiments, with a state folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        try:
            yield reference.start("memory").wait_ready()
        finally:
            assert reference.stop("memory") == []


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_alone(memory: Path, file: Path, tmp_path: Path) -> None:
    target = read_target(memory)
    deadline = time.monotonic() + 60
    while problems := [
        problem for service in target.services for problem in platform_of(target).not_ready(service)
    ]:
        assert time.monotonic() < deadline, problems
        time.sleep(0.2)
    argv = ["run", "--var", "duration_s:float=1.5", "--journal-path", str(tmp_path / "journal.json"), str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "chaostoolkit", "--no-version-check", "--no-log-file", *argv],
        env={**os.environ, "FAULTLOAD_TARGET": str(memory)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    journals = sorted((Path(os.environ["XDG_STATE_HOME"]) / "faultload" / "chaos").iterdir())
    run = RunDirectory(journals[-1])
    said = [event for kind in ("gate", "note", "witness") for event in run.events(kind)]
    assert done.returncode == 0, f"{said}\n{done.stdout}{done.stderr}"
    assert json.loads((tmp_path / "journal.json").read_text())["status"] == "completed"
    assert [line["state"] for line in run.faults()] == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"]
    assert [(one["of"], one["seen"]) for one in run.events("witness")] == [("there", True), ("gone", True)]
    assert run.faults()[0]["instances"]
