"""A run whose fault somebody else ended: INVALID, or judged on the time that the fault really had."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from standin import StandIn, Workspace, short, states, wait_for

from faultload.record.directory import RunDirectory
from faultload.record.events import Witness

pytestmark = pytest.mark.long


def witnessed(run: Path) -> bool:
    if not (run / "events.jsonl").exists():
        return False
    return any(one.of == "there" and one.seen for one in RunDirectory(run).events_of(Witness))


@pytest.mark.parametrize("given", [{}, {"on_ended_early": "judge"}], ids=["invalid", "judge"])
def test_a_pause_that_somebody_ended(workspace: Workspace, target: StandIn, given: dict[str, str]) -> None:
    file = workspace.experiment("freeze", "pause", {"service": "store"}, duration_s=8)
    fault = {"name": "freeze", "experiment": file, "at": "6s", **given}
    scenario = workspace.scenario(target, faults=[fault], load=short(seconds=20))
    run = workspace.folder / "out"
    process = workspace.start("run", scenario, "--out", run)
    wait_for(lambda: witnessed(run), 60, "the fault is witnessed")
    target.servers[target.store].signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=90)
    assert given or process.returncode == 4, output
    assert "freeze#1 ended early" in output
    assert states(run)["freeze"] == ["PLANNED", "INJECTING", "ACTIVE", "ENDED", "UNDOING", "UNDONE"]
    verdict = json.loads((run / "verdict.json").read_text())
    (found,) = verdict["faults"]
    assert found["ended_at"] < found["undone_at"] < found["injected_at"] + 8
    assert any("on_ended_early" in reason for reason in verdict["reasons"]) is not bool(given), verdict["reasons"]
