"""Random faults: the seeded schedule a scenario's `chaos_monkey` makes from its experiments."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from faultload.spec.scenario import ChanceFault, ChaosMonkey, FaultSpec, Scenario
from faultload.spec.stages import cooldown_start, warmup_end
from faultload.spec.units import format_number, format_seconds
from faultload.spec.warmup import least_before_faults_s


@dataclass(frozen=True, slots=True)
class Strike:
    """One injection by chance: `at_s` after the load's start, the `k`-th of its name."""

    at_s: float
    fault: str
    k: int


@dataclass(frozen=True, slots=True)
class Busy:
    """A stretch of the load that a planned fault needs for itself."""

    start_s: float
    end_s: float


def name_of(fault: ChanceFault) -> str:
    """The name of a fault by chance in the record: monkey-kill-api."""
    return f"monkey-{fault.name or PurePath(fault.experiment).stem.replace('_', '-')}"


def specs(scenario: Scenario) -> list[FaultSpec]:
    """The faults of the list, in the form of a scenario's own, for everything but their times."""
    if scenario.chaos_monkey is None:
        return []
    return [
        FaultSpec.model_validate(
            {
                "name": name_of(one),
                "experiment": one.experiment,
                "at": "0s",
                "with": one.with_,
                "on_ended_early": one.on_ended_early,
            }
        )
        for one in scenario.chaos_monkey.faults
    ]


def window(scenario: Scenario, monkey: ChaosMonkey) -> tuple[float, float]:
    """From when and until when faults may come: as declared, and never in warm-up or cool-down."""
    stages = scenario.load.stages
    earliest, latest = warmup_end(stages) + least_before_faults_s(scenario), cooldown_start(stages)
    start = earliest if monkey.from_ is None else max(monkey.from_, earliest)
    return start, latest if monkey.until is None else min(monkey.until, latest)


def schedule(scenario: Scenario, rooms: Mapping[str, float], busy: Sequence[Busy], seed: int) -> list[Strike]:
    """The injections by chance of a run: the same for the same seed.

    `rooms`: by name, the seconds that a fault needs: its time or `ttr` bound, and the hold. After each fault
    come its gap (its room, or `min_gap` where that is longer) and an exponentially distributed rest, whose mean
    makes `rate` the mean rate: a renewal process, Poisson but for the gaps. A fault that has no room before
    the end does not come; where it would meet a planned one it comes right after it.
    """
    monkey = scenario.chaos_monkey
    if monkey is None:
        return []
    chance = random.Random(f"{seed}:chaos_monkey")
    start, end = window(scenario, monkey)
    rest_s = 1.0 / monkey.rate - mean_gap(monkey, rooms)
    left = {name_of(one): one.weight for one in monkey.faults}
    counts = dict.fromkeys(left, 0)
    found: list[Strike] = []
    now = start
    while left:
        now += chance.expovariate(1.0 / rest_s) if rest_s > 0 else 0.0
        name = chance.choices(list(left), list(left.values()))[0]
        at = _free(now, rooms[name], busy)
        if at + rooms[name] > end:
            break
        counts[name] += 1
        found.append(Strike(round(at, 3), name, counts[name]))
        if monkey.most is not None and counts[name] >= monkey.most:
            del left[name]
        now = at + max(rooms[name], monkey.min_gap)
    return found


def mean_gap(monkey: ChaosMonkey, rooms: Mapping[str, float]) -> float:
    """The mean of the gaps that the faults of the list need, by their weights."""
    weights = {name_of(one): one.weight for one in monkey.faults}
    total = sum(weights.values())
    return sum(weight * max(rooms[name], monkey.min_gap) for name, weight in weights.items()) / total


def _free(at: float, room: float, busy: Sequence[Busy]) -> float:
    for one in sorted(busy, key=lambda one: one.start_s):
        if at < one.end_s and at + room > one.start_s:
            at = one.end_s
    return at


def problems(scenario: Scenario, rooms: Mapping[str, float]) -> Iterator[tuple[str, str, str | None]]:
    """What is wrong with the schedule: the key, what, and what to do. `rooms` as in `schedule`."""
    monkey = scenario.chaos_monkey
    if monkey is None:
        return
    start, end = window(scenario, monkey)
    longest = max(rooms, key=lambda name: rooms[name])
    if end - start < rooms[longest]:
        yield (
            "until" if monkey.until is not None else "from",
            f"from {format_seconds(start)} until {format_seconds(end)} leaves no room for '{longest}', which needs "
            f"{format_seconds(rooms[longest])} (fault or ttr bound, and the hold)",
            None,
        )
        return
    gap = mean_gap(monkey, rooms)
    if 1.0 / monkey.rate < gap:
        yield (
            "rate",
            f"one every {format_seconds(1.0 / monkey.rate)} leaves no room: on average a fault, its recovery and "
            f"the gap take {format_seconds(gap)}",
            f"rate: {format_number(int(3600 / gap * 10) / 10)}/h or less",
        )
    elif (end - start) * monkey.rate < 1.0:
        yield (
            "rate",
            f"in {format_seconds(end - start)} less than one fault is to be expected",
            f"rate: {format_number(3600 / (end - start))}/h or more",
        )
