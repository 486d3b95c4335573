"""One kind of traffic and one number of requests: how often each statistic is wrong, and how often it decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from kinds import Kind

from faultload_analysis.compare.bootstrap import ratio_estimate
from faultload_analysis.evidence.dependence import MIN_TO_BATCH, Array
from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.latency.exceedances import Exceedances
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import mean_estimate, quantile_bounds, quantile_estimate
from faultload_analysis.latency.rank import exact_probability
from faultload_analysis.slo.availability import proportion_estimate

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
RATIOS: Mapping[str, float | Literal["mean"]] = {
    "ratio of p50": 0.5,
    "ratio of p95": 0.95,
    "ratio of p99": 0.99,
    "ratio of mean": "mean",
}
STATISTICS = (*(f"p{p * 100:g}" for p in QUANTILES), "mean", "share", *RATIOS)
ENOUGH_EVENTS = 10
TIMES_THE_TRUTH = (2.0, 4.0)
OFF_EVERY = 5
"""One run in five is also judged at 2 and 4 times the truth."""

Bounds = tuple[float | None, float | None]


class Run:
    """A run, another one of the same kind, and the exceedances of the first; None: it is too short for them."""

    def __init__(self, latencies: Array, others: Array) -> None:
        self.population, self.other = Population.of(latencies), Population.of(others)
        self.exceedances = Exceedances(self.population) if self.population.n >= MIN_TO_BATCH else None


Judge = Callable[[Run, float], Bounds]
"""The lower and the upper bound from a run with a target."""


def quantile_judge(p: float) -> Judge:
    """The bounds that `quantile_estimate` gives; what is measured of a run is shared between them."""
    exact_p = exact_probability(p)

    def judge(run: Run, target: float) -> Bounds:
        if run.exceedances is None:
            return bounds_of(quantile_estimate(run.population, p, target=target))
        found = quantile_bounds(run.exceedances, exact_p, target=target)
        return found.low, found.high

    return judge


def ratio_judge(of: float | Literal["mean"]) -> Judge:
    """The bounds of a statistic of one run over that of another."""
    return lambda run, _: bounds_of(ratio_estimate(run.population, run.other, of, resamples=200))


def bounds_of(found: Estimate) -> Bounds:
    return found.low, found.high


@dataclass(frozen=True, slots=True)
class Truth:
    """The true value of each statistic of a kind, those that are finite, and above what a request is bad.

    The share of bad requests: of failed ones, else of those over the true P99 (`over`).
    """

    values: dict[str, float]
    over: float | None

    @classmethod
    def of(cls, kind: Kind) -> Truth:
        """From 10 million requests of a kind, or a closed form."""
        latencies = kind.long()
        values = {f"p{p * 100:g}": kind.quantile(p, latencies) for p in QUANTILES}
        same = latencies[0] == latencies[-1]
        values["mean"] = float(latencies[0] if same else latencies.mean())  # a sum of equal values is rounded
        over = None if math.isinf(latencies[-1]) else values["p99"]
        worst = np.finfo(np.float64).max if over is None else over
        values["share"] = 1.0 - float(np.searchsorted(latencies, worst, side="right")) / latencies.size
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        known |= {f"ratio of {name}": 1.0 for name in known if f"ratio of {name}" in RATIOS}
        if known["share"] == 0.0:
            del known["share"]
        return cls(known, over)

    def judges(self, only: Collection[str] = STATISTICS) -> dict[str, Judge]:
        """How each statistic is judged, of those that are wanted."""
        made: dict[str, Judge] = {f"p{p * 100:g}": quantile_judge(p) for p in QUANTILES}
        made["mean"] = lambda run, _: bounds_of(mean_estimate(run.population))
        made["share"] = lambda run, _: bounds_of(proportion_estimate(run.population, over=self.over).complement())
        made |= {name: ratio_judge(of) for name, of in RATIOS.items()}
        return {name: judge for name, judge in made.items() if name in self.values and name in only}


@dataclass(slots=True)
class Tally:
    """What became of one statistic over runs; `*_with_events`: of those that hold at least ten events.

    `off`: of how many runs, and of them how many passed at each multiple of the truth, by the multiple.
    """

    passed: int = 0
    failed: int = 0
    open: int = 0
    passed_with_events: int = 0
    failed_with_events: int = 0
    off: dict[str, list[int]] = field(default_factory=lambda: {f"{times:g}": [0, 0] for times in TIMES_THE_TRUTH})

    def add(self, bounds: Bounds, truth: float, *, enough: bool) -> None:
        low, high = bounds
        passed = high is not None and high < truth
        failed = low is not None and low > truth
        self.passed += passed
        self.failed += failed
        self.open += high is None
        self.passed_with_events += passed and enough
        self.failed_with_events += failed and enough

    def add_off(self, times: float, bounds: Bounds, target: float) -> None:
        high = bounds[1]
        counts = self.off[f"{times:g}"]
        counts[0] += 1
        counts[1] += high is not None and high <= target

    def joined(self, other: Tally) -> Tally:
        """The two together."""
        counts = (
            getattr(self, name) + getattr(other, name)
            for name in ("passed", "failed", "open", "passed_with_events", "failed_with_events")
        )
        off = {
            times: [a + b for a, b in zip(seen, other.off[times], strict=True)] for times, seen in self.off.items()
        }
        return Tally(*counts, off)


@dataclass(slots=True)
class Cell:
    """One kind and number of requests: of `runs` runs `enough` hold ten events or more, and `none` hold none."""

    kind: str
    n: int
    runs: int
    enough: int
    none: int
    tallies: dict[str, Tally]

    def joined(self, other: Cell) -> Cell:
        """The runs of two parts of one cell together."""
        tallies = {name: tally.joined(other.tallies[name]) for name, tally in self.tallies.items()}
        none, enough = self.none + other.none, self.enough + other.enough
        return Cell(self.kind, self.n, self.runs + other.runs, enough, none, tallies)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Cell:
        tallies = {name: Tally(**counts) for name, counts in record["tallies"].items()}
        return cls(record["kind"], record["n"], record["runs"], record["enough"], record["none"], tallies)


def played(
    kind: Kind, truth: Truth, n: int, runs: int, seed: Iterable[int], only: Collection[str] = STATISTICS
) -> Cell:
    """Play `runs` runs of n requests of a kind, and judge each by the statistics that are wanted."""
    rng = np.random.default_rng([*seed, n, *kind.name.encode()])
    judges = truth.judges(only)
    cell = Cell(kind.name, n, runs, 0, 0, {name: Tally() for name in judges})
    for at in range(runs):
        (latencies, events), (others, _) = kind.draw(rng, n), kind.draw(rng, n)
        run = Run(latencies, others)
        enough = events is None or events >= ENOUGH_EVENTS
        cell.enough += enough
        cell.none += events == 0
        for name, judge in judges.items():
            value, tally = truth.values[name], cell.tallies[name]
            bounds = judge(run, value)
            tally.add(bounds, value, enough=enough)
            if at % OFF_EVERY:
                continue
            for times in TIMES_THE_TRUTH:
                again = judge(run, times * value) if name.startswith("p") else bounds
                tally.add_off(times, again, times * value)
    return cell
