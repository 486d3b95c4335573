"""What goodput does as the load rises: it grows, it meets a limit, or it falls."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from faultload_analysis.evidence.verdict import Estimate

_WIDER = 1.1
_FLAT = 1.05
_OF_THE_RISE = 0.25
_FALL = 0.95


class Growth(StrEnum):
    """GROWS: with the load, to the last step. LIMITED: flat while the load rises. FALLS: retrograde. UNDECIDED."""

    GROWS = "grows with the load"
    LIMITED = "limited"
    FALLS = "retrograde"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Limit:
    """What goodput does, and where it is LIMITED or FALLS, its height: `per_s`, with two bounds (None: open).

    `load`: where that begins.
    """

    state: Growth
    why: str
    per_s: float | None = None
    low_per_s: float | None = None
    high_per_s: float | None = None
    load: float | None = None


def bound_confidence(steps: int) -> float:
    """For each bound of each of `steps` goodputs, so that all of them hold together with 95 % (Bonferroni)."""
    return 1.0 - 0.05 / (2 * max(1, steps))


def goodput_limit(load: Sequence[float], goodput: Sequence[Estimate], *, unit: str) -> Limit:
    """Tell growth, a limit and a fall apart by the bounds of each step's goodput.

    `load`: of each step in any order, what was asked of the system: the offered rate, or the users of a closed
    model, as `unit` says ("/s", " users"). `goodput`: per second, what ended well; bounds by `bound_confidence`.

    FALLS: a step with more load has an upper bound below the lower bound of one with less, and at most 95 % of its
    goodput. LIMITED: from some step to the last the load rises to 1.1 times or more, goodput by at most 5 %, at the
    bounds by at most a quarter of what the load does, and no step between falls: what comes beyond is refused, or
    waits. A throttle that refuses at once shows in nothing else. GROWS: from one step to the last, 1.1 times its
    load or more, goodput grows by at least half of what the load does, at the bounds, and no step falls. ValueError
    where the lengths differ.
    """
    steps = sorted(
        ((at, one) for at, one in zip(load, goodput, strict=True) if one.value is not None), key=lambda s: s[0]
    )
    if len(steps) < 2:
        return Limit(Growth.UNDECIDED, "too few steps to tell how goodput grows")
    found = _fall(steps, unit) or _flat(steps, unit)
    if found is not None:
        return found
    at, last = steps[-1]
    before = next(((x, one) for x, one in reversed(steps) if at >= _WIDER * x), None)
    rises = not _dips([one for _, one in steps])
    if rises and before is not None and _low(last) >= _high(before[1]) * (1.0 + 0.5 * (at / before[0] - 1.0)):
        return Limit(Growth.GROWS, f"goodput grows with the load up to {at:g}{unit}: no limit was reached")
    return Limit(Growth.UNDECIDED, f"how goodput grows up to {at:g}{unit} cannot be told")


Steps = Sequence[tuple[float, Estimate]]


def _fall(steps: Steps, unit: str) -> Limit | None:
    peak = max(range(len(steps)), key=lambda i: _low(steps[i][1]))
    (at, best), later = steps[peak], steps[peak + 1 :]
    top = _value(best)
    fallen = [
        (x, _value(one)) for x, one in later if x > at and _high(one) < _low(best) and _value(one) <= _FALL * top
    ]
    if not fallen:
        return None
    worst, least = min(fallen, key=lambda step: step[1])
    why = (
        f"retrograde: goodput falls from {top:.4g}/s at {at:g}{unit} to {least:.4g}/s at {worst:g}{unit}, "
        "so more load gets less done"
    )
    return Limit(Growth.FALLS, why, top, best.low, best.high, at)


def _flat(steps: Steps, unit: str) -> Limit | None:
    at, last = steps[-1]
    for x, one in steps:
        if at < _WIDER * x:
            return None
        flat = [two for y, two in steps if y >= x]
        no_rise = _high(last) <= _low(one) * (1.0 + _OF_THE_RISE * (at / x - 1.0))
        if no_rise and not _dips(flat) and _value(last) <= _FLAT * _value(one):
            middle = sum(map(_value, flat)) / len(flat)
            why = f"a limit: goodput stays at about {middle:.4g}/s from {x:g}{unit} to {at:g}{unit}"
            return Limit(Growth.LIMITED, why, middle, *_around(flat), x)
    return None


def _dips(goodput: Sequence[Estimate]) -> bool:
    """Whether one lies beyond doubt below one before it."""
    return any(_high(later) < _FALL * _low(one) for one, later in itertools.combinations(goodput, 2))


def _around(flat: Sequence[Estimate]) -> tuple[float | None, float | None]:
    low, high = min(map(_low, flat)), max(map(_high, flat))
    return low, (high if math.isfinite(high) else None)


def _value(one: Estimate) -> float:
    return one.value or 0.0


def _low(one: Estimate) -> float:
    return one.low or 0.0


def _high(one: Estimate) -> float:
    return math.inf if one.high is None else one.high
