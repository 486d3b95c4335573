"""Scales a scenario to a profile: times, rates and users multiplied, repeats and users capped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from faultload.spec import units
from faultload.spec.chance import name_of
from faultload.spec.scenario import Profile, Scenario


@dataclass(frozen=True, slots=True)
class ScaledScenario:
    """A scenario in the form of a profile, and what the profile scaled."""

    scenario: Scenario
    profile: str
    scaled: dict[str, str]


def scale(scenario: Scenario, wanted: str | None, durations: Mapping[str, float] | None = None) -> ScaledScenario:
    """A scenario scaled to a profile. Raises ValueError for a profile that does not exist.

    `durations`: by fault, the `duration_s` of its experiment in seconds, for those that set none in `with`.
    `time` scales load stages, `at`, `every` and a fault's `duration_s`; never time-outs, recovery, abort
    windows or objectives.
    """
    name = scenario.profile_name(wanted)
    profile = scenario.profiles.get(name)
    if profile is None:
        if name != "full":
            known = ", ".join([*scenario.profiles, *(["full"] if "full" not in scenario.profiles else [])])
            raise ValueError(f"there is no profile '{name}'; there are: {known}")
        profile = Profile()
    data = scenario.to_json()
    level = profile.rate if scenario.load.model == "open" else profile.users
    for stage in data["load"].get("rate") or data["load"].get("users") or []:
        _scale_stage(stage, profile.time, level, scenario.load.model)
    if profile.statements is not None:
        data["statements"] = profile.statements
    if profile.max_users is not None:
        data["load"]["max_users"] = min(scenario.load.max_users, profile.max_users)
    for fault in data.get("faults", []):
        default = (durations or {}).get(fault["name"])
        if default is not None and profile.time != 1:
            fault.setdefault("with", {}).setdefault("duration_s", default)
        _scale_fault(fault, profile)
    if scenario.chaos_monkey is not None:
        _scale_chance(data["chaos_monkey"], scenario, profile, durations or {})
    scaled = {}
    if profile.time != 1:
        scaled["time"] = f"load stages and fault times x {units.format_number(profile.time)}"
    if scenario.load.model == "open" and profile.rate != 1:
        scaled["rate"] = f"arrival rate x {units.format_number(profile.rate)}"
    if scenario.load.model == "closed" and profile.users != 1:
        scaled["users"] = f"users x {units.format_number(profile.users)}"
    if profile.repeat is not None and any(
        fault.repeat and fault.repeat.count > profile.repeat for fault in scenario.faults
    ):
        times = "once" if profile.repeat == 1 else f"{profile.repeat} times"
        scaled["repeat"] = f"each fault at most {times}"
    if scenario.chaos_monkey is not None and profile.time != 1:
        scaled["chaos_monkey"] = f"faults by chance x {units.format_number(1 / profile.time)} as often"
    if profile.max_users is not None and profile.max_users < scenario.load.max_users:
        scaled["max_users"] = f"at most {profile.max_users} users instead of {scenario.load.max_users}"
    return ScaledScenario(Scenario.model_validate(data), name, scaled)


def _times(text: str, by: float) -> str:
    return units.write_duration(units.duration(text) * by)


def _scale_stage(stage: dict[str, Any], time: float, level: float, model: str) -> None:
    for key in ("over", "for", "hold"):
        if key in stage:
            stage[key] = _times(stage[key], time)
    for key in ("ramp", "step"):
        if key in stage and model == "open":
            stage[key] = f"{units.rate(stage[key]) * level!r}/s"
        elif key in stage:
            stage[key] = max(1, round(stage[key] * level)) if stage[key] else 0


def _scale_fault(fault: dict[str, Any], profile: Profile) -> None:
    fault["at"] = _times(fault["at"], profile.time)
    if "repeat" in fault:
        fault["repeat"]["every"] = _times(fault["repeat"]["every"], profile.time)
        if profile.repeat is not None:
            fault["repeat"]["count"] = min(fault["repeat"]["count"], profile.repeat)
    duration = fault.get("with", {}).get("duration_s")
    if isinstance(duration, int | float):
        fault["with"]["duration_s"] = duration * profile.time


def _scale_chance(
    chance: dict[str, Any], scenario: Scenario, profile: Profile, durations: Mapping[str, float]
) -> None:
    """Times as everywhere; the rate so that as many faults are to be expected as in the whole scenario."""
    assert scenario.chaos_monkey is not None
    for key in ("from", "until", "min_gap"):
        if key in chance:
            chance[key] = _times(chance[key], profile.time)
    chance["rate"] = f"{scenario.chaos_monkey.rate / profile.time!r}/s"
    if profile.repeat is not None:
        chance["most"] = min(chance.get("most", profile.repeat), profile.repeat)
    for fault, declared in zip(chance["faults"], scenario.chaos_monkey.faults, strict=True):
        default = durations.get(name_of(declared))
        if default is not None and profile.time != 1:
            fault.setdefault("with", {}).setdefault("duration_s", default)
        duration = fault.get("with", {}).get("duration_s")
        if isinstance(duration, int | float):
            fault["with"]["duration_s"] = duration * profile.time
