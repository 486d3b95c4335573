"""Faults by chance: seeded, apart from each other and from planned ones, scaled, and judged like any other."""

from __future__ import annotations

import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from small_workspace import SmallWorkspace, experiment

from faultload.commands.plan import plan_lines
from faultload.errors import ExitCode, InvalidInput
from faultload.record.directory import RunDirectory
from faultload.record.measured import fault_times, read_measured
from faultload.run.injections import injections_of, strikes_of
from faultload.run.prepare import Prepared, RunOptions, prepare
from faultload.spec.chance import name_of, window
from faultload.spec.checks import ttr_bound
from faultload.spec.profile import scale
from faultload.spec.scenario import Scenario
from faultload.verdict.judge import _exit_code
from faultload_analysis.evidence.verdict import Verdict

CHANCE = """\
chaos_monkey:
  faults:
    - {experiment: experiments/pause_store.yaml, weight: 3, with: {duration_s: 4}}
    - experiments/kill_web.yaml
  rate: 1/40s
"""


@pytest.fixture
def soak(workspace: SmallWorkspace) -> SmallWorkspace:
    """A scenario of an hour with faults by chance and a planned one."""
    workspace.write("experiments/kill_web.yaml", experiment("kill", "{service: web}"))
    workspace.replace(workspace.scenario, "- {hold: 60s}", "- {hold: 1h}\n    - {ramp: 0/s, over: 10s}")
    workspace.replace(workspace.scenario, "  - ttr(freeze) <= 10s", "  - ttr(freeze) <= 10s\n  - mttr <= 12s")
    workspace.replace(workspace.scenario, "objectives:\n", f"{CHANCE}objectives:\n")
    return workspace


def prepared(workspace: SmallWorkspace, profile: str | None = None) -> Prepared:
    return prepare(workspace.scenario, RunOptions(profile=profile))


def strikes(of: Prepared, seed: int) -> list[tuple[float, str, int]]:
    found = strikes_of(of.scenario, of.profile, of.experiments, seed)
    return [(one.at_s, one.fault, one.k) for one in found]


def mistakes(workspace: SmallWorkspace) -> str:
    with pytest.raises(InvalidInput) as found:
        prepared(workspace)
    return str(found.value)


def test_the_earliest_leaves_an_automatic_warm_up_room(soak: SmallWorkspace) -> None:
    """Ten seconds of ramp, then 5 s of baseline, or twice as much."""
    for added, earliest in (("", 15), ("warmup: auto\n", 20)):
        soak.replace(soak.scenario, "abort:", f"{added}abort:")
        scenario = prepared(soak).scenario
        assert scenario.chaos_monkey is not None
        assert window(scenario, scenario.chaos_monkey)[0] == earliest


def test_the_same_seed_gives_the_same_schedule(soak: SmallWorkspace) -> None:
    of = prepared(soak)
    assert strikes(of, 7) == strikes(of, 7)
    assert strikes(of, 7) != strikes(of, 8)
    assert {name for _, name, _ in strikes(of, 7)} == {"monkey-pause-store", "monkey-kill-web"}


def test_each_fault_is_numbered_by_its_name(soak: SmallWorkspace) -> None:
    found = strikes(prepared(soak), 7)
    for wanted in ("monkey-pause-store", "monkey-kill-web"):
        numbers = [k for _, name, k in found if name == wanted]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) > 5


def test_rate_and_weights_are_kept_on_average(soak: SmallWorkspace) -> None:
    of = prepared(soak)
    found = [strikes(of, seed) for seed in range(60)]
    # 3600 s, less 5 s of baseline, two planned faults and the end, one every 40 s
    assert statistics.mean(map(len, found)) == pytest.approx(88, abs=2.5)
    names = [name for one in found for _, name, _ in one]
    assert names.count("monkey-pause-store") / len(names) == pytest.approx(0.75, abs=0.02)


def test_each_has_its_time_its_bound_and_the_hold_for_itself(soak: SmallWorkspace) -> None:
    of = prepared(soak)
    # the longer of its time and its bound (mttr <= 12s), and the hold of 5 s
    assert ttr_bound(of.scenario, of.profile, "monkey-kill-web") == 12
    for seed in range(20):
        every = injections_of(of.scenario, of.profile, of.experiments, seed)
        assert [one.at_s for one in every] == sorted(one.at_s for one in every)
        assert {one.fault for one in every if not one.by_chance} == {"freeze", "slow"}
        for one, following in pairwise(every):
            assert following.at_s - one.at_s >= 15.0 - 1e-6, (seed, one.label, following.label)
        assert every[-1].at_s + 17.0 <= 3610.0


def test_the_gaps_beyond_the_least_are_exponential(soak: SmallWorkspace) -> None:
    of = prepared(soak)
    gaps = [
        following[0] - one[0] - 17.0
        for seed in range(30)
        for one, following in pairwise(strikes(of, seed))
        if one[0] > 100  # clear of the planned ones
    ]
    assert min(gaps) >= -1e-6
    mean = statistics.mean(gaps)
    assert mean == pytest.approx(23.0, rel=0.06)
    assert statistics.stdev(gaps) == pytest.approx(mean, rel=0.08)


def test_min_gap_is_kept(soak: SmallWorkspace) -> None:
    soak.replace(soak.scenario, "rate: 1/40s", "rate: 1/60s\n  min_gap: 50s\n  from: 10m\n  until: 50m")
    found = strikes(prepared(soak), 3)
    assert min(b[0] - a[0] for a, b in pairwise(found)) >= 50.0 - 1e-6
    assert found[0][0] >= 600
    assert found[-1][0] + 17.0 <= 3000


def test_a_profile_scales_times_and_keeps_the_number(soak: SmallWorkspace) -> None:
    soak.replace(soak.scenario, "rate: 1/40s", "rate: 1/120s\n  min_gap: 60s\n  from: 10m\n  most: 9")
    soak.replace(soak.scenario, "gentle: {rate: 0.5}", "gentle: {time: 0.5, repeat: 2}")
    soak.replace(soak.scenario, "at: 45s", "at: 60s")
    scenario = prepared(soak).scenario
    scaled = prepared(soak, "gentle")
    before, after = scenario.chaos_monkey, scaled.scenario.chaos_monkey
    assert before is not None
    assert after is not None
    assert (after.from_, after.min_gap, after.most) == (300.0, 30.0, 2)
    assert after.rate == pytest.approx(before.rate * 2)
    assert scaled.experiments["monkey-pause-store"].duration_s == 2.0
    assert scaled.experiments["monkey-kill-web"].duration_s == 2.5
    assert scaled.scaled["chaos_monkey"] == "faults by chance x 2 as often"
    assert len(strikes(scaled, 1)) == 4, "two of each"
    again = scale(Scenario.model_validate(scaled.scenario.to_json()), "full").scenario
    assert again.chaos_monkey == after, "as it was run, it is read back"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("experiments/kill_web.yaml\n", "experiments/kill_wbe.yaml\n", "no such file: experiments/kill_wbe.yaml"),
        (
            "rate: 1/40s",
            "rate: 1/16s",
            "one every 16 s leaves no room: on average a fault, its recovery and the gap",
        ),
        ("rate: 1/40s", "rate: 1/2h", "in 59 min 55 s less than one fault is to be expected"),
        ("rate: 1/40s", "rate: 40s", "a rate of failures"),
        ("rate: 1/40s", "rate: 1/40s\n  until: 20s", "leaves no room for 'monkey-pause-store'"),
        ("with: {duration_s: 4}", "with: {duration: 4}", "the configuration of pause_store.yaml has no 'duration'"),
        ("weight: 3", "weight: 0", "greater than 0"),
        ("experiments/kill_web.yaml\n", "experiments/pause_store.yaml\n", "two faults have the name"),
        ("mttr <= 12s", "ttr(monkey-kill-wbe) <= 12s", "there is no fault 'monkey-kill-wbe'"),
    ],
)
def test_a_mistake_is_found_before_anything_starts(soak: SmallWorkspace, old: str, new: str, says: str) -> None:
    soak.replace(soak.scenario, old, new)
    assert says in mistakes(soak)


def test_objectives_may_name_them(soak: SmallWorkspace) -> None:
    soak.replace(
        soak.scenario,
        "  - mttr <= 12s",
        "  - ttr(monkey-kill-web) <= 12s\n  - error_rate <= 50% during fault:monkey-pause-store",
    )
    of = prepared(soak)
    assert ttr_bound(of.scenario, of.profile, "monkey-kill-web") == 12
    every = injections_of(of.scenario, of.profile, of.experiments, 1)
    assert {one.max_duration_s for one in every if one.fault == "monkey-kill-web"} == {14.0}


def test_the_plan_shows_them_and_says_the_seed(soak: SmallWorkspace) -> None:
    lines = list(plan_lines(prepared(soak), RunOptions(seed=7)))
    assert any("monkey-pause-store#1: pause store for 4 s (random)" in line for line in lines)
    assert any("`faultload run --seed 7`" in line for line in lines)


def test_two_experiments_of_one_name_are_told_apart_by_their_own() -> None:
    chance = {"faults": [{"experiment": "a/kill_api.yaml"}, {"experiment": "b/kill_api.yaml", "name": "b"}]}
    found = scenario_with(chaos_monkey={**chance, "rate": "1/h"}).chaos_monkey
    assert found is not None
    assert [name_of(one) for one in found.faults] == ["monkey-kill-api", "monkey-b"]


def scenario_with(**changes: Any) -> Scenario:
    load = {"journeys": "j.py", "rate": [{"step": "1/s", "for": "1h"}]}
    content = {"name": "x", "target": "t.yaml", "load": load, "objectives": ["error_rate <= 1%"], **changes}
    return Scenario.model_validate(content)


# -- judged


def run_with(tmp_path: Path, *, came: bool) -> RunDirectory:
    """A record with a planned fault that came, one by chance that was held, and perhaps one that came."""
    run = RunDirectory.create(tmp_path / "run")
    strikes = [
        {"at_s": 10.0, "fault": "monkey-kill-web", "k": 1, "by_chance": True},
        {"at_s": 60.0, "fault": "monkey-kill-web", "k": 2, "by_chance": True},
    ]
    run.begin({"injections": strikes, "ended": 90.0, "load": {}})
    run.event("gate", fault="monkey-kill-web", k=1, passed=False, why="web: 1 of 3 instances are ready")
    if came:
        run.event("gate", fault="monkey-kill-web", k=2, passed=True, why="")
        line = {"fault": "monkey-kill-web", "k": 2, "kind": "kill", "instances": [], "max_duration_s": 5.0}
        for t, state in ((60.0, "INJECTING"), (66.0, "UNDONE")):
            with run.faults_path.open("a") as file:
                file.write(f'{{"t": {t}, "state": "{state}", {str(line)[1:].replace(chr(39), chr(34))}\n')
    return run


def test_one_by_chance_that_was_held_is_a_note(tmp_path: Path) -> None:
    measured = read_measured(run_with(tmp_path, came=True))
    assert [fault.label for fault in measured.faults if fault.gate is False] == ["monkey-kill-web#1"]
    assert measured.held == []
    assert _exit_code(measured, Verdict.PASS) is ExitCode.PASS


def test_when_none_came_it_is_refused(tmp_path: Path) -> None:
    measured = read_measured(run_with(tmp_path, came=False))
    assert [fault.label for fault in measured.held] == ["monkey-kill-web#1"]
    assert _exit_code(measured, Verdict.PASS) is ExitCode.REFUSED


def test_a_planned_fault_that_was_held_still_is_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path, came=True)
    run.event("gate", fault="freeze", k=1, passed=False, why="no standby")
    measured = read_measured(run)
    assert len(fault_times(run.faults(), run.events())) == 3
    assert [fault.label for fault in measured.held] == ["freeze#1"]
    assert _exit_code(measured, Verdict.PASS) is ExitCode.REFUSED
