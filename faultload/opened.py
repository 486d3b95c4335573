"""A run directory opened for analysis: its tables, phases, faults, objectives and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultload.errors import InvalidInput, Mistake
from faultload.record import tables
from faultload.record.directory import RunDirectory
from faultload.record.info import RunInfo
from faultload.record.measured import FaultTimes
from faultload.record.rows import (
    OBSERVATION_LABELS,
    Iterations,
    Samples,
    Series,
    joined,
    joined_iterations,
    joined_series,
)
from faultload.spec.baseline import declared_limits
from faultload.verdict.capacity import Capacity
from faultload.verdict.judge import Judgement, judge
from faultload.verdict.overview import Ranked
from faultload.verdict.phases import Phases
from faultload.verdict.recoveries import slice_rule
from faultload_analysis.latency.generator import Spoiled
from faultload_analysis.latency.timeline import Timeline
from faultload_analysis.recovery.outcome import Recovery
from faultload_analysis.recovery.slice_rule import SliceRule

if TYPE_CHECKING:
    import pandas
    import pyarrow
    from matplotlib.figure import Figure

    from faultload_analysis.figures import FaultSpan, PhaseSpan

_ORDER = {"samples": "intended_ns", "iterations": "intended_ns"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Declared as normal by the scenario: latency in seconds at a quantile, a share of bad requests (0 to 1)."""

    latency_s: float | None
    quantile: float
    bad_share: float | None


@dataclass(frozen=True, slots=True)
class ObjectiveResult:
    """One judged objective.

    `estimate`, its bounds `low` and `high`, and `target` are in `unit`; None if nothing can be said. `n` is the
    number of observations, `n_eff` how many independent ones they are worth. `why` explains the verdict.
    `statement`: "run" or "system", what it speaks of. `showed`: what the run showed, in words.
    """

    objective: str
    verdict: str
    estimate: float | None
    low: float | None
    high: float | None
    unit: str
    target: float | None
    n: int
    n_eff: float | None
    why: str
    statement: str
    showed: str | None


class Run:
    """One run, sealed or not.

    It is judged from its raw files the first time something needs a verdict. Nothing is written.
    """

    def __init__(self, path: Path) -> None:
        self._directory = RunDirectory.of_anybody(path)
        self.path = self._directory.path

    def __repr__(self) -> str:
        return f"faultload.open({str(self.path)!r})"

    # -- the record as it was written

    @property
    def _info(self) -> RunInfo:
        return self._directory.info()

    @property
    def info(self) -> Mapping[str, Any]:
        """What run.json holds: the scenario, its files, the profile, the seed and the clock."""
        return self._info.to_json()

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """Gates, witnesses, notes, processes, the generator's health; `t` is in seconds on the run's clock."""
        return [event.to_json() for event in self._directory.events()]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables this run has."""
        return tuple(name for name in tables.SCHEMAS if tables.files(self.path, name))

    def table(self, name: str) -> pyarrow.Table:
        """A table over all workers, ordered by time; columns in `_ns` and `_us` count on the run's clock.

        Raises InvalidInput for an unknown name.
        """
        if name not in tables.SCHEMAS:
            raise InvalidInput(Mistake(f"there is no table '{name}'", hint=f"tables: {', '.join(tables.SCHEMAS)}"))
        return tables.read(self.path, name).sort_by(_ORDER.get(name, "t_ns"))

    def frame(self, name: str) -> pandas.DataFrame:
        """A table as pandas. Raises InvalidInput for an unknown name, and when pandas is not installed."""
        try:
            import pandas  # noqa: F401 - pyarrow needs it
        except ImportError:
            hint = "pip install 'faultload[pandas]', or use table() for Arrow"
            raise InvalidInput(Mistake("pandas is not installed", hint=hint)) from None
        return self.table(name).to_pandas()

    # -- the record as arrays

    @cached_property
    def requests(self) -> Samples:
        """All requests except those of on_start and on_stop: times in seconds, latency +inf for failed ones."""
        return joined(self.judged.measured.record.samples())

    @property
    def iterations(self) -> Iterations:
        """All iterations: times in seconds, how long each waited for a user, and how late the generator was."""
        return joined_iterations(self.judged.measured.record.iterations())

    @property
    def observations(self) -> Series:
        """What journeys reported with `observe`: times in seconds, names and values."""
        return joined_series(self.judged.measured.record.observations(), OBSERVATION_LABELS)

    # -- the judged run

    @cached_property
    def judged(self) -> Judgement:
        """Everything the reports are made from: timeline, latency by request, spoiled seconds, capacity."""
        return judge(self._directory)

    @property
    def verdict(self) -> Mapping[str, Any]:
        """What verdict.json holds, judged again from the raw files."""
        return self.judged.verdict

    @property
    def objectives(self) -> list[ObjectiveResult]:
        """Every objective with its estimate, bounds and verdict."""
        return [
            ObjectiveResult(
                objective=one["objective"],
                verdict=one["verdict"],
                estimate=one["estimate"],
                low=one["interval"][0],
                high=one["interval"][1],
                unit=one["unit"],
                target=one["target"],
                n=one["n"],
                n_eff=one["n_eff"],
                why=one["why"],
                statement=one["statement"],
                showed=one["showed"],
            )
            for one in self.verdict["objectives"]
        ]

    @property
    def faults(self) -> Sequence[FaultTimes]:
        """Every fault, injected or held back: when, on what, and what its witness saw."""
        return self.judged.measured.faults

    @property
    def recoveries(self) -> Mapping[str, Recovery]:
        """Impact and recovery of each fault, by its label, such as `api-kill#1`."""
        return self.judged.recoveries

    @property
    def phases(self) -> Phases:
        """The phases of the run; `phases.mask(times_s, "baseline")` tells which times lie in the baseline."""
        return self.judged.phases

    @property
    def timeline(self) -> Timeline:
        """Latency, failures and iterations second by second, as drawn in the figure of that name."""
        return self.judged.overview.timeline

    @property
    def by_request(self) -> Mapping[str | None, Ranked]:
        """Latencies of each request by name, and of all together under None, without warm-up and cool-down.

        `faultload_analysis.latency.summary` computes quantiles from one of them.
        """
        return self.judged.overview.by_request

    @property
    def spoiled(self) -> Spoiled:
        """The seconds in which the load generator was the limit."""
        return self.judged.spoiled

    @property
    def capacity(self) -> Capacity | None:
        """Steps, bracket and curve of a stepped load; None if no objective asks for capacity."""
        return self.judged.capacity

    @property
    def start_s(self) -> float:
        """The load's start, seconds on the run's clock."""
        return self.judged.measured.load_start_s

    @property
    def warmup_end_s(self) -> float:
        """The end of the warm-up, seconds on the run's clock."""
        return self.judged.measured.warmup_end_s

    @property
    def end_s(self) -> float:
        """The load's end, seconds on the run's clock."""
        return self.judged.measured.load_end_s

    @property
    def limits(self) -> Limits:
        """What the scenario declares as normal."""
        return Limits(*declared_limits(self._info.as_run(), self._info.profile))

    @property
    def slice_rule(self) -> SliceRule | None:
        """When a slice of the run is bad, derived from the baseline; None if there was no baseline."""
        return slice_rule(self.judged.measured, self._info.as_run(), self._info.profile)

    # -- figures

    @property
    def figures(self) -> Mapping[str, Callable[[], Figure]]:
        """The figures of the report by name: `run.figures["timeline"]()`. A figure that cannot be drawn
        raises ValueError with the reason.
        """
        from faultload.report.drawings import figures_of

        return {name: plan.figure for name, plan in figures_of(self.judged).items()}

    @property
    def fault_spans(self) -> list[FaultSpan]:
        """The faults, for figures of `faultload_analysis.figures` to shade."""
        from faultload.report.drawings import fault_spans

        return fault_spans(self.judged)

    @property
    def phase_spans(self) -> list[PhaseSpan]:
        """The phases, for figures of `faultload_analysis.figures` to name."""
        from faultload.report.drawings import phase_spans

        return phase_spans(self.phases, self.end_s)


def open_run(path: str | Path) -> Run:
    """Open a run directory, sealed or not.

    Raises InvalidInput when the path is not one, Refused when there is anything but files and folders in it.
    """
    return Run(Path(path))
