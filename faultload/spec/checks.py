"""Checks no model can make on its own: files, names, and whether the schedule has room."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from faultload.errors import InvalidInput, Mistake
from faultload.spec import chance as monkey
from faultload.spec.experiment import Experiment, Place, read_experiment
from faultload.spec.journeys import JourneyFile, read_journeys
from faultload.spec.measures import Declared, measure_of
from faultload.spec.mistakes import nearest
from faultload.spec.objective import FIXED_PHASES
from faultload.spec.profile import ScaledScenario, scale
from faultload.spec.scenario import FaultSpec, LoadedScenario, Scenario
from faultload.spec.stages import cooldown_start, warmup_end
from faultload.spec.target import TargetFile
from faultload.spec.term import Objective, Term
from faultload.spec.units import format_seconds
from faultload.spec.vocabulary import Catalogue, FaultWord, collide
from faultload.spec.warmup import least_before_faults_s
from faultload.spec.workspace import find


@dataclass(frozen=True)
class Known:
    """What is known of the target before it is started."""

    services: Collection[str]
    links: Collection[str]
    platform: str

    @classmethod
    def of_target(cls, target: TargetFile) -> Known:
        return cls(tuple(target.services), tuple(target.links), target.platform)


def check_scenario(
    loaded: LoadedScenario, known: Known | None, faults: Catalogue, profile: str | None = None
) -> list[Mistake]:
    """Every mistake of a scenario beyond its form; for all its profiles, or for one.

    `known` None: the target is not known yet, and names of services and links are not checked.
    """
    scenario, document = loaded.scenario, loaded.document
    mistakes: list[Mistake] = []
    journeys = _journeys(loaded, mistakes)
    experiments = _experiments(loaded, known, faults, mistakes)
    for index, spec in enumerate(scenario.objectives):
        path = ("objectives", index)
        for message, hint in _objective_problems(spec.parsed, scenario, journeys, known):
            mistakes.append(document.mistake(path, message, hint))
        for name in spec.profiles or []:
            if name not in scenario.profiles and name not in ("standard", "full"):
                hint = f"there are: {', '.join([*scenario.profiles, 'full'])}"
                mistakes.append(document.mistake((*path, "profiles"), f"there is no profile '{name}'", hint))
    for index, rule in enumerate(scenario.alerts):
        for message, hint in _filter_problems(rule.parsed.term, scenario, journeys, known):
            mistakes.append(document.mistake(("alerts", index, "objective"), message, hint))
    names = [profile] if profile is not None else [*scenario.profiles, "full"]
    for name in names:
        try:
            scaled = scale(scenario, name, _durations(experiments)).scenario
        except ValueError as error:
            mistakes.append(document.mistake(("profiles",), str(error)))
            continue
        where = f" in profile {name}"
        for fault_index, message, hint in _schedule_problems(scaled, name, experiments):
            path_at: tuple[str | int, ...] = ("faults", fault_index, "at")
            mistakes.append(document.mistake(path_at, message + where, hint))
        chance = monkey.specs(scaled)
        if all(spec.name in experiments for spec in chance):
            rooms = {spec.name: room_of(scaled, name, spec, experiments) for spec in chance}
            for key, message, hint in monkey.problems(scaled, rooms):
                mistakes.append(document.mistake(("chaos_monkey", key), message + where, hint))
    return mistakes


def _journeys(loaded: LoadedScenario, mistakes: list[Mistake]) -> JourneyFile | None:
    load = loaded.scenario.load
    file = find(load.journeys, loaded.folder)
    if file is None:
        hint = "looked beside the scenario, in the workspace and in the shipped packs"
        mistakes.append(loaded.document.mistake(("load", "journeys"), f"no such file: {load.journeys}", hint))
        return None
    try:
        journeys = read_journeys(file)
    except InvalidInput as error:
        mistakes += error.mistakes
        return None
    for name in load.mix:
        if name not in journeys.classes:
            message = f"{load.journeys} has no journey '{name}'"
            mistakes.append(
                loaded.document.mistake(("load", "mix", name), message, nearest(name, journeys.classes))
            )
    return journeys


def _durations(experiments: Mapping[str, Experiment]) -> dict[str, float]:
    return {name: experiment.duration_s for name, experiment in experiments.items()}


def scaled_with_experiments(
    loaded: LoadedScenario, wanted: str | None, words: Mapping[str, FaultWord]
) -> ScaledScenario:
    """A scenario scaled to a profile, its experiments' own durations too. Raises ValueError, InvalidInput."""
    every = [*loaded.scenario.faults, *monkey.specs(loaded.scenario)]
    found = {spec.name: experiment_of(spec, loaded.folder, words) for spec in every}
    known = {name: experiment for name, experiment in found.items() if experiment is not None}
    return scale(loaded.scenario, wanted, _durations(known))


def experiment_of(
    spec: FaultSpec, folder: Path, words: Mapping[str, FaultWord], given_at: Place | None = None
) -> Experiment | None:
    """The experiment that a fault names, or None when there is no such file. Raises InvalidInput."""
    file = find(spec.experiment, folder)
    return None if file is None else read_experiment(file, words, spec.with_, given_at)


def played_on(platform: str, experiment: Experiment, faults: Catalogue) -> Experiment:
    """An experiment with the time that its helpers may take to start on a platform."""
    seconds = faults.preparation_s(platform, experiment.word.name, experiment.arguments)
    return replace(experiment, preparation_s=seconds)


def _experiments(
    loaded: LoadedScenario, known: Known | None, faults: Catalogue, mistakes: list[Mistake]
) -> dict[str, Experiment]:
    found: dict[str, Experiment] = {}
    for at, spec in _every_fault(loaded.scenario):
        path: tuple[str | int, ...] = (*at, "experiment")
        if spec.name in found:
            message = f"two faults have the name '{spec.name}'"
            mistakes.append(loaded.document.mistake(path, message, "give one of them its own `name:`"))
            continue
        try:
            experiment = experiment_of(spec, loaded.folder, faults.words(), (loaded.document, (*at, "with")))
        except InvalidInput as error:
            mistakes += error.mistakes
            continue
        if experiment is None:
            hint = "looked beside the scenario, in the workspace and in the shipped packs"
            mistakes.append(loaded.document.mistake(path, f"no such file: {spec.experiment}", hint))
            continue
        found[spec.name] = experiment
        if known is None:
            continue
        found[spec.name] = played_on(known.platform, experiment, faults)
        for what, name, names in (
            ("service", experiment.service, known.services),
            ("link", experiment.link, known.links),
        ):
            if name is not None and name not in names:
                message = f"{spec.experiment} names the {what} '{name}', which the target does not have"
                mistakes.append(loaded.document.mistake(path, message, nearest(name, names)))
        refused = faults.cannot(known.platform, experiment.word.name)
        if refused is not None:
            mistakes.append(loaded.document.mistake(path, refused.message, refused.hint))
        for text in experiment.word.foreign(known.platform, experiment.arguments):
            mistakes.append(loaded.document.mistake(path, text, "leave it out"))
    return found


def _every_fault(scenario: Scenario) -> Iterator[tuple[tuple[str | int, ...], FaultSpec]]:
    """The planned faults and those by chance, with where they stand in the file."""
    yield from ((("faults", index), spec) for index, spec in enumerate(scenario.faults))
    yield from ((("chaos_monkey", "faults", index), spec) for index, spec in enumerate(monkey.specs(scenario)))


def _objective_problems(
    objective: Objective, scenario: Scenario, journeys: JourneyFile | None, known: Known | None
) -> Iterator[tuple[str, str | None]]:
    faults = [spec.name for _, spec in _every_fault(scenario)]
    declared = Declared(
        faults=faults,
        with_failure_rate=[fault.name for fault in scenario.faults if fault.failure_rate is not None],
        observations=None if journeys is None else journeys.observations,
        acknowledges=None if journeys is None else journeys.acknowledges,
        alerts=[rule.name for rule in scenario.alerts],
    )
    yield from _phase_problems(objective, scenario, faults)
    for term in (objective.term, *objective.term.inner):
        yield from _filter_problems(term, scenario, journeys, known)
        yield from measure_of(term).problems(term, declared)


def _phase_problems(
    objective: Objective, scenario: Scenario, faults: Collection[str]
) -> Iterator[tuple[str, str | None]]:
    phase = objective.phase
    if phase is None or phase in FIXED_PHASES:
        return
    kind, colon, rest = phase.partition(":")
    if colon and kind in ("fault", "recovery"):
        name = rest.partition("#")[0]
        if name not in faults:
            yield f"during {phase}: there is no fault '{name}'", nearest(name, faults)
        return
    stages = [name for stage in scenario.load.stages for name in stage.phases]
    if phase not in stages:
        yield f"during {phase}: there is no such phase", nearest(phase, [*FIXED_PHASES, *stages])


def _filter_problems(
    term: Term, scenario: Scenario, journeys: JourneyFile | None, known: Known | None
) -> Iterator[tuple[str, str | None]]:
    journey = term.filters.get("journey")
    names = list(scenario.load.mix) or (journeys.classes if journeys is not None else [])
    if journey is not None and names and journey not in names:
        yield f"{term}: there is no journey '{journey}'", nearest(journey, names)
    service = term.filters.get("service")
    if service is not None and known is not None and service not in known.services:
        yield f"{term}: the target has no service '{service}'", nearest(service, known.services)


def _schedule_problems(
    scenario: Scenario, profile: str, experiments: dict[str, Experiment]
) -> Iterator[tuple[int, str, str | None]]:
    """Room for every fault: its time, its `ttr` bound and the hold, before the next one and the end."""
    stages = scenario.load.stages
    end = cooldown_start(stages)
    begin = warmup_end(stages)
    hold = scenario.recovery.hold
    least = least_before_faults_s(scenario)
    what = "baseline after the warm-up, which ends"
    if scenario.warmup is not None:
        what = "load after the ramps, half of which `warmup: auto` may leave out: they end"
    planned = []
    for index, spec in enumerate(scenario.faults):
        room = room_of(scenario, profile, spec, experiments)
        planned += [(at, room, index, spec) for at in spec.times()]
    planned.sort(key=lambda one: one[0])
    for place, (at, room, index, spec) in enumerate(planned):
        if at >= end:
            message = f"'{spec.name}' starts at {format_seconds(at)}, the load ends at {format_seconds(end)}"
            yield index, message, None
            continue
        if at < begin + least:
            yield (
                index,
                f"'{spec.name}' starts at {format_seconds(at)}: it needs {least:g} s of {what} "
                f"at {format_seconds(begin)}",
                f"at: {begin + least:g}s or later",
            )
        following = next((one for one in planned[place + 1 :] if not one[3].overlap), None)
        limit = min(end, following[0]) if following is not None else end
        if at + room > limit + 1e-9:
            until = "the next fault" if following is not None and following[0] < end else "the end of the load"
            parts = f"{_starting(spec, experiments)}fault or ttr bound, and the hold of {format_seconds(hold)}"
            yield (
                index,
                f"'{spec.name}' at {format_seconds(at)} needs {format_seconds(room)} ({parts}), but {until} comes "
                f"after {format_seconds(limit - at)}",
                None,
            )
    yield from _collisions([(at, at + room - hold, spec, index) for at, room, index, spec in planned], experiments)


def _collisions(
    planned: Sequence[tuple[float, float, FaultSpec, int]], experiments: Mapping[str, Experiment]
) -> Iterator[tuple[int, str, str | None]]:
    """Faults that may overlap, but are on the same layer of the same service or link at the same time.

    A one-shot fault is open until it came back by itself: as long as its `ttr` bound allows.
    """
    known = [
        (at, until if experiments[spec.name].word.one_shot else at + _held_s(spec, experiments), spec, index)
        for at, until, spec, index in planned
        if spec.name in experiments
    ]
    for place, (at, until, spec, _) in enumerate(known):
        for later, _, other, index in known[place + 1 :]:
            mine, theirs = experiments[spec.name], experiments[other.name]
            if later < until and collide(mine.word, mine.arguments, theirs.word, theirs.arguments):
                yield (
                    index,
                    f"'{spec.name}' at {format_seconds(at)} and '{other.name}' at {format_seconds(later)} are at "
                    f"the same time on the same place and layer ({mine.word.layer})",
                    "faults may overlap only on different services, links or layers",
                )


def room_of(scenario: Scenario, profile: str, spec: FaultSpec, experiments: Mapping[str, Experiment]) -> float:
    """The seconds that a fault needs for itself: until its helpers run, its time or `ttr` bound, and the hold."""
    bound = ttr_bound(scenario, profile, spec.name)
    return _preparation_s(spec, experiments) + max(_duration_of(spec, experiments), bound) + scenario.recovery.hold


def _held_s(spec: FaultSpec, experiments: Mapping[str, Experiment]) -> float:
    return _preparation_s(spec, experiments) + _duration_of(spec, experiments)


def _preparation_s(spec: FaultSpec, experiments: Mapping[str, Experiment]) -> float:
    return experiments[spec.name].preparation_s if spec.name in experiments else 0.0


def _starting(spec: FaultSpec, experiments: Mapping[str, Experiment]) -> str:
    """What of a fault's room is for its helpers, in words; empty without any."""
    seconds = _preparation_s(spec, experiments)
    return f"{format_seconds(seconds)} until its helper runs, " if seconds else ""


def _duration_of(spec: FaultSpec, experiments: Mapping[str, Experiment]) -> float:
    given = spec.with_.get("duration_s")
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    return experiments[spec.name].duration_s if spec.name in experiments else 0.0


def ttr_bound(scenario: Scenario, profile: str, fault: str) -> float:
    """The time that the objectives allow a fault for recovery, in seconds; 0 when none speaks of it."""
    about = [one.parsed for one in scenario.objectives_in(profile) if one.parsed.term.subject in ("", fault)]
    bounds = {name: [one.target.value for one in about if one.term.name == name] for name in ("ttr", "mttr")}
    return max(bounds["ttr"] or bounds["mttr"], default=0.0)
