"""run.json: what is run, where, and with which seed; written before anything starts, extended until the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, model_validator

from faultload.errors import InvalidInput, Mistake
from faultload.record.entry import DAMAGED, Entry, Moment
from faultload.spec.mistakes import MistakeAt, mistakes_of
from faultload.spec.scenario import Scenario
from faultload.spec.scenario_types import LONGEST_S
from faultload.spec.stages import Stage
from faultload.spec.yamlfile import Document

_HIGHEST = 1e9
"""Of a load's level: iterations per second, or users."""


class Zero(Entry):
    """The run's zero on the monotonic clock of its machine, and what the wall clock said."""

    monotonic_ns: int
    wall: str = ""


class LoadInfo(Entry):
    """What the load processes are to do."""

    journeys: str | None = None
    host: str | None = None
    """Known once the target is up."""
    model: str = "open"
    stages: tuple[Stage, ...] = ()
    mix: Mapping[str, float] | None = None
    arrivals: str = "poisson"
    max_users: Annotated[int, Field(ge=1, le=200_000)] = 1000
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 10.0
    drop_after_s: Annotated[float, Field(gt=0, le=86_400)] = 10.0
    drain_s: Annotated[float, Field(ge=0, le=180_000)] = 10.0
    seed: int | None = None
    workers: Annotated[int, Field(ge=1, le=1000)] = 1

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for index, stage in enumerate(self.stages):
            if not 0 <= stage.start_s <= stage.end_s <= LONGEST_S:
                raise MistakeAt(("stages", index, "end_s"), "a load begins at 0 s and lasts 366 days at most")
            if not (0 <= stage.low <= _HIGHEST and 0 <= stage.high <= _HIGHEST):
                raise MistakeAt(("stages", index, "low"), f"a level lies between 0 and {_HIGHEST:.0e}")
        return self

    @property
    def closed(self) -> bool:
        """Whether users go on when they are done, at no rate of their own."""
        return self.model == "closed"


class PlannedInjection(Entry):
    """An injection that was planned before anything started."""

    fault: str
    k: int
    at_s: float = 0.0
    """After the load's start."""
    by_chance: bool = False
    process: str = ""
    hypothesis: str | None = None
    """The title of its experiment's hypothesis."""
    looks: tuple[str, ...] = ()
    """When Chaos Toolkit looks at the hypothesis: `before`, `during` and `after` the method."""
    activities: tuple[str, ...] = ()
    """The names of the team's own activities in its experiment."""

    @property
    def label(self) -> str:
        return f"{self.fault}#{self.k}"


class EarlyEnd(Entry):
    """Who stopped a run early, and why."""

    by: str = ""
    why: str = ""


class RunInfo(Entry):
    """run.json; what is not known yet, or was not written by the version that made the record, is None or empty."""

    record: int = 0
    """Which promises of completeness the record makes; 0 of before it had a number."""
    scenario: Mapping[str, Any] | None = None
    """As run; `as_run` reads it."""
    file: str | None = None
    profile: str = "full"
    scaled: Mapping[str, str] = {}
    seed: int | None = None
    defects: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    """The names of the secrets whose values are kept out of the record."""
    command: tuple[str, ...] | str = ()
    load: LoadInfo = LoadInfo()
    injections: tuple[PlannedInjection, ...] = ()
    versions: Mapping[str, str] = {}
    machine: Mapping[str, Any] = {}
    t0: Zero | None = None
    started: str = ""
    target: Mapping[str, Any] | str | None = None
    started_target: str | None = None
    """The id of the reference system that this run started and has not stopped yet."""
    load_start_s: Moment | None = None
    """On the run's clock, as `load_end_s` and `ended`."""
    load_end_s: Moment | None = None
    """Where the load was cut short."""
    ended: Moment | str | None = None
    duration_s: Moment | None = None
    stopped: EarlyEnd | None = None
    verdict: str | None = None

    _path: Path | None = PrivateAttr(default=None)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], file: Path | None = None, line: int | None = None) -> Self:
        """Read run.json. Raises InvalidInput that names the file and the key of every mistake."""
        info = super().from_json(value, file, line)
        info._path = file
        return info

    def as_run(self) -> Scenario:
        """The scenario as it was run. Raises InvalidInput where there is none, or none that can be read."""
        file = self._path or Path("run.json")
        if self.scenario is None:
            hint = "`faultload run` writes it: a journal of `chaos run` has none and cannot be judged"
            raise InvalidInput(Mistake("this key is missing", file=file, key="scenario", hint=hint))
        return mistakes_of(Scenario, Document(file, dict(self.scenario)), ("scenario",), DAMAGED)
