"""When each iteration of an open-model load should start, and which journey it belongs to."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from faultload.spec.stages import Stage

Arrivals = Literal["even", "poisson"]
_CHUNK = 512


class Slot(NamedTuple):
    """One planned iteration: its number over all workers, its intended start in ns, its journey."""

    number: int
    intended_ns: int
    journey: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """The slots of one worker of a seeded schedule.

    With the cumulative rate R(t) (the area of the stages up to t), slot k starts at t where R(t) = a_k:
    `even` has a_k = k + 1/2, so that a stage of rate r and length T holds exactly rT slots; `poisson` has
    a_k = the sum of k + 1 unit exponentials, which is a Poisson process of that rate (time change theorem).
    Journeys follow the mix exactly: each block of the smallest integer mix holds it, in a seeded order.
    Worker w of W takes the slots with k mod W = w; their union over workers does not depend on W.
    """

    stages: Sequence[Stage]
    arrivals: Arrivals
    mix: Mapping[str, float]
    seed: int
    worker: int = 0
    workers: int = 1
    start_ns: int = 0
    _total: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_total", sum(stage.area for stage in self.stages))

    def __iter__(self) -> Iterator[Slot]:
        arrivals, order = np.random.SeedSequence(self.seed).spawn(2)
        journeys = self.journeys(np.random.default_rng(order))
        times = self._times()
        next(times)
        for index, position in enumerate(self._positions(np.random.default_rng(arrivals))):
            if position >= self._total:
                return
            journey = next(journeys)
            if index % self.workers == self.worker:
                yield Slot(index, self.start_ns + round(times.send(position) * 1e9), journey)

    def journeys(self, rng: np.random.Generator) -> Iterator[str]:
        """The endless sequence of journeys."""
        names = list(self.mix)
        block = np.repeat(np.arange(len(names)), integer_mix(list(self.mix.values())))
        rows = max(1, _CHUNK // len(block))
        while True:
            codes = rng.permuted(np.tile(block, (rows, 1)), axis=1)
            yield from (names[code] for code in codes.ravel().tolist())

    def _positions(self, rng: np.random.Generator) -> Iterator[float]:
        """The cumulative rates a_k, without end."""
        base = 0.0
        while True:
            if self.arrivals == "even":
                chunk = base + 0.5 + np.arange(_CHUNK)
                base += _CHUNK
            else:
                chunk = base + np.cumsum(rng.standard_exponential(_CHUNK))
                base = float(chunk[-1])
            yield from chunk.tolist()

    def _times(self) -> Generator[float, float, None]:
        """A generator to which rising cumulative rates are sent; it gives the moments, in seconds."""
        before = 0.0
        position = yield 0.0
        for stage in self.stages:
            area = stage.area
            while area > 0 and position < before + area:
                position = yield stage.time_of(position - before)
            before += area
        end = max((stage.end_s for stage in self.stages if stage.area > 0), default=0.0)
        while True:  # a position within rounding of the end
            yield end


def integer_mix(weights: Sequence[float]) -> list[int]:
    """The smallest integers in the proportion of some weights (to one part in 1000 of each).

    Raises ValueError when a weight is negative or all are 0.
    """
    fractions = [Fraction(weight).limit_denominator(1000) for weight in weights]
    if any(fraction < 0 for fraction in fractions) or not any(fractions):
        raise ValueError("a mix needs weights of 0 or more, and one above 0")
    scale = math.lcm(*(fraction.denominator for fraction in fractions))
    counts = [int(fraction * scale) for fraction in fractions]
    divisor = math.gcd(*counts)
    return [count // divisor for count in counts]
