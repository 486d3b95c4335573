"""An experiment of the memory pack with `chaos run` alone: what must hold of it on any platform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from faultload.chaos.journal import readable_faults
from faultload.faults import cannot, words
from faultload.platforms import platform_of
from faultload.record.directory import RunDirectory
from faultload.record.events import Gate, Note, Witness
from faultload.spec.experiment import read_experiment
from faultload.spec.target import TargetFile, read_target

# those on the database come last: its standby needs a while to be synchronous again, and the gate wants it
EXPERIMENTS = sorted(
    (Path(__file__).parents[1] / "experiments" / "memory").glob("*.yaml"),
    key=lambda file: (file.stem in ("switchover_database", "kill_database_leader"), file.stem),
)


def check_alone(
    file: Path,
    target_file: Path,
    folder: Path,
    *,
    one_shot_s: float = 1.5,
    held_s: float = 1.5,
    settle_s: float = 60.0,
    lacking: str | None = None,
) -> None:
    """Run it with `chaos run` in a folder: witnessed, undone and journalled, or refused with the reason.

    The target is waited for before and after; the state folder is the one of the environment. What happens once has
    `one_shot_s` to come back by itself, and any other fault is held for `held_s`. `lacking` is why this very target
    must refuse it, though its platform has the word.
    """
    target = read_target(target_file)
    word = read_experiment(file, words()).word
    duration_s = one_shot_s if word.one_shot else held_s
    _well(target, settle_s)
    argv = [
        "run",
        "--var",
        f"duration_s:float={duration_s}",
        "--journal-path",
        str(folder / "journal.json"),
        str(file),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "chaostoolkit", "--no-version-check", "--no-log-file", *argv],
        env={**os.environ, "FAULTLOAD_TARGET": str(target_file)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    run = RunDirectory(max((Path(os.environ["XDG_STATE_HOME"]) / "faultload" / "chaos").iterdir()))
    said = [event for kind in (Gate, Note, Witness) for event in run.events_of(kind)]
    told = f"{said}\n{done.stdout}{done.stderr}"
    refused = cannot(target.platform, word.name)
    reason = lacking if refused is None else f"platform '{target.platform}' cannot do '{word.name}'"
    if reason is not None:
        assert done.returncode == 1, told
        assert reason in told
        assert run.faults() == [], told
    else:
        assert done.returncode == 0, told
        assert json.loads((folder / "journal.json").read_text())["status"] == "completed"
        states = ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"]
        assert [line.state for line in run.faults()] == states, told
        assert [(one.of, one.seen) for one in run.events_of(Witness)] == [("there", True), ("gone", True)]
        assert run.faults()[0].instances
    assert readable_faults() == ([], [])
    _well(target, settle_s)


def _well(target: TargetFile, within_s: float) -> None:
    """Wait until every service is ready."""
    deadline = time.monotonic() + within_s
    while problems := [one for service in target.services for one in platform_of(target).not_ready(service)]:
        assert time.monotonic() < deadline, problems
        time.sleep(0.2)
