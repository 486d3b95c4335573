"""A scenario: its form, its profiles, its way into run.json and back, and --set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from small_workspace import SmallWorkspace

from faultload.errors import InvalidInput
from faultload.spec.profile import scale
from faultload.spec.scenario import Load, Scenario, read_scenario
from faultload.spec.stages import area_between, cooldown_start, end_of, level_at, warmup_end
from faultload.spec.workspace import packs_root

OPEN: dict[str, Any] = {
    "name": "shop",
    "target": "http://127.0.0.1:80",
    "load": {
        "journeys": "j.py",
        "rate": [
            {"ramp": "30/s", "over": "9s"},
            {"hold": "1m", "phase": "rush"},
            {"surge": "3x", "for": "10s"},
            {"step": "600/min", "for": "20s"},
            {"ramp": "0/s", "over": "5s"},
        ],
        "timeout": "2s",
        "drop_after": "4s",
        "max_users": 300,
    },
    "faults": [
        {
            "name": "cut",
            "experiment": "e.yaml",
            "at": "15s",
            "repeat": {"count": 4, "every": "10s"},
            "with": {"duration_s": 6, "mode": "x", "flag": True},
        },
        {"name": "own", "experiment": "e.yaml", "at": "60s", "overlap": True},
    ],
    "objectives": [
        "p99(latency) <= 500ms",
        {"objective": "ttr <= 9s", "profiles": ["full"], "critical": True, "weight": 3},
    ],
    "abort": ["error_rate > 90% for 20s"],
    "recovery": {"slice": "2s", "hold": "7s", "tolerance": "33%"},
    "profiles": {
        "smoke": {"time": 0.5, "rate": 2, "repeat": 2, "max_users": 50},
        "soak": {"time": 7.3, "max_users": 9000, "repeat": 9},
    },
}
CLOSED = {
    **OPEN,
    "load": {"journeys": "j.py", "users": [{"ramp": 10, "over": "5s"}, {"hold": "60s"}, {"step": 0, "for": "1s"}]},
    "faults": [],
    "objectives": ["availability >= 99%"],
    "profiles": {"small": {"users": 0.04}, "big": {"users": 2.5}},
}


def scenario(content: dict[str, Any] = OPEN, **changes: Any) -> Scenario:
    return Scenario.model_validate({**content, **changes})


def test_the_stages_of_a_load() -> None:
    stages = scenario().load.stages
    assert [(stage.kind, stage.start_s, stage.end_s, stage.low, stage.high) for stage in stages] == [
        ("ramp", 0, 9, 0, 30),
        ("hold", 9, 69, 30, 30),
        ("surge", 69, 79, 90, 90),
        ("step", 79, 99, 10, 10),
        ("ramp", 99, 104, 10, 0),
    ]
    assert (warmup_end(stages), cooldown_start(stages), end_of(stages)) == (9, 99, 104)
    assert [level_at(stages, t) for t in (-1, 4.5, 30, 70, 101.5, 104)] == [0, 15, 30, 90, 5, 0]
    assert area_between(stages, 0, 104) == pytest.approx(135 + 1800 + 900 + 200 + 25)
    assert area_between(stages, 4.5, 10) == pytest.approx((15 + 30) / 2 * 4.5 + 30)
    assert stages[1].phase == "rush"


def test_a_hold_after_a_surge_goes_back_to_the_level_before_it() -> None:
    rate = [{"step": "10/s", "for": "5s"}, {"surge": "3x", "for": "5s"}, {"hold": "5s"}]
    levels = [
        stage.low
        for stage in scenario(
            load={"journeys": "j.py", "rate": rate}, faults=[], objectives=["availability >= 9%"]
        ).load.stages
    ]
    assert levels == [10, 30, 10]


def test_a_load_that_ends_on_its_way_up_has_no_cooldown() -> None:
    rate = [{"hold": "5s"}, {"ramp": "9/s", "over": "5s"}, {"ramp": "20/s", "over": "5s"}]
    stages = Load.model_validate({"journeys": "j.py", "rate": rate}).stages
    assert (warmup_end(stages), cooldown_start(stages)) == (0, 15)


def test_several_ramps_down_are_one_cooldown() -> None:
    rate = [{"step": "20/s", "for": "5s"}, {"ramp": "9/s", "over": "5s"}, {"ramp": "0/s", "over": "5s"}]
    stages = Load.model_validate({"journeys": "j.py", "rate": rate}).stages
    assert (warmup_end(stages), cooldown_start(stages)) == (0, 5)


def test_every_time_of_a_fault() -> None:
    assert scenario().faults[0].times() == [15, 25, 35, 45]
    assert scenario().faults[1].times() == [60]


@pytest.mark.parametrize("content", [OPEN, CLOSED], ids=["open", "closed"])
def test_it_goes_into_run_json_and_back(content: dict[str, Any]) -> None:
    whole = scenario(content)
    written = json.loads(json.dumps(whole.to_json()))
    assert Scenario.model_validate(written) == whole
    assert Scenario.model_validate(written).to_json() == written


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"load": {**OPEN["load"], "timeout": "1e308s"}}, "longer than 366d"),
        ({"load": {**OPEN["load"], "timeout": "25h"}}, "timeout must be between 1ms and 24h"),
        ({"load": {**OPEN["load"], "drop_after": "0s"}}, "drop_after must be between 1ms and 24h"),
        ({"load": {**OPEN["load"], "rate": [{"step": "1/s", "for": "400d"}]}}, "longer than 366d"),
        ({"recovery": {"hold": "0s"}}, "must hold for one slice at least"),
        ({"recovery": {"hold": "2s", "slice": "3s"}}, "must hold for one slice at least"),
        ({"recovery": {"slice": "1ns"}}, "a slice must be between 10ms and 24h"),
    ],
)
def test_times_that_cannot_be_meant_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        scenario(**change)


@pytest.mark.parametrize("percent", [*range(1, 101), 33.3, 0.1, 99.9])
def test_a_share_goes_into_run_json_and_back(percent: float) -> None:
    whole = scenario(recovery={"tolerance": f"{percent}%"})
    assert Scenario.model_validate(whole.to_json()).recovery.tolerance == whole.recovery.tolerance


def test_a_profile_scales_times_and_rates_and_nothing_else() -> None:
    before, scaled = scenario(), scale(scenario(), "smoke")
    after = scaled.scenario
    assert [(s.start_s, s.end_s, s.low, s.high) for s in after.load.stages] == [
        (0, 4.5, 0, 60),
        (4.5, 34.5, 60, 60),
        (34.5, 39.5, 180, 180),
        (39.5, 49.5, 20, 20),
        (49.5, 52, 20, 0),
    ]
    assert after.faults[0].times() == [7.5, 12.5]
    assert after.faults[0].with_ == {"duration_s": 3, "mode": "x", "flag": True}
    assert after.load.max_users == 50
    assert (after.load.timeout, after.load.drop_after) == (2, 4)
    assert (after.recovery, after.abort, after.objectives) == (before.recovery, before.abort, before.objectives)
    assert scaled.scaled == {
        "time": "load stages and fault times x 0.5",
        "rate": "arrival rate x 2",
        "repeat": "each fault at most 2 times",
        "max_users": "at most 50 users instead of 300",
    }


def test_a_cap_that_caps_nothing_is_not_reported() -> None:
    scaled = scale(scenario(), "soak")
    assert set(scaled.scaled) == {"time"}
    assert (scaled.scenario.load.max_users, len(scaled.scenario.faults[0].times())) == (300, 4)


@pytest.mark.parametrize(("profile", "levels"), [("small", [1, 1, 0]), ("big", [25, 25, 0])])
def test_users_are_scaled_to_whole_ones_and_never_to_none(profile: str, levels: list[float]) -> None:
    assert [stage.high for stage in scale(scenario(CLOSED), profile).scenario.load.stages] == levels


def test_the_profile_that_a_run_uses() -> None:
    assert scale(scenario(), None).profile == "full"
    assert scale(scenario(), None).scaled == {}
    assert scale(scenario(), None).scenario.load.stages == scenario().load.stages
    assert scale(scenario(profiles={"standard": {"rate": 2}}), None).profile == "standard"
    with pytest.raises(ValueError, match="no profile 'quick'; there are: smoke, soak, full"):
        scale(scenario(), "quick")


def test_objectives_by_profile() -> None:
    assert [spec.objective for spec in scenario().objectives_in("smoke")] == ["p99(latency) <= 500ms"]
    assert [spec.weight for spec in scenario().objectives_in("full")] == [1, 3]


def test_set_replaces_values(workspace: SmallWorkspace) -> None:
    sets = [
        "load.max_users=77",
        "load.rate[1].hold=2m",
        "faults.0.with.mode=reset",
        "objectives=[availability >= 9%]",
        "recovery.hold=3s",
        "description=a: b",
    ]
    changed = read_scenario(workspace.scenario, sets[:5]).scenario
    assert changed.load.max_users == 77
    assert changed.load.stages[1].duration_s == 120
    assert changed.faults[0].with_ == {"duration_s": 5, "mode": "reset"}
    assert [spec.objective for spec in changed.objectives] == ["availability >= 9%"]
    assert changed.recovery.hold == 3


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("load.max_user=7", "load.max_user: unknown key (did you mean 'max_users'?)"),
        ("load.max_users=many", "load.max_users: input should be a valid integer"),
        ("load.max_users", "wanted KEY=VALUE"),
        ("=7", "wanted KEY=VALUE"),
        ("faults[9].at=1s", "the scenario has no such key"),
        ("name.first=x", "the scenario has no such key"),
        ("faults.first=x", "the scenario has no such key"),
        ("0=x", "0"),
        ("load.0.x=1", "load[0]: keys should be strings"),
        ("name=[", "the value is not valid YAML"),
    ],
)
def test_set_with_a_mistake(workspace: SmallWorkspace, assignment: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_scenario(workspace.scenario, [assignment])
    assert says in str(refused.value)


def shipped(folder: str) -> list[Path]:
    return sorted((packs_root() / folder).rglob("*.yaml"))


@pytest.mark.parametrize("file", shipped("scenarios"), ids=lambda file: file.stem)
def test_every_profile_of_a_shipped_scenario_survives_run_json(file: Path) -> None:
    whole = read_scenario(file).scenario
    for profile in [*whole.profiles, "full"]:
        scaled = scale(whole, profile).scenario
        assert Scenario.model_validate(json.loads(json.dumps(scaled.to_json()))) == scaled


def test_an_experiments_own_duration_is_scaled_too() -> None:
    fault = {"name": "freeze", "experiment": "pause.yaml", "at": "20s"}
    written = scenario(faults=[fault, {**fault, "name": "cut", "at": "45s", "with": {"duration_s": 6}}])
    scaled = scale(written, "smoke", {"freeze": 10.0, "cut": 99.0})
    time = written.profiles["smoke"].time
    durations = {spec.name: spec.with_["duration_s"] for spec in scaled.scenario.faults}
    assert durations == {"freeze": pytest.approx(10 * time), "cut": pytest.approx(6 * time)}
    assert scale(written, "full", {"freeze": 10.0}).scenario.faults[0].with_ == {}
