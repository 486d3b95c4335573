"""What one load process has to do, read from `load` in run.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faultload.errors import InvalidInput, Mistake
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
        load = run.info().load
        if load.host is None or load.journeys is None or load.seed is None:
            missing = (name for name in ("host", "journeys", "seed") if getattr(load, name) is None)
            key = f"load.{next(missing)}"
            raise InvalidInput(Mistake("this key is missing", run.info_path, key=key))
        workers, max_users = load.workers, load.max_users
        return cls(
            host=str(expand_secrets(load.host)),
            journeys=Path(load.journeys),
            model="closed" if load.closed else "open",
            stages=load.stages,
            mix=dict(load.mix or {}),
            arrivals="even" if load.arrivals == "even" else "poisson",
            max_users=max(1, max_users // workers + (worker < max_users % workers)),
            timeout_s=load.timeout_s,
            drop_after_s=load.drop_after_s,
            drain_s=load.drain_s,
            seed=load.seed,
            worker=worker,
            workers=workers,
        )

    @property
    def peak(self) -> float:
        """The highest level of this worker's part of the stages."""
        return max((max(stage.low, stage.high) for stage in self.stages), default=0.0) / self.workers
