"""Chaos Toolkit's traps: what would leave a fault in place, or let one that never was count as a success."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from standin import StandIn, Workspace, experiment, lying_proxy, start_chaos, states, wait_for

from faultload.chaos.journal import PAUSE_AT_ENV
from faultload.host.processes import state_of
from faultload.record.directory import RunDirectory
from faultload.record.events import ProcessEvent, Witness
from faultload.reference.kit.ports import free_ports

pytestmark = pytest.mark.long
PAUSE_STORE = ("pause", {"service": "store"})
RAISES = {
    "type": "probe",
    "name": "raises",
    "provider": {"type": "python", "module": "os", "func": "stat", "arguments": {"path": "/not/there"}},
}
"""As a probe does whose target refuses connections, which is what a fault is for."""


def experiment_file(workspace: Workspace, faults: list[Any], duration_s: float = 2.0, **changes: Any) -> Path:
    content = {**experiment(faults, duration_s), **changes}
    file = workspace.folder / "experiments" / "trap.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def journal_of(workspace: Workspace) -> RunDirectory:
    """The journal of the experiment that was started, once there is one."""
    journals = workspace.state / "faultload" / "chaos"
    wait_for(lambda: journals.exists() and any(journals.iterdir()), 30, "it has a journal")
    (journal,) = journals.iterdir()
    return RunDirectory(journal)


def alone(workspace: Workspace, target: StandIn, file: Path, **env: str) -> tuple[int, RunDirectory, str]:
    """Run an experiment with `chaos run`; its exit code, its journal and what it printed."""
    process = start_chaos(workspace, target, file, **env)
    output, _ = process.communicate(timeout=60)
    return process.returncode, journal_of(workspace), output.decode()


def with_a_raising_probe(faults: list[Any]) -> list[Any]:
    inject, *rest = experiment(faults, 1.0)["method"]
    return [inject, RAISES, *rest]


def test_trap_rollbacks_run_though_a_probe_raises(workspace: Workspace, target: StandIn) -> None:
    file = experiment_file(workspace, [PAUSE_STORE], method=with_a_raising_probe([PAUSE_STORE]))
    _, run, output = alone(workspace, target, file)
    assert [line.state for line in run.faults()][-1] == "UNDONE", output
    assert run.faults()[-1].by == "chaos"
    assert state_of(target.servers[target.store]) != "T"


def test_trap_rollbacks_that_are_skipped_leave_no_fault_behind(workspace: Workspace, target: StandIn) -> None:
    """Chaos Toolkit's own default: a failed experiment is not rolled back. The fault ends when its time is over."""
    hypothesis = {"title": "all is well", "probes": [{**RAISES, "name": "well", "tolerance": True}]}
    runtime = {"hypothesis": {"strategy": "after-method-only"}}
    changes = {"runtime": runtime, "rollbacks": [], "steady-state-hypothesis": hypothesis}
    file = experiment_file(workspace, [PAUSE_STORE], **changes)
    _, run, output = alone(workspace, target, file)
    assert [line.state for line in run.faults()][-1] == "UNDONE", output
    assert run.faults()[-1].by == "chaos"
    assert state_of(target.servers[target.store]) != "T"


def test_trap_a_second_look_that_hangs_makes_no_fault_longer(workspace: Workspace, target: StandIn) -> None:
    """The probe asks what is frozen; Chaos Toolkit looks before the rollbacks, so that it never had an answer."""
    url = f"http://127.0.0.1:{target.store}/health"
    probe = {"type": "probe", "name": "answers", "tolerance": 200, "provider": {"type": "http", "url": url}}
    hypothesis = {"title": "the store answers", "probes": [probe]}
    file = experiment_file(workspace, [PAUSE_STORE], **{"steady-state-hypothesis": hypothesis})
    code, run, output = alone(workspace, target, file)
    assert code == 0, output
    began = {line.state: line.t for line in run.faults()}
    assert 2.0 <= began["UNDOING"] - began["INJECTING"] < 3.5


def test_trap_rollbacks_that_may_be_skipped_are_refused(workspace: Workspace) -> None:
    file = experiment_file(workspace, [PAUSE_STORE], runtime={"rollbacks": {"strategy": "default"}})
    done = workspace.faultload("validate", file)
    assert done.returncode == 2
    assert "rollbacks must always run" in done.stdout + done.stderr


def run_of(workspace: Workspace, target: StandIn, seconds: int = 14) -> tuple[int, dict[str, Any], str]:
    """A run that plays the experiment `trap`; its exit code, its verdict and what it printed."""
    scenario = workspace.scenario(
        target,
        load={"journeys": "journeys.py", "rate": [{"step": "20/s", "for": f"{seconds}s"}], "arrivals": "even"},
        faults=[{"name": "freeze", "experiment": "experiments/trap.yaml", "at": "5s"}],
    )
    done = workspace.faultload("run", scenario, "--out", workspace.folder / "out")
    verdict = RunDirectory(workspace.folder / "out").verdict()
    assert verdict is not None, done.stdout + done.stderr
    return done.returncode, verdict, done.stdout + done.stderr


def test_trap_a_method_that_is_skipped_is_never_a_pass(workspace: Workspace, target: StandIn) -> None:
    """A hypothesis out of its tolerance skips the method, and Chaos Toolkit ends with 0."""
    probe = {"type": "python", "module": "os.path", "func": "exists", "arguments": {"path": "/not/there"}}
    hypothesis = {
        "title": "there is",
        "probes": [{"type": "probe", "name": "there", "tolerance": True, "provider": probe}],
    }
    file = experiment_file(workspace, [PAUSE_STORE], **{"steady-state-hypothesis": hypothesis})
    code, run, _ = alone(workspace, target, file)
    assert code == 0 and run.faults() == []  # the trap itself
    code, verdict, output = run_of(workspace, target)
    assert code == 5, output
    assert verdict["reasons"] == ["not injected: freeze#1"]
    (fault,) = verdict["faults"]
    assert fault["gate"] == {
        "passed": False,
        "why": "the hypothesis 'there is' deviates: probe 'there' gave False, wanted True",
    }


def test_trap_a_deviation_after_the_method_is_a_fail(workspace: Workspace, target: StandIn) -> None:
    """The file is there before the method and not after it; a probe of the team's own fails beside it."""
    there = workspace.folder / "there"
    there.touch()
    look = {"type": "python", "module": "os.path", "func": "exists", "arguments": {"path": str(there)}}
    remove = {"type": "python", "module": "os", "func": "unlink", "arguments": {"path": str(there)}}
    hypothesis = {
        "title": "it is there",
        "probes": [{"type": "probe", "name": "there", "tolerance": True, "provider": look}],
    }
    method = [
        *with_a_raising_probe([PAUSE_STORE]),
        {"type": "action", "name": "remove", "background": True, "provider": remove},
    ]
    experiment_file(workspace, [PAUSE_STORE], 1.0, method=method, **{"steady-state-hypothesis": hypothesis})
    code, verdict, output = run_of(workspace, target)
    assert code == 1, output
    by_name = {one["objective"]: one for one in verdict["objectives"]}
    assert by_name["hypothesis(freeze) == holds"]["verdict"] == "FAIL"
    assert "probe 'there' gave False, wanted True" in by_name["hypothesis(freeze) == holds"]["why"]
    assert any("freeze#1: probe 'raises' failed" in reason for reason in verdict["reasons"]), verdict["reasons"]
    assert verdict["faults"][0]["state"] == "UNDONE"


def test_trap_a_breach_that_is_over_at_the_end_fails_all_the_same(workspace: Workspace, target: StandIn) -> None:
    target.write_target(guard={"max_share": "100%"})
    scenario = workspace.scenario(
        target,
        load={
            "journeys": "journeys.py",
            "rate": [{"step": "20/s", "for": "16s"}],
            "arrivals": "even",
            "max_users": 100,
            "timeout": "1s",
        },
        faults=[
            {
                "name": "freeze",
                "experiment": workspace.experiment("freeze", "pause", {"service": "web", "count": 2}, 3),
                "at": "5s",
            }
        ],
        objectives=["availability >= 99% during fault", "availability >= 50% during baseline"],
    )
    out = workspace.folder / "out"
    done = workspace.faultload("run", scenario, "--out", out)
    assert done.returncode == 1, done.stdout + done.stderr
    verdict = RunDirectory(out).verdict()
    assert verdict is not None
    assert [one["verdict"] for one in verdict["objectives"]] == ["FAIL", "PASS"]
    assert verdict["faults"][0]["witnessed"] is True


def test_trap_a_fault_that_no_witness_sees_fails_the_experiment(workspace: Workspace, target: StandIn) -> None:
    with lying_proxy(target.store) as control:
        target.write_target(links={"web -> store": {"proxy": f"http://127.0.0.1:{control}"}})
        file = experiment_file(workspace, [("partition", {"link": "web -> store"})])
        code, run, output = alone(workspace, target, file)
    assert code == 1, output
    assert [one.seen for one in run.events_of(Witness) if one.of == "there"] == [False]
    assert "was not witnessed" in output


def test_trap_a_rollback_that_fails_fails_the_experiment(workspace: Workspace, target: StandIn) -> None:
    """It is told, and tried again by whoever asks; here the link proxy is gone until then."""
    file = experiment_file(workspace, [("latency", {"link": "web -> store", "delay_ms": 100})], 3.0)
    process = start_chaos(workspace, target, file)
    run = journal_of(workspace)
    wait_for(lambda: len(run.events_of(Witness)) == 1, 30, "it was witnessed")
    target.proxy.send_signal(signal.SIGSTOP)
    try:
        output, _ = process.communicate(timeout=90)
    finally:
        target.proxy.send_signal(signal.SIGCONT)
    assert process.returncode == 1, output
    assert b"`faultload undo` tries again" in output
    done = workspace.faultload("undo", "--all", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert run.faults()[-1].state == "UNDONE"


@pytest.mark.parametrize("wrong", [{"duration_s": "long"}, {"seed": "dice"}])
def test_trap_an_argument_that_makes_no_sense_fails_the_experiment(
    workspace: Workspace, target: StandIn, wrong: dict[str, Any]
) -> None:
    code, run, output = alone(
        workspace, target, experiment_file(workspace, [("pause", {**PAUSE_STORE[1], **wrong})])
    )
    assert code == 1, output
    assert [line.state for line in run.faults()][-1:] in ([], ["UNDONE"])
    assert state_of(target.servers[target.store]) != "T"


def test_trap_an_action_that_fails_fails_the_experiment(workspace: Workspace, target: StandIn) -> None:
    (nobody,) = free_ports(1)
    target.write_target(links={"web -> store": {"proxy": f"http://127.0.0.1:{nobody}"}})
    code, run, output = alone(
        workspace, target, experiment_file(workspace, [("partition", {"link": "web -> store"})])
    )
    assert code == 1, output
    assert [line.state for line in run.faults()][-1:] in ([], ["UNDONE"])


def test_trap_an_action_that_hangs_is_undone_by_the_warden(workspace: Workspace, target: StandIn) -> None:
    file = experiment_file(workspace, [PAUSE_STORE], 1.0)
    process = start_chaos(workspace, target, file, **{PAUSE_AT_ENV: "injected"})
    try:
        run = journal_of(workspace)
        wait_for(lambda: [line.state for line in run.faults()][-1:] == ["INJECTING"], 30, "it is injecting")
        wait_for(lambda: state_of(target.servers[target.store]) == "T", 10, "the store is stopped")
        wait_for(lambda: run.faults()[-1].state == "UNDONE", 45, "it is undone")
        assert run.faults()[-1].by == "warden"
        assert state_of(target.servers[target.store]) != "T"
        assert process.poll() is None, "the action still hangs"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "broken",
    [{"guard": {"max_share": "half of them"}}, {"protected": "store, web"}, {"services": "none"}],
    ids=["guard", "protected", "services"],
)
def test_trap_a_guard_that_cannot_be_read_lets_nothing_through(
    workspace: Workspace, target: StandIn, broken: dict[str, Any]
) -> None:
    """Chaos Toolkit goes on without a control that fails to start."""
    target.write_target(**broken)
    process = start_chaos(workspace, target, experiment_file(workspace, [PAUSE_STORE]))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    for journal in (workspace.state / "faultload" / "chaos").glob("*"):
        assert RunDirectory(journal).faults() == []
    assert state_of(target.servers[target.store]) != "T"


def test_trap_faults_and_load_never_share_a_process() -> None:
    """`import locust` patches every thread of a process; Chaos Toolkit's signals do not survive that."""
    known = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    chaos = "import faultload.chaos.actions, faultload.faults as f, faultload.chaos.warden; f.words(); "
    load = "import faultload.load.worker, faultload.load.engine; "

    def imported(code: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", code + known], capture_output=True, text=True, check=True, env=os.environ
        )
        return set(json.loads(done.stdout))

    assert imported(chaos) & {"gevent", "locust"} == set()
    assert "locust" in imported(load)
    assert imported(load) & {"chaoslib"} == set()


def test_trap_a_second_experiment_at_once_has_a_process_and_a_journal_of_its_own(
    workspace: Workspace, target: StandIn
) -> None:
    """Chaos Toolkit's library keeps controls and caches for its whole process, and wants its main thread."""
    faults = [
        {"name": name, "experiment": workspace.experiment(name, "pause", {"service": name}, 4), "at": at}
        for name, at in (("store", "5s"), ("cache", "6s"))
    ]
    faults[1]["overlap"] = True  # type: ignore[assignment]
    scenario = workspace.scenario(
        target,
        load={"journeys": "journeys.py", "rate": [{"step": "10/s", "for": "16s"}], "arrivals": "even"},
        faults=faults,
    )
    out = workspace.folder / "out"
    done = workspace.faultload("run", scenario, "--out", out)
    run = RunDirectory(out)
    assert {name: seen[-1] for name, seen in states(out).items()} == {"store": "UNDONE", "cache": "UNDONE"}, (
        done.stdout + done.stderr
    )
    started = [one for one in run.events_of(ProcessEvent) if one.state == "started"]
    chaos = {one.process: one.pid for one in started if one.process.startswith("chaos-")}
    assert len(chaos) == len(set(chaos.values())) == 2
    assert {file.name for file in out.glob("journal-*.json")} == {"journal-store-1.json", "journal-cache-1.json"}
