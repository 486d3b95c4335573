"""Room for every fault: after the warm-up, before the end of the load, and before the next one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_workspace import SmallWorkspace

from faultload import faults
from faultload.commands.plan import plan_lines
from faultload.errors import InvalidInput
from faultload.run.scenarios import RunOptions, prepare
from faultload.spec.scenario import read_scenario

END_S, WARM_S = 70, 10
"""The load of the workspace; its faults are `freeze` (10 s of its `ttr` bound) and `slow` (5 s); a hold is 5 s."""


def mistakes(workspace: SmallWorkspace, freeze: str, slow: str) -> list[str]:
    """What is wrong when the two faults start at these moments, without the places in the file."""
    workspace.replace(workspace.scenario, "at: 20s", f"at: {freeze}")
    workspace.replace(workspace.scenario, "at: 45s", f"at: {slow}")
    try:
        prepare(workspace.scenario, RunOptions())
    except InvalidInput as error:
        return re.findall(r"('(?:freeze|slow)'.*) in profile full", str(error))
    return []


@pytest.mark.parametrize(
    ("freeze", "slow"), [("20s", "60s"), ("15s", "30s"), ("55s", "45s"), ("55s", "15s"), ("30s", "20s")]
)
def test_faults_in_any_order_with_room_for_each_are_in_order(
    workspace: SmallWorkspace, freeze: str, slow: str
) -> None:
    assert mistakes(workspace, freeze, slow) == []


def test_a_fault_starts_before_the_load_ends(workspace: SmallWorkspace) -> None:
    assert mistakes(workspace, "20s", "70s") == ["'slow' starts at 70 s, the load ends at 70 s"]


def test_a_fault_has_its_time_and_the_hold_before_the_load_ends(workspace: SmallWorkspace) -> None:
    (said,) = mistakes(workspace, "20s", "61s")
    assert said.startswith("'slow' at 61 s needs 10 s")
    assert said.endswith("but the end of the load comes after 9 s")


def test_a_fault_that_is_written_later_but_comes_first_must_leave_room(workspace: SmallWorkspace) -> None:
    (said,) = mistakes(workspace, "50s", "42s")
    assert said.startswith("'slow' at 42 s needs 10 s")
    assert said.endswith("but the next fault comes after 8 s")


def test_a_next_fault_that_never_starts_is_not_in_the_way(workspace: SmallWorkspace) -> None:
    room, never = sorted(mistakes(workspace, "60s", "75s"))
    assert room.endswith("but the end of the load comes after 10 s")
    assert never == "'slow' starts at 75 s, the load ends at 70 s"


def test_a_fault_has_baseline_before_it(workspace: SmallWorkspace) -> None:
    (said,) = mistakes(workspace, "14.9s", "45s")
    assert said.startswith("'freeze' starts at 14.9 s: it needs 5 s of baseline")
    assert "which ends at 10 s" in said
    with pytest.raises(InvalidInput, match="at: 15s or later"):
        prepare(workspace.scenario, RunOptions())


def test_a_fault_whose_experiment_is_missing_is_not_blamed_for_its_room_as_well(workspace: SmallWorkspace) -> None:
    workspace.slow.unlink()
    workspace.replace(workspace.scenario, "at: 45s", "at: 65s")
    with pytest.raises(InvalidInput, match="no such file") as said:
        prepare(workspace.scenario, RunOptions())
    assert "needs" not in str(said.value)


DOCKER = """\
id: docker:ABCD:shop
name: shop
platform: docker
project: shop
url: http://127.0.0.1:8080
services:
  web: {compose: web, port: 8080, count: 2}
  store: {compose: store, port: 9000}
links:
  "web -> store": {protocol: http}
"""


def test_the_start_of_a_faults_helper_is_part_of_its_room(workspace: SmallWorkspace) -> None:
    """On local processes `slow` fits into the last ten seconds; a helper container needs five more to start."""
    assert mistakes(workspace, "20s", "60s") == []
    workspace.target.write_text(DOCKER)
    with pytest.raises(InvalidInput) as error:
        prepare(workspace.scenario, RunOptions())
    (said,) = re.findall(r"('slow'.*) in profile full", str(error.value))
    assert said == (
        "'slow' at 60 s needs 15 s (5 s until its helper runs, fault or ttr bound, and the hold of 5 s), but the "
        "end of the load comes after 10 s"
    )


def test_a_plan_says_how_long_a_helper_may_take_to_start(
    workspace: SmallWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.target.write_text(DOCKER)
    monkeypatch.setattr("faultload.commands.plan._instances", lambda *_: iter(()))
    lines = list(plan_lines(prepare(workspace.scenario, RunOptions(seed=1)), RunOptions(seed=1)))
    assert "      20.0 s  freeze#1: pause store for 5 s, after up to 5 s until its helper runs" in lines


@pytest.mark.parametrize(
    ("platform", "word", "arguments", "seconds"),
    [
        ("local", "pause", {}, 0.0),
        ("local", "cpu_stress", {}, 1.0),
        ("docker", "restart", {}, 0.0),
        ("docker", "latency", {}, 5.0),
        ("docker", "failover_database", {"mode": "postmaster"}, 0.0),
        ("docker", "failover_database", {"mode": "member"}, 5.0),
        ("kubernetes", "kill", {}, 15.0),
        ("kubernetes", "partition", {}, 15.0),
        ("kubernetes", "terminate", {}, 0.0),
        ("external", "kill", {}, 0.0),
    ],
)
def test_only_what_starts_helpers_needs_time_for_them(
    platform: str, word: str, arguments: dict[str, str], seconds: float
) -> None:
    assert faults.preparation_s(platform, word, arguments) == seconds


SHIPPED = sorted((Path(__file__).parents[3] / "scenarios").rglob("*.yaml"))


@pytest.mark.parametrize("platform", faults.PLATFORMS)
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_scenario_has_room_for_helpers_on_every_platform(file: Path, platform: str) -> None:
    for profile in [*read_scenario(file).scenario.profiles, "full"]:
        try:
            prepare(file, RunOptions(profile=profile, platform=platform))
        except InvalidInput as error:
            cannot = [one.message for one in error.mistakes if "cannot do" in one.message]
            assert len(cannot) == len(error.mistakes), str(error)


def test_with_an_automatic_warm_up_the_load_before_the_first_fault_is_twice_the_baseline(
    workspace: SmallWorkspace,
) -> None:
    workspace.replace(workspace.scenario, "abort:", "warmup: auto\nabort:")
    assert mistakes(workspace, "20s", "45s") == []
    workspace.replace(workspace.scenario, "at: 20s", "at: 19s")
    with pytest.raises(InvalidInput) as caught:
        prepare(workspace.scenario, RunOptions())
    assert (
        "'freeze' starts at 19 s: it needs 10 s of load after the ramps, half of which `warmup: auto` may leave "
        "out: they end at 10 s in profile full (at: 20s or later)"
    ) in str(caught.value)
