"""Two runs at once on one machine, each on a target of its own: neither undoes what is the other's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standin import StandIn, Workspace, states, wait_for

from faultload.faults.stress import stressors
from faultload.record.directory import RunDirectory

pytestmark = pytest.mark.long


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[tuple[Workspace, StandIn]]]:
    made: list[tuple[Workspace, StandIn]] = []
    try:
        for name in ("one", "other"):
            folder = tmp_path / name
            folder.mkdir()
            made.append((Workspace(folder), StandIn(folder, {})))
        yield made
    finally:
        for workspace, target in made:
            workspace.end()
            target.end()


def test_runs_whose_folders_have_one_name_leave_each_others_stressors_alone(
    two: list[tuple[Workspace, StandIn]],
) -> None:
    started: list[tuple[Path, Any]] = []
    for (workspace, target), lasts_s in zip(two, (2, 40), strict=True):
        arguments = {"service": "store", "bytes": "16MB"}
        fault = {
            "name": "m",
            "experiment": workspace.experiment("m", "memory_stress", arguments, lasts_s),
            "at": "5s",
        }
        scenario = workspace.scenario(target, faults=[fault])
        started.append(
            (workspace.folder / "out", workspace.start("run", scenario, "--out", workspace.folder / "out"))
        )
    (short, _), (long, process) = started
    wait_for(lambda: states(long).get("m", [""])[-1] == "ACTIVE" or process.poll() is not None, 60, "it is there")
    wait_for(lambda: states(short).get("m", [""])[-1] == "UNDONE", 60, "the other is undone")
    assert states(long)["m"][-1] == "ACTIVE", "the longer one is over too: the test is too slow to tell"
    marks = [str(RunDirectory(run).faults()[-1].undo["mark"]) for run in (short, long)]
    assert marks[0] != marks[1]
    assert stressors.running(marks[0]) == []
    assert len(stressors.running(marks[1])) == 1
