"""Every injection of a run: when, with which seed and arguments; `plan` shows what that seed would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from faultload.faults import words
from faultload.faults.base import FaultRequest
from faultload.record.info import PlannedInjection
from faultload.spec.chance import Busy, Strike, schedule, specs
from faultload.spec.checks import room_of, ttr_bound
from faultload.spec.experiment import Experiment, read_experiment
from faultload.spec.scenario import FaultSpec, Scenario
from faultload.spec.yamlfile import load

MEND_MARGIN_S = 2.0
"""A one-shot fault is mended only when its ttr bound is surely over, so that missing it is seen."""


@dataclass(frozen=True, slots=True)
class Injection:
    """One injection of a fault: which experiment, when, and what is laid over its configuration."""

    fault: str
    k: int
    experiment: Path
    at_s: float
    variables: Mapping[str, object]
    overlap: bool
    max_duration_s: float
    seed: int = 1
    by_chance: bool = False
    hypothesis: str | None = None
    looks: tuple[str, ...] = ()
    activities: tuple[str, ...] = ()
    """Of the experiment, what its end is held to: see `PlannedInjection`."""

    @property
    def process(self) -> str:
        """What its process is called in the record."""
        return f"chaos-{self.fault}-{self.k}"

    @property
    def label(self) -> str:
        return f"{self.fault}#{self.k}"

    def planned(self) -> PlannedInjection:
        """What run.json says of it before anything starts."""
        return PlannedInjection(
            fault=self.fault,
            k=self.k,
            at_s=self.at_s,
            by_chance=self.by_chance,
            process=self.process,
            hypothesis=self.hypothesis,
            looks=self.looks,
            activities=self.activities,
        )


def strikes_of(scenario: Scenario, profile: str, experiments: Mapping[str, Experiment], seed: int) -> list[Strike]:
    """The injections by chance of a run with this seed."""
    rooms = {spec.name: room_of(scenario, profile, spec, experiments) for spec in specs(scenario)}
    busy = [
        Busy(at, at + room_of(scenario, profile, spec, experiments))
        for spec in scenario.faults
        for at in spec.times()
    ]
    return schedule(scenario, rooms, busy, seed)


def injections_of(
    scenario: Scenario, profile: str, experiments: Mapping[str, Experiment], seed: int
) -> list[Injection]:
    """Every injection of a run with this seed, in order of time."""

    def one(spec: FaultSpec, k: int, at_s: float, *, by_chance: bool) -> Injection:
        experiment = experiments[spec.name]
        bound = ttr_bound(scenario, profile, spec.name)
        patience = bound + MEND_MARGIN_S if bound and experiment.word.one_shot else 0.0
        variables = {"seed": seed % 2**31 + k, **spec.with_}
        return Injection(
            fault=spec.name,
            k=k,
            experiment=experiment.file,
            at_s=at_s,
            variables=variables,
            overlap=spec.overlap,
            max_duration_s=max(experiment.duration_s, patience),
            seed=int(variables["seed"]),
            by_chance=by_chance,
            hypothesis=experiment.hypothesis,
            looks=experiment.looks,
            activities=experiment.activities,
        )

    found = [
        one(spec, k, at, by_chance=False) for spec in scenario.faults for k, at in enumerate(spec.times(), start=1)
    ]
    by_name = {spec.name: spec for spec in specs(scenario)}
    found += [
        one(by_name[strike.fault], strike.k, strike.at_s, by_chance=True)
        for strike in strikes_of(scenario, profile, experiments, seed)
    ]
    return sorted(found, key=lambda injection: injection.at_s)


def request_of(injection: Injection) -> FaultRequest:
    """What an injection will ask of the platform: the same choice of instances, for the same seed."""
    configuration = load(injection.experiment, expand=False).data.get("configuration") or {}
    known = {name: value for name, value in injection.variables.items() if name in configuration}
    experiment = read_experiment(injection.experiment, words(), known)
    seed = experiment.arguments.get("seed")
    duration = experiment.arguments.get("duration_s")
    return FaultRequest(
        fault_id=f"{injection.fault}#{injection.k}@plan",
        kind=experiment.word.name,
        arguments=experiment.word.filled(experiment.arguments),
        duration_s=experiment.duration_s if duration is None else float(duration),
        seed=injection.seed if seed is None else int(seed),
    )
