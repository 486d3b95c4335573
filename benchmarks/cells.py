"""One kind of traffic and one number of requests: how often each statistic is wrong, and how often it decides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from kinds import Kind

from faultload_analysis.compare.bootstrap import ratio_estimate
from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import mean_estimate, quantile_estimate

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
ENOUGH_EVENTS = 10
TIMES_THE_TRUTH = (2.0, 4.0)

Array = npt.NDArray[np.float64]
Judge = Callable[[Array, Array, float], Estimate]
"""The estimate from a run, another one of the same kind, and the target."""


@dataclass
class Tally:
    """What became of one statistic over runs; `with_events`: of those that hold at least ten events."""

    truth: float
    judge: Judge
    passed: int = 0
    failed: int = 0
    open: int = 0
    passed_with_events: int = 0
    failed_with_events: int = 0
    passed_off: dict[float, int] = field(default_factory=lambda: dict.fromkeys(TIMES_THE_TRUTH, 0))

    def add(self, run: Array, other: Array, *, enough: bool) -> None:
        found = self.judge(run, other, self.truth)
        passed = found.high is not None and found.high < self.truth
        failed = found.low is not None and found.low > self.truth
        self.passed += passed
        self.failed += failed
        self.open += found.high is None
        self.passed_with_events += passed and enough
        self.failed_with_events += failed and enough
        for times in self.passed_off:
            high = self.judge(run, other, times * self.truth).high
            self.passed_off[times] += high is not None and high <= times * self.truth


def tallies(kind: Kind) -> dict[str, Tally]:
    """One for each statistic whose truth is finite."""

    def of_quantile(p: float) -> Judge:
        return lambda run, _, target: quantile_estimate(Population.of(run), p, target=target)

    made = {f"p{p * 100:g}": Tally(kind.quantile(p), of_quantile(p)) for p in QUANTILES}
    made["mean"] = Tally(kind.mean, lambda run, _, target: mean_estimate(run))
    made["ratio of p50"] = Tally(1.0, lambda run, other, target: ratio_estimate(run, other, 0.5, resamples=200))
    return {name: one for name, one in made.items() if math.isfinite(one.truth)}


def cell(kind: Kind, n: int, runs: int, seed: int) -> tuple[str, list[tuple[str, ...]]]:
    """A sentence on the events that the runs hold, and a row for each statistic."""
    rng = np.random.default_rng([seed, n, *kind.name.encode()])
    made, held = tallies(kind), []
    for _ in range(runs):
        (run, events), (other, _) = kind.draw(rng, n), kind.draw(rng, n)
        held.append(ENOUGH_EVENTS if events is None else events)
        for one in made.values():
            one.add(run, other, enough=held[-1] >= ENOUGH_EVENTS)
    enough, none = sum(k >= ENOUGH_EVENTS for k in held), sum(k == 0 for k in held)

    def share(count: int, of: int) -> str:
        return f"{count / of:.3f}" if of else "-"

    rows = [
        (
            name,
            share(one.passed, runs),
            share(one.failed, runs),
            share(one.passed_with_events, enough),
            share(one.failed_with_events, enough),
            share(one.open, runs),
            *(share(count, runs) for count in one.passed_off.values()),
        )
        for name, one in made.items()
    ]
    said = f"{kind.name}, n {n}, {runs} runs: {share(enough, runs)} hold {ENOUGH_EVENTS} events or more"
    return f"{said}, {share(none, runs)} hold none.", rows


HEAD = (
    "statistic",
    "PASS at the truth",
    "FAIL at the truth",
    "PASS with events",
    "FAIL with events",
    "no upper bound",
    *(f"PASS at {times:g} x" for times in TIMES_THE_TRUTH),
)
