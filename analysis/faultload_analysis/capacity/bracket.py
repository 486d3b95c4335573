"""Capacity under an objective: between the highest rate that passes and the lowest that fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import scipy

from faultload_analysis.evidence.distributions import binomial_sf
from faultload_analysis.evidence.verdict import Estimate, Verdict, no_data

KEPT_UP = 0.98
_CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Step:
    """One constant rate, held and judged.

    `offered_per_s`: the rate asked for; steps of exactly the same rate are repeats. `achieved_per_s`: what came
    back, ok or not, and `due_per_s`: what fell due in that time (None: as offered; random arrivals differ from
    it). `verdict`: of the objectives at this rate. `healthy`: the generator held its schedule. `n`: requests.
    `latency`: the judged quantile, seconds, for figures and interpolation. `pooled`: the same rate went on and this
    is judged over everything so far: it replaces the steps before at this rate. `goodput_per_s`: what came back ok
    (None: all of it). `failures_judged`: the objectives say themselves how much may fail.
    """

    offered_per_s: float
    achieved_per_s: float
    verdict: Verdict
    healthy: bool = True
    n: int = 0
    why: str = ""
    due_per_s: float | None = None
    latency: Estimate | None = None
    pooled: bool = False
    goodput_per_s: float | None = None
    failures_judged: bool = False

    def __post_init__(self) -> None:
        due = self.offered_per_s if self.due_per_s is None else self.due_per_s
        good = self.achieved_per_s if self.goodput_per_s is None else self.goodput_per_s
        if not (0 < self.offered_per_s < math.inf and 0 <= self.achieved_per_s < math.inf and 0 < due < math.inf):
            raise ValueError(
                f"not the rates of a step: offered {self.offered_per_s}, due {due}, achieved {self.achieved_per_s}"
            )
        if not 0 <= good <= self.achieved_per_s * (1.0 + 1e-12):
            raise ValueError(f"a goodput of {good} cannot be part of {self.achieved_per_s} achieved")

    @property
    def kept_up(self) -> bool:
        """Whether at least 98 % of what fell due came back: with a growing backlog latency is one of run length.

        What failed did not come back, or a throttle that refuses at once would have no limit, unless the objectives
        judge it themselves: `error_rate <= 5%` may lose 5 %.
        """
        due = self.offered_per_s if self.due_per_s is None else self.due_per_s
        all_counts = self.failures_judged or self.goodput_per_s is None
        came_back = self.achieved_per_s if all_counts else self.goodput_per_s or 0.0
        return came_back >= KEPT_UP * due * (1.0 - 1e-12)

    @property
    def judged(self) -> Verdict:
        """INVALID when the generator was not healthy, FAIL when the target did not keep up, else the verdict."""
        if not self.healthy or self.verdict is Verdict.INVALID:
            return Verdict.INVALID
        return self.verdict if self.kept_up else Verdict.FAIL


@dataclass(frozen=True, slots=True)
class Level:
    """All steps at one rate together. `contested`: it neither passes nor fails, and some of its steps failed."""

    rate_per_s: float
    verdict: Verdict
    steps: tuple[Step, ...]
    contested: bool
    why: str

    @property
    def n(self) -> int:
        """How many requests its steps have together."""
        return sum(step.n for step in self.steps)


class BracketState(StrEnum):
    """What a sweep found.

    FOUND: capacity lies between two tested rates. NOT_REACHED: no rate failed. BELOW: a rate failed, and none below
    it passed. UNDECIDED: no rate passed and none failed.
    """

    FOUND = "found"
    NOT_REACHED = "not reached"
    BELOW = "below the lowest step that was decided"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Bracket:
    """low_per_s <= capacity < high_per_s; None: no rate passed, or none failed. `levels` ascend in rate."""

    low_per_s: float | None
    high_per_s: float | None
    state: BracketState
    levels: tuple[Level, ...]
    n: int
    why: str

    @property
    def steps(self) -> int:
        """How many steps all levels have together."""
        return sum(len(level.steps) for level in self.levels)


def capacity_bracket(steps: Sequence[Step]) -> Bracket:
    """The largest tested rate that passes with no failure at or below it, and the lowest that fails.

    Steps in any order, but repeats of one rate in order of time. Passing takes the objectives, a healthy generator
    and goodput / due >= 0.98 (achieved / due where the objectives judge failures). INCONCLUSIVE and INVALID steps
    never move the bracket. Repeats of one rate count together: PASS when more of them pass than the 5 % that would
    by chance at the very limit (1 of 1, 2 of 2 to 7, 3 of 8 to 16: P(Bin(m, 0.05) >= k) <= 0.05), FAIL likewise;
    both or neither: it decides nothing, but with a failed step among them no pass above it counts. A failure below
    a pass ends the bracket at the failure and is named in `why`. Each verdict holds at 95 %; the bracket as a whole
    is not corrected for how many rates were tried.
    """
    levels = tuple(_level(rate, group) for rate, group in _by_rate(steps))
    failed = [level.rate_per_s for level in levels if level.verdict is Verdict.FAIL]
    passed = [level.rate_per_s for level in levels if level.verdict is Verdict.PASS]
    contested = [level.rate_per_s for level in levels if level.contested]
    high = min(failed, default=None)
    ceiling = min([*failed, *contested], default=math.inf)
    low = max((rate for rate in passed if rate < ceiling), default=None)
    state = _state(low, high)
    notes = [_sentence(low, high, state)] if levels else ["nothing was tested"]
    if above := [rate for rate in passed if rate > ceiling]:
        notes.append(
            f"not monotone: {_rates(above)} passed above {ceiling:g}/s, where a step failed; they do not count"
        )
    for verdict, text in ((Verdict.INCONCLUSIVE, "undecided"), (Verdict.INVALID, "invalid: the generator's doing")):
        if rates := [level.rate_per_s for level in levels if level.verdict is verdict]:
            notes.append(f"{_rates(rates)} {text}")
    notes.extend(f"{level.rate_per_s:g}/s: {level.why}" for level in levels if level.why)
    return Bracket(low, high, state, levels, sum(level.n for level in levels), "; ".join(notes))


def capacity_estimate(bracket: Bracket) -> Estimate:
    """The bracket as an estimate to be decided against `capacity >= target`; `n` requests, else steps.

    Value and lower bound: the highest pass. Upper bound: the largest number below the lowest fail, because the
    capacity is less than a rate that failed; so a target at the lowest fail is FAIL. Not reached: no upper bound.
    No rate passed: value 0, no lower bound. Undecided: value None.
    """
    n = bracket.n or bracket.steps
    if bracket.state is BracketState.UNDECIDED:
        return no_data(bracket.why, n=n, method="bracket")
    high = None if bracket.high_per_s is None else math.nextafter(bracket.high_per_s, 0.0)
    return Estimate(bracket.low_per_s or 0.0, bracket.low_per_s, high, n, None, "bracket", bracket.why)


def interpolated_capacity(bracket: Bracket, limit_s: float) -> Estimate:
    """Between the steps: the rate at which the judged latency quantile reaches `limit_s`; never a verdict.

    Reads `latency` of the steps. The value: through the quantiles, made non-decreasing in rate (isotonic, weighted
    by n_eff), straight lines in 1 / quantile, which is exact for M/M/1 and errs low for M/M/c. `low` and `high`
    cross the limit with the upper and the lower bounds of the quantiles instead, each at the first rate from
    below (above) at which they do; a bound that does not cross is open. Repeats of one rate: the one with the
    most requests. Saturated or invalid steps only bound: they have no quantile. Fewer than 2 steps or no
    crossing: value None. ValueError unless limit_s is above 0 and finite.
    """
    if not 0 < limit_s < math.inf:
        raise ValueError(f"the limit must be above 0 and finite, not {limit_s}")
    usable = [
        (level.rate_per_s, latency)
        for level in bracket.levels
        if (latency := _latency_of(level)) is not None and latency.value is not None
    ]
    n = sum(latency.n for _, latency in usable)
    if len(usable) < 2:
        return no_data("too few steps with a latency quantile to interpolate between", n=n)
    rates = [rate for rate, _ in usable]
    weights = np.array([latency.n_eff or latency.n or 1 for _, latency in usable], dtype=np.float64)
    inverse = np.array([1.0 / v if (v := latency.value or 0.0) > 0 else math.inf for _, latency in usable])
    if not np.isfinite(inverse).all():
        return no_data("a quantile is not above 0: nothing to interpolate", n=n)
    smooth = scipy.optimize.isotonic_regression(inverse, weights=weights, increasing=False).x
    value = _crossing(rates, [float(v) for v in smooth], limit_s)
    if value is None:
        return no_data(f"the quantile does not cross {limit_s:g} s within the rates tested", n=n)
    # an open upper bound is beyond the limit at once, an open lower one never is
    upper = [-math.inf if latency.high is None else 1.0 / latency.high for _, latency in usable]
    lower = [math.inf if not latency.low else 1.0 / latency.low for _, latency in usable]
    low, high = _crossing(rates, upper, limit_s), _crossing(rates, lower, limit_s, last=True)
    # quantiles that fall from one rate to the next are smoothed in the value only, and may take it past a bound
    low, high = (None if low is None else min(low, value)), (None if high is None else max(high, value))
    why = "straight lines in 1 / quantile between the steps"
    return Estimate(value, low, high, n, None, "interpolation", why)


def _latency_of(level: Level) -> Estimate | None:
    steps = [s for s in level.steps if s.latency is not None and s.healthy and s.kept_up]
    return max(steps, key=lambda s: s.n).latency if steps else None


def _crossing(rates: list[float], inverse: list[float], limit_s: float, *, last: bool = False) -> float | None:
    """The first (last) rate at which `inverse` falls below 1 / limit, by straight lines; None: it does not."""
    bar = 1.0 / limit_s
    meets = [v >= bar for v in inverse]
    if all(meets) or not any(meets):
        return None
    i = len(meets) - meets[::-1].index(True) if last else meets.index(False)
    if not 0 < i < len(rates):
        return None
    over, under = inverse[i - 1], inverse[i]
    if math.isinf(over):
        return rates[i]
    return rates[i - 1] + (rates[i] - rates[i - 1]) * (over - bar) / (over - under)


def _by_rate(steps: Sequence[Step]) -> list[tuple[float, list[Step]]]:
    groups: dict[float, list[Step]] = {}
    for step in steps:
        group = groups.setdefault(step.offered_per_s, [])
        if step.pooled:
            group.clear()
        group.append(step)
    return sorted(groups.items())


def _level(rate: float, steps: list[Step]) -> Level:
    if len(steps) == 1:
        return Level(rate, steps[0].judged, tuple(steps), False, steps[0].why)
    judged = [step.judged for step in steps]
    valid = [verdict for verdict in judged if verdict is not Verdict.INVALID]
    passed, failed = (sum(v is wanted for v in valid) for wanted in (Verdict.PASS, Verdict.FAIL))
    passes, fails = (_more_than_chance(k, len(valid)) for k in (passed, failed))
    verdict = Verdict.INCONCLUSIVE
    if not valid:
        verdict = Verdict.INVALID
    elif passes != fails:
        verdict = Verdict.PASS if passes else Verdict.FAIL
    counts = [f"{judged.count(v)} {v.value}" for v in Verdict if v in judged]
    why = f"{len(steps)} steps, {', '.join(counts)}"
    return Level(rate, verdict, tuple(steps), verdict is Verdict.INCONCLUSIVE and failed > 0, why)


def _more_than_chance(k: int, m: int) -> bool:
    return k > 0 and binomial_sf(k - 1, m, _CHANCE) <= _CHANCE * (1.0 + 1e-9)


def _state(low: float | None, high: float | None) -> BracketState:
    if low is None:
        return BracketState.UNDECIDED if high is None else BracketState.BELOW
    return BracketState.NOT_REACHED if high is None else BracketState.FOUND


def _sentence(low: float | None, high: float | None, state: BracketState) -> str:
    if state is BracketState.UNDECIDED:
        return "no rate passed and none failed"
    if state is BracketState.BELOW:
        return f"the capacity is below {high:g}/s, and no rate below it passed"
    if state is BracketState.NOT_REACHED:
        return f"the capacity was not reached: {low:g}/s passed and no rate failed"
    return f"{low:g}/s passed and {high:g}/s failed"


def _rates(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:g}/s" for rate in rates)
