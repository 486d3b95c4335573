"""What Chaos Toolkit finds reaches the record: its looks at the hypothesis, own activities, what was honoured."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chaoslib.control import load_global_controls
from chaoslib.run import should_run_after_method, should_run_before_method, should_run_during_method
from chaoslib.types import Strategy
from in_chaos_toolkit import World, experiment, ours, play, probe, world

from faultload.faults import words
from faultload.record.directory import RUN_ENV, RunDirectory
from faultload.record.events import ExperimentEnded, Gate, Look
from faultload.record.orders import CONTROL, ORDER_ENV, ChaosOrder
from faultload.spec.experiment import LOOKS, read_experiment

__all__ = ["world"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDirectory]:
    """A run under way; the control is loaded as `chaos run --control-file` does."""
    run = RunDirectory.create(tmp_path / "run")
    run.begin({"load_start_s": 0.0})
    order = run.write_order("chaos-freeze-2", ChaosOrder(fault="freeze", k=2))
    monkeypatch.setenv(RUN_ENV, str(run.path))
    monkeypatch.setenv(ORDER_ENV, str(order))
    load_global_controls({}, [str(run.write_control(CONTROL))])
    yield run
    load_global_controls({})


def ended(run: RunDirectory) -> ExperimentEnded:
    (note,) = run.events_of(ExperimentEnded)
    assert note.injection == ("freeze", 2)
    return note


def hypothesis(path: Path) -> dict[str, Any]:
    """It holds as long as a file is there."""
    there = {**probe("there", "os.path", "exists", path=str(path)), "tolerance": True}
    return {"steady-state-hypothesis": {"title": "the shop answers", "probes": [there]}}


def interrupt() -> None:
    """As the conductor does at the end of the load."""
    os.kill(os.getpid(), signal.SIGINT)


def remove(path: Path) -> dict[str, Any]:
    return {**probe("remove", "os", "unlink", path=str(path)), "type": "action"}


def test_a_hypothesis_that_holds_is_in_the_record(world: World, run: RunDirectory, tmp_path: Path) -> None:
    play(experiment(0.1, **hypothesis(tmp_path)))
    assert ended(run).looks == (Look(when="before", met=True, why=""), Look(when="after", met=True, why=""))
    assert ended(run).failed == ()
    assert "freeze#2: the hypothesis before the method held" in ended(run).text


def test_a_hypothesis_that_deviates_before_the_method_holds_the_fault_like_the_gate(
    world: World, run: RunDirectory, tmp_path: Path
) -> None:
    play(experiment(0.1, **hypothesis(tmp_path / "not there")))
    assert world.came == []
    (gate,) = run.events_of(Gate)
    assert (gate.label, gate.passed) == ("freeze#2", False)
    assert gate.why == "the hypothesis 'the shop answers' deviates: probe 'there' gave False, wanted True"


def test_a_hypothesis_that_deviates_after_the_method_is_in_the_record(
    world: World, run: RunDirectory, tmp_path: Path
) -> None:
    file = tmp_path / "there"
    file.touch()
    method = [ours("pause", service="web"), ours("hold", duration_s=0.1), remove(file)]
    play(experiment(0.1, method=method, **hypothesis(file)))
    looks = {look.when: look for look in ended(run).looks}
    assert looks["before"].met and not looks["after"].met
    assert looks["after"].why == "probe 'there' gave False, wanted True"


def test_a_probe_of_the_hypothesis_that_fails_deviates(world: World, run: RunDirectory) -> None:
    raises = {**probe("stat", "os", "stat", path="/not/there"), "tolerance": True}
    play(experiment(0.1, **{"steady-state-hypothesis": {"title": "t", "probes": [raises]}}))
    (gate,) = run.events_of(Gate)
    assert "probe 'stat' failed: " in gate.why and "/not/there" in gate.why


def test_own_activities_that_fail_are_named_and_ours_are_not(world: World, run: RunDirectory) -> None:
    stat = probe("orders", "os", "stat", path="/not/there")
    method = [ours("pause", service="web"), ours("hold", duration_s=0.1), stat]
    rollbacks = [ours("undo", fault="pause"), {**stat, "name": "mail", "type": "action"}]
    play(experiment(0.1, method=method, rollbacks=rollbacks))
    first, second = ended(run).failed
    assert first.startswith("probe 'orders' failed: ") and first.endswith("'/not/there'")
    assert second.startswith("action 'mail' failed: ")


def test_own_activities_that_the_experiment_did_not_come_to_are_named(world: World, run: RunDirectory) -> None:
    """As when the load ends, or a person stops the run, while the fault is held."""
    stop = probe("stop", __name__, "interrupt")
    method = [ours("pause", service="web"), stop, ours("hold", duration_s=5), probe("orders", "os", "getpid")]
    journal = play(experiment(5, method=method))
    assert journal["status"] == "interrupted"
    assert ended(run).failed == ("probe 'stop' failed: it was cut short", "probe 'orders' was not played")
    assert len(world.went) == 1


def test_what_was_honoured_is_reported(world: World, run: RunDirectory) -> None:
    behind = {**probe("size", "os", "getpid"), "background": True, "pauses": {"before": 0.05}}
    method = [ours("pause", service="web"), behind, ours("hold", duration_s=0.1)]
    own = [{"name": "tracing", "provider": {"type": "python", "module": "json"}}]
    play(experiment(0.1, method=method, controls=own))
    assert ended(run).text == (
        "freeze#2: own activities size; in the background size; pauses at size; controls tracing"
    )
    assert ended(run).failed == ()


def test_a_plain_experiment_leaves_no_note(world: World, run: RunDirectory) -> None:
    play(experiment(0.1))
    assert run.events_of(ExperimentEnded) == []
    assert len(world.went) == 1


@pytest.mark.parametrize("name", LOOKS)
def test_looks_are_promised_as_chaos_toolkit_takes_them(tmp_path: Path, name: str) -> None:
    strategy = Strategy.from_string(name)
    moments = {
        "before": should_run_before_method(strategy),
        "during": should_run_during_method(strategy),
        "after": should_run_after_method(strategy),
    }
    runtime = {"rollbacks": {"strategy": "always"}, "hypothesis": {"strategy": name}}
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump(experiment(runtime=runtime, **hypothesis(tmp_path))))
    promised = read_experiment(file, words())
    assert promised.looks == tuple(when for when, taken in moments.items() if taken)
    assert (promised.hypothesis, promised.activities) == ("the shop answers", ())


def test_own_activities_are_promised_by_name(tmp_path: Path) -> None:
    content = experiment()
    content["method"].append(probe("orders", "os", "getpid"))
    content["rollbacks"].append({"ref": "orders"})
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump(content))
    promised = read_experiment(file, words())
    assert (promised.hypothesis, promised.looks, promised.activities) == (None, (), ("orders", "orders"))


def test_chaos_toolkits_journal_holds_no_secret(
    world: World, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written by Chaos Toolkit right after the experiment: what probes gave back, and what they raised."""
    monkeypatch.setenv("FAULTLOAD_SECRETS", "TOKEN")
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    told = probe("token", "os", "getenv", key="TOKEN")
    raised = probe("raised", "builtins", "open", file="/not/there/hunter2-hunter2")
    content = experiment(0.1)
    journal = play({**content, "method": [told, raised, *content["method"]]})
    assert "***TOKEN***" in str(journal) and "hunter2" not in str(journal)
    assert journal["run"][0]["output"] == "***TOKEN***"
