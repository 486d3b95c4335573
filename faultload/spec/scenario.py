"""One scenario file as pydantic models: loaded and validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from faultload.errors import InvalidInput, Mistake
from faultload.spec import units
from faultload.spec.alerts import AlertRule
from faultload.spec.measures import measure_of
from faultload.spec.mistakes import MistakeAt, mistakes_of
from faultload.spec.objective import parse_abort, parse_objective
from faultload.spec.scenario_types import Duration, FailureRate, Name, OnEndedEarly, Positive, Share
from faultload.spec.stages import Stage, StageKind, end_of
from faultload.spec.term import Objective, ObjectiveError
from faultload.spec.yamlfile import Document, load

_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.001, 86400.0
_SHORTEST_SLICE_S = 0.01


class Model(BaseModel):
    """A part of a scenario: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class TargetChoice(Model):
    """The system under test: a reference system to start for the run, a URL, or a target file."""

    reference: str | None = None
    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one(self) -> TargetChoice:
        if sum(value is not None for value in (self.reference, self.url, self.file)) != 1:
            raise ValueError("give exactly one of reference, url and file")
        return self


class StageSpec(Model):
    """One stage: `{ramp: 50/s, over: 10s}`, `{hold: 3m}`, `{step: 50/s, for: 3m}`, `{surge: 3x, for: 9s}`."""

    ramp: str | int | None = None
    over: Duration | None = None
    hold: Duration | None = None
    step: str | int | None = None
    surge: str | None = None
    for_: Duration | None = Field(None, alias="for")
    phase: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> StageSpec:
        given = [key for key in ("ramp", "hold", "step", "surge") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("a stage is exactly one of ramp, hold, step and surge")
        kind = given[0]
        needs = {"ramp": "over", "hold": None, "step": "for", "surge": "for"}[kind]
        if (self.over is not None) != (needs == "over") or (self.for_ is not None) != (needs == "for"):
            wanted = f"`{needs}` and a duration" if needs else "no `over` and no `for`"
            raise ValueError(f"{kind} takes {wanted}")
        if self.length_s <= 0:
            raise ValueError("a stage must last longer than 0 s")
        return self

    @property
    def kind(self) -> StageKind:
        if self.ramp is not None:
            return "ramp"
        if self.step is not None:
            return "step"
        return "surge" if self.surge is not None else "hold"

    @property
    def length_s(self) -> float:
        return self.over or self.for_ or self.hold or 0.0


class Load(Model):
    """The load: journeys, and either `rate` (open model) or `users` (closed model)."""

    journeys: str
    mix: dict[str, Positive] = {}
    rate: list[StageSpec] | None = None
    users: list[StageSpec] | None = None
    arrivals: Literal["poisson", "even"] = "poisson"
    max_users: Annotated[int, Field(ge=1, le=200_000)] = 1000
    timeout: Duration = 10.0
    drop_after: Duration = 10.0

    @model_validator(mode="after")
    def _shape(self) -> Load:
        if (self.rate is None) == (self.users is None):
            raise ValueError("give `rate` (open model) or `users` (closed model), one of them")
        if not (self.rate or self.users):
            raise ValueError("a load needs at least one stage")
        for key in ("timeout", "drop_after"):
            if not _SHORTEST_WAIT_S <= getattr(self, key) <= _LONGEST_WAIT_S:
                raise MistakeAt((key,), f"{key} must be between 1ms and 24h")
        if not any(stage.high > 0 for stage in self.stages):
            raise ValueError("this load never sends anything")
        return self

    @property
    def model(self) -> Literal["open", "closed"]:
        return "open" if self.rate is not None else "closed"

    @cached_property
    def stages(self) -> list[Stage]:
        """The stages as levels over time. Raises ValueError for a level that is none."""
        stages: list[Stage] = []
        now, base = 0.0, 0.0
        for index, spec in enumerate(self.rate or self.users or []):
            try:
                low, high = self._levels(spec, base)
            except ValueError as error:
                raise MistakeAt((self._key, index, spec.kind), str(error)) from None
            stages.append(Stage(spec.kind, now, now + spec.length_s, low, high, spec.phase))
            now += spec.length_s
            base = base if spec.kind == "surge" else high
        return stages

    @property
    def _key(self) -> str:
        return "rate" if self.rate is not None else "users"

    def _levels(self, spec: StageSpec, base: float) -> tuple[float, float]:
        """The levels at a stage's start and end, from the level before it."""
        if spec.ramp is not None:
            return base, self._level(spec.ramp)
        if spec.step is not None:
            return self._level(spec.step), self._level(spec.step)
        if spec.surge is not None:
            return base * units.factor(spec.surge), base * units.factor(spec.surge)
        return base, base

    def _level(self, value: str | int) -> float:
        if self.rate is not None:
            return units.rate(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{value!r} is not a number of users")
        return float(value)


class Repeat(Model):
    """Injects the same fault several times."""

    count: Annotated[int, Field(ge=1, le=1000)]
    every: Duration


class FaultSpec(Model):
    """When to run an experiment, how often, and with which configuration.

    `on_ended_early`: one that somebody else ended makes the run `invalid`, or is judged on the time that it had.
    `failure_rate`: how often this fault happens in production, as you declare it; used for MTBF.
    """

    name: Name
    experiment: str
    at: Duration
    repeat: Repeat | None = None
    with_: dict[str, Any] = Field({}, alias="with")
    overlap: bool = False
    on_ended_early: OnEndedEarly = "invalid"
    failure_rate: FailureRate | None = None

    def times(self) -> list[float]:
        """The moments of injection, in seconds after the load's start."""
        if self.repeat is None:
            return [self.at]
        return [self.at + k * self.repeat.every for k in range(self.repeat.count)]


class ChanceFault(Model):
    """One of the experiments that `chaos_monkey` chooses from."""

    experiment: str
    name: Name | None = None
    with_: dict[str, Any] = Field({}, alias="with")
    weight: Positive = 1.0
    on_ended_early: OnEndedEarly = "invalid"


def _chance_fault(value: object) -> object:
    return {"experiment": value} if isinstance(value, str) else value


class ChaosMonkey(Model):
    """Random faults: which ones, how often on average, how far apart, and when.

    `rate`: how many on average, such as 6/h. `min_gap`: the shortest time between two starts. `most`: the most
    times each fault is injected.
    """

    faults: Annotated[list[Annotated[ChanceFault, BeforeValidator(_chance_fault)]], Field(min_length=1)]
    rate: FailureRate
    min_gap: Duration = 0.0
    from_: Duration | None = Field(None, alias="from")
    until: Duration | None = None
    most: Annotated[int, Field(ge=1)] | None = None


def _objective(value: object) -> object:
    return {"objective": value} if isinstance(value, str) else value


class ObjectiveSpec(Model):
    """An objective, the profiles in which it is judged, and what a readiness score needs to know about it.

    `slo`, for `capacity`: what a rate must meet to count as sustained; by default the scenario's objectives on
    latency, availability and error rate.
    """

    objective: str
    slo: list[str] | None = None
    profiles: list[str] | None = None
    name: str | None = None
    critical: bool = False
    weight: Annotated[float, Field(ge=0)] = 1.0
    dimension: str | None = None

    @cached_property
    def parsed(self) -> Objective:
        return replace(parse_objective(self.objective), slo=tuple(parse_objective(text) for text in self.slo or ()))

    @model_validator(mode="after")
    def _parses(self) -> ObjectiveSpec:
        term = parse_objective(self.objective).term
        if self.slo is not None and not measure_of(term).takes_slo:
            raise MistakeAt(("slo",), f"{term.name} takes no slo: only capacity does")
        for index, text in enumerate(self.slo or ()):
            try:
                one = parse_objective(text)
            except ObjectiveError as error:
                raise MistakeAt(("slo", index), str(error)) from None
            if not measure_of(one.term).of_requests(one.term) or one.phase is not None:
                raise MistakeAt(("slo", index), "wanted latency, availability or error rate, without `during`")
        return self


class Recovery(Model):
    """What counts as recovered; never scaled."""

    slice: Duration = 1.0
    hold: Duration = 10.0
    tolerance: Share = 0.5

    @model_validator(mode="after")
    def _measurable(self) -> Recovery:
        if not _SHORTEST_SLICE_S <= self.slice <= _LONGEST_WAIT_S:
            raise MistakeAt(("slice",), "a slice must be between 10ms and 24h long")
        if not self.slice <= self.hold <= _LONGEST_WAIT_S:
            raise MistakeAt(("hold",), "service must hold for one slice at least, and for 24h at most")
        return self


class Profile(Model):
    """Scales a scenario: multiplies times, rates and users, and caps repeats and users; `statements` as there."""

    time: Positive = 1.0
    rate: Positive = 1.0
    users: Positive = 1.0
    repeat: Annotated[int, Field(ge=1)] | None = None
    max_users: Annotated[int, Field(ge=1)] | None = None
    statements: Literal["run"] | None = None


def _target(value: object) -> object:
    if isinstance(value, str):
        return {"url": value} if value.startswith(("http://", "https://")) else {"file": value}
    return value


class Scenario(Model):
    """One scenario as written.

    `statements: run`: objectives speak of the run unless they say otherwise. `warmup: auto`: the warm-up ends where
    MSER-5 says. `alerts`: the rules that `ttd` replays, in place of its own.
    """

    name: Name
    system: str | None = None
    description: str | None = None
    target: Annotated[TargetChoice, BeforeValidator(_target)]
    load: Load
    faults: list[FaultSpec] = []
    chaos_monkey: ChaosMonkey | None = None
    objectives: Annotated[list[Annotated[ObjectiveSpec, BeforeValidator(_objective)]], Field(min_length=1)]
    statements: Literal["run"] | None = None
    warmup: Literal["auto"] | None = None
    alerts: list[AlertRule] = []
    abort: list[str] = []
    recovery: Recovery = Recovery()
    profiles: dict[str, Profile] = {}
    allow: list[str] = []

    @model_validator(mode="after")
    def _whole(self) -> Scenario:
        for key, parts in (("faults", self.faults), ("alerts", self.alerts)):
            names = [part.name for part in parts]
            for index, name in enumerate(names):
                if name in names[:index]:
                    raise MistakeAt((key, index, "name"), f"two {key} have the name '{name}'")
        for index, text in enumerate(self.abort):
            try:
                parse_abort(text)
            except ObjectiveError as error:
                raise MistakeAt(("abort", index), str(error)) from None
        return self

    @property
    def abort_conditions(self) -> list[Objective]:
        return [parse_abort(text) for text in self.abort]

    @property
    def duration_s(self) -> float:
        """Length of the load."""
        return end_of(self.load.stages)

    def objectives_in(self, profile: str) -> list[ObjectiveSpec]:
        """The objectives that count in a profile."""
        return [spec for spec in self.objectives if spec.profiles is None or profile in spec.profiles]

    def profile_name(self, wanted: str | None) -> str:
        """The profile that a run uses: the wanted one, else `standard` where declared, else `full`."""
        if wanted is None:
            return "standard" if "standard" in self.profiles else "full"
        return wanted

    def to_json(self) -> dict[str, Any]:
        """As plain data that `Scenario.model_validate` reads back."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A scenario and the file it came from."""

    scenario: Scenario
    document: Document

    @property
    def folder(self) -> Path:
        return self.document.file.parent


def read_scenario(file: Path, sets: Sequence[str] = ()) -> LoadedScenario:
    """Load and validate one file; `sets` are `KEY=VALUE` overrides. Raises InvalidInput with its mistakes."""
    document = load(file)
    for assignment in sets:
        _assign(document.data, assignment)
    scenario = mistakes_of(Scenario, document)
    return LoadedScenario(scenario, document)


def _assign(data: Any, assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    parts: list[str | int] = [
        int(part) if part.isdigit() else part for part in key.replace("[", ".").replace("]", "").split(".")
    ]
    if not equals or not key:
        raise InvalidInput(Mistake(f"--set {assignment}: wanted KEY=VALUE, such as load.max_users=200"))
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InvalidInput(Mistake(f"--set {assignment}: the value is not valid YAML")) from None
    place = data
    try:
        for part in parts[:-1]:
            if isinstance(place, dict) and part not in place:
                place[part] = {}
            place = place[part]
        if not isinstance(place, dict | list):
            raise TypeError
        place[parts[-1]] = value  # type: ignore[index]
    except (KeyError, IndexError, TypeError):
        raise InvalidInput(Mistake(f"--set {assignment}: the scenario has no such key")) from None
