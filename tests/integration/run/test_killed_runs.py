"""Whatever is killed: every fault is undone, the record is complete, nothing of the run is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from standin import StandIn, Workspace, processes_of_run, states, wait_for

from faultload.chaos.warden import processes_of
from faultload.host.processes import state_of
from faultload.platforms.local.links import LinkProxy
from faultload.record.directory import RunDirectory

THREE = {"partition", "pause", "latency"}


def start_with_three_faults(workspace: Workspace, target: StandIn) -> tuple[Path, int]:
    """A run with a partition, a pause and a latency fault open at once; its directory and conductor."""
    faults = [
        ("partition", "partition", {"link": "web -> store"}),
        ("pause", "pause", {"service": "store"}),
        ("latency", "latency", {"link": "web -> cache", "delay_ms": 100}),
    ]
    scenario = workspace.scenario(
        target,
        faults=[
            {"name": name, "experiment": workspace.experiment(name, func, arguments), "at": at, "overlap": overlap}
            for (name, func, arguments), at, overlap in zip(
                faults, ("5s", "6s", "6500ms"), (False, True, True), strict=True
            )
        ],
        recovery={"slice": "1s", "hold": "3s"},
    )
    run = workspace.folder / "out"
    process = workspace.start("run", scenario, "--out", run)
    wait_for(lambda: active(run) == THREE or past_active(run) or process.poll() is not None, 60, "three are active")
    assert not past_active(run), RunDirectory(run).faults()
    assert process.poll() is None, process.communicate()[0]
    return run, process.pid


def active(run: Path) -> set[str]:
    return {name for name, seen in states(run).items() if seen[-1] == "ACTIVE"}


def past_active(run: Path) -> bool:
    """Whether a fault is beyond ACTIVE."""
    return any(seen[-1] not in ("PLANNED", "INJECTING", "ACTIVE") for seen in states(run).values())


def undone(run: Path) -> bool:
    return {name: seen[-1] for name, seen in states(run).items()} == dict.fromkeys(THREE, "UNDONE")


def disturbed(target: StandIn) -> list[str]:
    """What is not as it should be, looked at from outside."""
    found = [
        f"{link}: {[fault['id'] for fault in entry['faults']]}"
        for link, entry in LinkProxy(f"http://127.0.0.1:{target.control}").links().items()
        if entry["faults"]
    ]
    found += [f"port {port} is stopped" for port, one in target.servers.items() if state_of(one) == "T"]
    return found


def test_a_killed_conductor_leaves_nothing_open(workspace: Workspace, target: StandIn) -> None:
    run, conductor = start_with_three_faults(workspace, target)
    assert len(disturbed(target)) == 3
    os.kill(conductor, signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: undone(run), 10, "all three are undone")
    assert time.monotonic() - killed <= 10
    assert disturbed(target) == []
    for seen in states(run).values():
        assert seen[:3] == ["PLANNED", "INJECTING", "ACTIVE"]
        assert seen[-1] == "UNDONE"
    wait_for(lambda: not processes_of_run(run), 15, f"nothing runs: {processes_of_run(run)}")
    report = workspace.faultload("report", run)
    assert "killed before its end" in report.stdout
    assert report.returncode in (3, 1, 4), report.stdout
    assert (run / "report.html").exists()


@pytest.mark.long
def test_with_the_warden_dead_too_the_next_run_refuses_until_undo(workspace: Workspace, target: StandIn) -> None:
    run, conductor = start_with_three_faults(workspace, target)
    os.kill(conductor, signal.SIGSTOP)  # it must not replace its warden meanwhile
    for name, process in processes_of(RunDirectory(run)).items():
        if name == "warden" or name.startswith("chaos-"):
            process.signal(signal.SIGKILL)
    os.kill(conductor, signal.SIGKILL)
    left = disturbed(target)
    assert len(left) == 3
    refused = workspace.faultload("run", workspace.folder / "scenarios" / "visit.yaml")
    assert refused.returncode == 5, refused.stderr
    assert "faultload undo" in refused.stderr
    assert disturbed(target) == left, "a refused run touched something"
    listed = workspace.faultload("undo", "--list")
    assert all(name in listed.stdout for name in THREE), listed.stdout
    done = workspace.faultload("undo", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert disturbed(target) == []
    assert undone(run)
    again = workspace.faultload("undo", "--all", "--yes")
    assert again.returncode == 0
    assert "nothing is open" in again.stdout
    wait_for(lambda: not processes_of_run(run), 10, f"nothing runs: {processes_of_run(run)}")


def test_ctrl_c_during_a_fault_undoes_judges_and_reports(workspace: Workspace, target: StandIn) -> None:
    scenario = workspace.scenario(
        target,
        faults=[
            {"name": "freeze", "experiment": workspace.experiment("f", "pause", {"service": "cache"}), "at": "5s"}
        ],
    )
    run = workspace.folder / "out"
    process = workspace.start("run", scenario, "--out", run)
    wait_for(lambda: states(run).get("freeze", [""])[-1] == "ACTIVE" or process.poll() is not None, 60, "active")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert states(run)["freeze"][-1] == "UNDONE"
    assert disturbed(target) == []
    stopped = RunDirectory(run).info().stopped
    verdict = RunDirectory(run).verdict()
    assert stopped is not None and stopped.by == "person"
    assert verdict is not None
    assert verdict["verdict"] in ("INCONCLUSIVE", "INVALID")
    assert verdict["exit_code"] == 130
    assert verdict["objectives"][0]["n"] > 50
    assert (run / "report.html").exists()
    assert (run / "junit.xml").exists()
    assert not processes_of_run(run)
