"""What one load process has to do, read from `load` in run.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from faultload.errors import InvalidInput
from faultload.load.schedule import Arrivals
from faultload.record.directory import RunDirectory
from faultload.spec.stages import Stage
from faultload.spec.yamlfile import expand_secrets


@dataclass(frozen=True, slots=True)
class Plan:
    """The load of a run, and which worker of how many this one is."""

    host: str
    journeys: Path
    model: Literal["open", "closed"]
    stages: tuple[Stage, ...]
    mix: dict[str, float]
    arrivals: Arrivals
    max_users: int
    timeout_s: float
    drop_after_s: float
    drain_s: float
    seed: int
    worker: int
    workers: int

    @classmethod
    def of_run(cls, run: RunDirectory, worker: int) -> Plan:
        """Read a worker's plan. Raises InvalidInput when run.json holds none."""
        load = (run.info() or {}).get("load")
        if not isinstance(load, dict):
            raise InvalidInput(f"{run.path}/run.json has no load")
        try:
            return cls._of_json(load, worker)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"{run.path}/run.json: load: {type(error).__name__}: {error}") from None

    @classmethod
    def _of_json(cls, load: dict[str, Any], worker: int) -> Plan:
        workers = int(load.get("workers", 1))
        max_users = int(load.get("max_users", 1000))
        return cls(
            host=str(expand_secrets(load["host"])),
            journeys=Path(load["journeys"]),
            model="closed" if load.get("model") == "closed" else "open",
            stages=tuple(Stage.from_json(stage) for stage in load["stages"]),
            mix={str(name): float(weight) for name, weight in (load.get("mix") or {}).items()},
            arrivals="even" if load.get("arrivals") == "even" else "poisson",
            max_users=max(1, max_users // workers + (worker < max_users % workers)),
            timeout_s=float(load.get("timeout_s", 10.0)),
            drop_after_s=float(load.get("drop_after_s", 10.0)),
            drain_s=float(load.get("drain_s", 10.0)),
            seed=int(load["seed"]),
            worker=worker,
            workers=workers,
        )

    @property
    def peak(self) -> float:
        """The highest level of this worker's part of the stages."""
        return max((max(stage.low, stage.high) for stage in self.stages), default=0.0) / self.workers
