"""What `plan` shows is what a run with its seed touches: every repeat, the same instances."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from standin import StandIn, Workspace, states
from test_guards import untouched

from faultload.host.processes import state_of
from faultload.record.directory import RunDirectory

pytestmark = pytest.mark.long


def scenario(workspace: Workspace, target: StandIn) -> Path:
    """Three pauses of one of two web servers, and a partition."""
    faults = [
        {
            "name": "freeze",
            "experiment": workspace.experiment("freeze", "pause", {"service": "web"}, 1),
            "at": "13s",
            "repeat": {"count": 3, "every": "9s"},
        },
        {
            "name": "cut",
            "experiment": workspace.experiment("cut", "partition", {"link": "web -> store"}, 1),
            "at": "40s",
        },
    ]
    load = {
        "journeys": "journeys.py",
        "rate": [{"step": "10/s", "for": "48s"}],
        "arrivals": "even",
        "max_users": 20,
        "timeout": "1s",
    }
    recovery = {"slice": "1s", "hold": "2s", "tolerance": "50%"}
    return workspace.scenario(target, faults=faults, load=load, recovery=recovery)


def shown(text: str) -> tuple[int, dict[str, set[str]]]:
    """The seed that a plan says, and by fault the names of the instances."""
    seed = re.search(r"`faultload run --seed (\d+)`", text)
    assert seed is not None, text
    lines = text[seed.end() :].partition("\nobjectives")[0].splitlines()
    found = {}
    for line in lines:
        label, _, rest = line.strip().partition(": ")
        if "#" in label:
            found[label] = {one.rpartition(" (")[0] for one in rest.split(", ")}
    return int(seed.group(1)), found


def test_a_run_with_the_planned_seed_touches_exactly_those(
    workspace: Workspace, target: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = scenario(workspace, target)
    planned = workspace.faultload("plan", file)
    assert planned.returncode == 0, planned.stderr
    seed, wanted = shown(planned.stdout)
    assert set(wanted) == {"freeze#1", "freeze#2", "freeze#3", "cut#1"}
    assert untouched(target, workspace, monkeypatch), "a plan touches nothing"
    run = workspace.folder / "out"
    done = workspace.faultload("run", file, "--seed", str(seed), "--out", run)
    lines = [line for line in RunDirectory(run).faults() if line.state == "ACTIVE"]
    touched = {line.label: {one["name"] for one in line.instances} for line in lines}
    assert touched == wanted, done.stdout
    assert states(run)["freeze"].count("UNDONE") == 3
    assert all(state_of(one) != "T" for one in target.servers.values())


def test_the_seed_decides_and_repeats(workspace: Workspace, target: StandIn) -> None:
    file = scenario(workspace, target)
    plans = {seed: shown(workspace.faultload("plan", file, "--seed", str(seed)).stdout) for seed in (1, 2, 3, 4)}
    assert all(said == seed for seed, (said, _) in plans.items())
    again = shown(workspace.faultload("plan", file, "--seed", "3").stdout)
    assert again == plans[3]
    choices = {tuple(sorted(one for label in found for one in found[label])) for _, found in plans.values()}
    picks = {tuple(next(iter(found[f"freeze#{k}"])) for k in (1, 2, 3)) for _, found in plans.values()}
    assert len(picks) > 1, choices


def test_a_seed_in_the_experiment_decides_where_it_is_written(workspace: Workspace, target: StandIn) -> None:
    file = scenario(workspace, target)
    experiment = workspace.folder / "experiments" / "freeze.yaml"
    text = experiment.read_text()
    experiment.write_text(text.replace("service: web", "service: web\n      seed: 5"))
    plans = {seed: shown(workspace.faultload("plan", file, "--seed", str(seed)).stdout)[1] for seed in (1, 2, 3)}
    assert len({tuple(sorted(found["freeze#1"])) for found in plans.values()}) == 1


def test_a_plan_says_what_the_guard_would_refuse(workspace: Workspace, target: StandIn) -> None:
    file = scenario(workspace, target)
    target.write_target(protected=["store"], guard={"max_instances": 1})
    planned = workspace.faultload("plan", file)
    assert "cut#1: refused: 'store' is protected" in planned.stdout
