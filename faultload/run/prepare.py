"""From the command line to scenarios that are read, scaled and checked, before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faultload import faults, reference
from faultload.errors import InvalidInput, Mistake
from faultload.record.info import LoadInfo
from faultload.run.target import Target
from faultload.spec import chance as monkey
from faultload.spec.checks import Known, check_scenario, experiment_of, played_on, scaled_with_experiments
from faultload.spec.experiment import Experiment
from faultload.spec.profile import scale
from faultload.spec.scenario import LoadedScenario, Scenario, read_scenario
from faultload.spec.target import external, read_target
from faultload.spec.workspace import find, scenario_files


@dataclass(frozen=True)
class RunOptions:
    """What the command line asked for."""

    profile: str | None = None
    platform: str | None = None
    url: str | None = None
    target: Path | None = None
    sets: tuple[str, ...] = ()
    seed: int | None = None
    workers: int = 1
    defects: tuple[str, ...] = ()
    approve: tuple[str, ...] = ()
    out: Path | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A scenario that was found to be in order, with all that its run needs."""

    loaded: LoadedScenario
    scenario: Scenario
    profile: str
    scaled: dict[str, str]
    journeys: Path
    experiments: dict[str, Experiment]
    target: Target

    @property
    def kinds(self) -> frozenset[str]:
        """The fault words that will be injected."""
        return frozenset(experiment.word.name for experiment in self.experiments.values())

    def load_info(self, seed: int, workers: int) -> LoadInfo:
        """What the load processes are to do."""
        load = self.scenario.load
        return LoadInfo(
            journeys=str(self.journeys),
            model=load.model,
            stages=tuple(load.stages),
            mix=dict(load.mix),
            arrivals=load.arrivals,
            max_users=load.max_users,
            timeout_s=load.timeout,
            drop_after_s=load.drop_after,
            drain_s=load.timeout + 1.0,
            seed=seed,
            workers=workers,
        )


def prepare(file: Path, options: RunOptions) -> Prepared:
    """Read and check one scenario for a run. Raises InvalidInput with every mistake, before anything starts."""
    loaded = read_scenario(file, options.sets)
    target, known = target_of(loaded, options)
    try:
        scaled = scale(loaded.scenario, options.profile)
    except ValueError as error:
        raise InvalidInput(loaded.document.mistake(("profiles",), str(error))) from None
    mistakes = check_scenario(loaded, known, faults, scaled.profile)
    if mistakes:
        raise InvalidInput(mistakes)
    scaled = scaled_with_experiments(loaded, scaled.profile, faults.words())
    journeys = find(loaded.scenario.load.journeys, loaded.folder)
    assert journeys is not None
    experiments = {}
    for spec in (*scaled.scenario.faults, *monkey.specs(scaled.scenario)):
        experiment = experiment_of(spec, loaded.folder, faults.words())
        assert experiment is not None
        experiments[spec.name] = played_on(known.platform, experiment, faults)
    by_file = {experiment.file: experiment for experiment in experiments.values()}
    mistakes = [mistake for one in by_file.values() for mistake in refused(one)]
    if mistakes:
        raise InvalidInput(mistakes)
    return Prepared(loaded, scaled.scenario, scaled.profile, scaled.scaled, journeys, experiments, target)


def refused(experiment: Experiment) -> list[Mistake]:
    """What Chaos Toolkit would refuse an experiment for that `read_experiment` found in order.

    It is imported only for an experiment that holds more than our own actions.
    """
    if experiment.plain:
        return []
    from faultload.chaos.validity import refusals

    return refusals(experiment.file)


def target_of(loaded: LoadedScenario, options: RunOptions) -> tuple[Target, Known]:
    """What a scenario is pointed at. Raises InvalidInput."""
    if options.target is not None and options.url is not None:
        raise InvalidInput("give --url or --target, not both: a target file has its own url")
    choice = loaded.scenario.target
    file = options.target
    url = options.url or (choice.url if file is None else None)
    if file is None and url is None and choice.file is not None:
        file = find(choice.file, loaded.folder)
        if file is None:
            raise InvalidInput(loaded.document.mistake(("target",), f"no such file: {choice.file}"))
    if (file is not None or url is not None) and options.platform is not None:
        raise InvalidInput("--platform is for reference systems: a target file names its own platform")
    if (file is not None or url is not None) and options.defects:
        raise InvalidInput("--defect is for reference systems: faultload did not start this target")
    if file is not None:
        declared = read_target(file)
        return Target(file=file.absolute(), declared=declared), Known.of_target(declared)
    if url is not None:
        declared = external(url)
        return Target(declared=declared), Known.of_target(declared)
    name = str(choice.reference)
    known = reference.REFERENCES.get(name)
    if known is None:
        hint = f"there are: {', '.join(reference.REFERENCES)}"
        mistake = loaded.document.mistake(("target", "reference"), f"no reference system '{name}'", hint)
        raise InvalidInput(mistake)
    unknown = [defect for defect in options.defects if defect not in known.defects]
    if unknown:
        hint = f"{name} has: {', '.join(known.defects)}"
        raise InvalidInput(Mistake(f"there is no defect '{unknown[0]}'", hint=hint))
    platform = options.platform or "local"
    if platform not in reference.PLATFORMS:
        hint = f"platforms: {', '.join(reference.PLATFORMS)}"
        raise InvalidInput(Mistake(f"reference systems cannot run on platform '{platform}'", hint=hint))
    target = Target(reference=name, platform=platform, defects=options.defects)
    return target, Known(known.services, known.links, platform)


def find_scenarios(names: Sequence[str], here: Path) -> list[Path]:
    """The scenario files that the arguments name. Raises InvalidInput for a name without any."""
    found: list[Path] = []
    for name in names:
        files = scenario_files(name, here)
        if not files:
            hint = "`faultload list` shows the packs and their scenarios"
            raise InvalidInput(Mistake(f"no scenario file, folder or pack '{name}'", hint=hint))
        found += files
    return list(dict.fromkeys(found))


def scenarios_with_profile(names: Sequence[str], options: RunOptions, here: Path) -> list[Path]:
    """The scenario files that the arguments name. Of a folder or pack those that have the wanted profile.

    The others are named and left out. Raises InvalidInput for a name without any.
    """
    files = find_scenarios(names, here)
    named = {Path(name).absolute() for name in names}
    kept = []
    for file in files:
        profiles = read_scenario(file, options.sets).scenario.profiles
        if file in named or options.profile in (None, "full", *profiles):
            kept.append(file)
        else:
            print(f"{file.stem}: left out, it has no profile '{options.profile}'", file=sys.stderr)
    if not kept:
        raise InvalidInput(f"no scenario here has the profile '{options.profile}'")
    return kept
