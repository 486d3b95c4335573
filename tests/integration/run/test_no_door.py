"""While a run goes on, nothing of it listens: no page, no port, no named socket."""

from __future__ import annotations

import psutil
import pytest
from standin import StandIn, Workspace, processes_in, states, wait_for

pytestmark = pytest.mark.long


def doors(process: psutil.Process) -> list[str]:
    """What a process listens on, and what others could reach it by."""
    try:
        found = process.net_connections("all")
    except psutil.NoSuchProcess:
        return []
    tcp = [f"{process.pid}: {one.laddr}" for one in found if one.status == psutil.CONN_LISTEN]
    named = [f"{process.pid}: {one.laddr}" for one in found if isinstance(one.laddr, str) and one.laddr]
    return tcp + named


def test_no_process_of_a_run_listens_anywhere(workspace: Workspace, target: StandIn) -> None:
    experiment = workspace.experiment("slow", "latency", {"link": "web -> store", "delay_ms": 50})
    scenario = workspace.scenario(target, faults=[{"name": "slow", "experiment": experiment, "at": "5s"}])
    run = workspace.folder / "out"
    process = workspace.start("run", scenario, "--out", run)
    wait_for(
        lambda: process.poll() is not None or "ACTIVE" in states(run).get("slow", ()), 60, "the fault is there"
    )
    assert process.poll() is None, process.communicate()[0]
    mine = processes_in(workspace.folder)
    names = " ".join(" ".join(one.cmdline()) for one in mine)
    for part in ("faultload run", "load.worker", "chaostoolkit", "chaos.warden", "forkserver"):
        assert part in names, part
    assert [door for one in mine for door in doors(one)] == []
