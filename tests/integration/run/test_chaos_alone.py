"""`chaos run` alone gives the same guarantees: journal, witness, undo, and no second fault after a signal."""

from __future__ import annotations

import json
import signal

import pytest
import yaml
from standin import StandIn, Workspace, experiment, start_chaos, wait_for

from faultload.host.processes import state_of
from faultload.record.directory import RunDirectory
from faultload.record.events import Witness

TWO = [("pause", {"service": "store"}), ("pause", {"service": "cache"})]


def journal(workspace: Workspace) -> RunDirectory | None:
    found = list((workspace.state / "faultload" / "chaos").glob("*"))
    return RunDirectory(found[0]) if found else None


def latest(workspace: Workspace) -> dict[str, str]:
    run = journal(workspace)
    return {} if run is None else {line.fault: line.state for line in run.faults()}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1], ids=lambda s: s.name)
def test_trap_a_signal_between_two_faults_stops_the_second(
    workspace: Workspace, target: StandIn, signum: signal.Signals
) -> None:
    file = workspace.folder / "two.yaml"
    file.write_text(yaml.safe_dump(experiment(TWO, duration_s=15)))
    process = start_chaos(workspace, target, file)
    wait_for(lambda: latest(workspace).get("pause-0") == "ACTIVE", 30, "the first fault is active")
    assert state_of(target.servers[target.store]) == "T"
    process.send_signal(signum)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1, output
    assert latest(workspace) == {"pause-0": "UNDONE"}
    assert state_of(target.servers[target.store]) != "T"
    result = json.loads((workspace.folder / "journal.json").read_text())
    assert result["status"] == "interrupted"


def test_trap_a_killed_chaos_process_is_undone_by_its_own_warden(workspace: Workspace, target: StandIn) -> None:
    file = workspace.folder / "one.yaml"
    file.write_text(yaml.safe_dump(experiment(TWO[:1], duration_s=30)))
    process = start_chaos(workspace, target, file)
    wait_for(lambda: latest(workspace).get("pause-0") == "ACTIVE", 30, "the fault is active")
    assert state_of(target.servers[target.store]) == "T"
    process.kill()
    process.communicate()
    wait_for(lambda: latest(workspace).get("pause-0") == "UNDONE", 10, "the warden undid it")
    assert state_of(target.servers[target.store]) != "T"


def test_an_experiment_alone_is_witnessed_and_undone(workspace: Workspace, target: StandIn) -> None:
    file = workspace.folder / "cut.yaml"
    file.write_text(yaml.safe_dump(experiment([("partition", {"link": "web -> store"})], duration_s=2)))
    process = start_chaos(workspace, target, file)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    run = journal(workspace)
    assert run is not None
    assert [line.state for line in run.faults()] == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"]
    assert [(one.of, one.seen) for one in run.events_of(Witness)] == [("there", True), ("gone", True)]


def test_a_fault_that_somebody_ended_is_over_and_the_experiment_with_it(
    workspace: Workspace, target: StandIn
) -> None:
    file = workspace.folder / "one.yaml"
    file.write_text(yaml.safe_dump(experiment(TWO[:1], duration_s=30)))
    process = start_chaos(workspace, target, file)
    wait_for(lambda: witnessed(workspace), 30, "the fault is witnessed")
    target.servers[target.store].signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert b"pause-0#1 ended early" in output
    run = journal(workspace)
    assert run is not None
    states = [line.state for line in run.faults()]
    assert states == ["PLANNED", "INJECTING", "ACTIVE", "ENDED", "UNDOING", "UNDONE"]


def witnessed(workspace: Workspace) -> bool:
    run = journal(workspace)
    return run is not None and any(one.of == "there" and one.seen for one in run.events_of(Witness))


def test_the_kill_switch_keeps_every_fault_away(workspace: Workspace, target: StandIn) -> None:
    (workspace.state / "faultload").mkdir(parents=True)
    (workspace.state / "faultload" / "stop").touch()
    file = workspace.folder / "one.yaml"
    file.write_text(yaml.safe_dump(experiment(TWO[:1], duration_s=5)))
    process = start_chaos(workspace, target, file)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert latest(workspace) == {}
    assert state_of(target.servers[target.store]) != "T"
