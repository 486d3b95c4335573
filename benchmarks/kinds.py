"""Kinds of traffic that chose no constant, to hold bounds against: queues, tails, modes, pauses, clocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import signal
from traffic import Array, lognormal, mm1, queue

Drawn = tuple[Array, int | None]
"""Latencies in seconds in time order, shape (n,), +inf for failed; and how many events of their kind they hold.

None: the kind has no events of its own.
"""

_LONG, _LONG_RUNS, _BEFORE = 1_000_000, 10, 20_000
_RATE = 100.0


@dataclass(frozen=True)
class Kind:
    """A source of runs, and its true quantiles where there is a closed form; else those of 10 million requests."""

    name: str
    draw: Callable[[np.random.Generator, int], Drawn]
    closed_form: Callable[[float], float] | None = None

    def long(self) -> Array:
        """The latencies of 10 million requests, ascending."""
        rng = np.random.default_rng(20_270_215)
        return np.sort(np.concatenate([self.draw(rng, _LONG)[0] for _ in range(_LONG_RUNS)]))

    def quantile(self, p: float, long: Array) -> float:
        """The true p-quantile; `long` as from `long()`."""
        if self.closed_form is not None:
            return self.closed_form(p)
        return float(long[math.ceil(p * long.size - 1e-6) - 1])


def _independent(draw: Callable[[np.random.Generator, int], Array]) -> Callable[[np.random.Generator, int], Drawn]:
    return lambda rng, n: (np.asarray(draw(rng, n)), None)


def _queue(
    service: Callable[[np.random.Generator, int], Array], gaps: Callable[[np.random.Generator, int], Array]
) -> Callable[[np.random.Generator, int], Drawn]:
    """One server, empty 20,000 requests earlier."""

    def draw(rng: np.random.Generator, n: int) -> Drawn:
        every = n + _BEFORE
        return queue(service(rng, every), gaps(rng, every))[-n:], None

    return draw


def _poisson(utilisation: float) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, n: rng.exponential(1.0 / utilisation, n)


def _pareto(shape: float) -> Callable[[np.random.Generator, int], Array]:
    """Mean 1 (Lomax)."""
    return lambda rng, n: rng.pareto(shape, n) * (shape - 1.0)


def _bursty_gaps(rng: np.random.Generator, n: int) -> Array:
    """Mean 1.25, nine of ten short: users that come in crowds."""
    return np.where(rng.random(n) < 0.9, rng.exponential(0.5, n), rng.exponential(8.0, n))


def _modulated(rng: np.random.Generator, n: int) -> Drawn:
    """Arrivals at 0.4 and, for some 500 requests at a time, at 1.2 times what the server can do."""
    every = n + _BEFORE
    lengths = np.where(np.arange(2 * every // 500 + 20) % 2 == 0, 2_000, 500)
    busy = np.repeat(np.arange(lengths.size) % 2 == 1, rng.exponential(lengths).astype(int) + 1)
    busy = np.resize(busy, every)
    latency = queue(rng.exponential(1.0, every), rng.exponential(1.0, every) / np.where(busy, 1.2, 0.4))[-n:]
    return latency, _stretches(busy[-n:])


def _slow_mode(share: float) -> Callable[[np.random.Generator, int], Drawn]:
    """2 ms, and a share at 1 s ± 10 %."""

    def draw(rng: np.random.Generator, n: int) -> Drawn:
        slow = rng.random(n) < share
        return np.where(slow, rng.uniform(0.9, 1.1, n), rng.exponential(0.002, n)), int(slow.sum())

    return draw


def _collections(every_s: float, lasted_s: float, *, regular: bool) -> Callable[[np.random.Generator, int], Drawn]:
    """Poisson arrivals at 100/s; whoever comes while everything stands still waits for its end."""

    def draw(rng: np.random.Generator, n: int) -> Drawn:
        at = np.cumsum(rng.exponential(1.0 / _RATE, n))
        some = int(at[-1] / every_s * 1.5) + 20
        gaps = np.full(some, every_s) if regular else rng.exponential(every_s, some)
        starts = rng.uniform(0.0, every_s) + np.cumsum(gaps) - gaps[0]
        last = np.searchsorted(starts, at, side="right") - 1
        left = np.where(last >= 0, starts[last] + lasted_s - at, 0.0)
        return rng.exponential(0.002, n) + np.maximum(left, 0.0), int(np.unique(last[left > 0.0]).size)

    return draw


def _flushes(rng: np.random.Generator, n: int) -> Drawn:
    """A cache that is emptied once in 3,000 requests and then misses less and less often; a miss takes 50 ms."""
    since = np.full(n, 10**6)
    starts = np.flatnonzero(rng.random(n) < 1.0 / 3_000.0)
    for start in starts:
        since[start:] = np.arange(n - start)
    missed = rng.random(n) < np.exp(-since / 80.0) + 0.002
    return np.where(missed, rng.gamma(20.0, 0.0025, n), rng.exponential(0.002, n)), int(starts.size)


def _stalls(share: float, length: int, *, fixed: bool) -> Callable[[np.random.Generator, int], Drawn]:
    """2 ms, and a share of requests at 1 s, `length` neighbours at a time."""

    def draw(rng: np.random.Generator, n: int) -> Drawn:
        slow = np.zeros(n, dtype=np.bool_)
        starts = np.flatnonzero(rng.random(n + 10 * length) < -math.log1p(-share) / length) - 10 * length
        lengths = np.full(starts.size, length) if fixed else rng.geometric(1.0 / length, starts.size)
        for start, lasted in zip(starts, lengths, strict=True):
            slow[max(start, 0) : max(start + lasted, 0)] = True
        return np.where(slow, rng.uniform(0.9, 1.1, n), rng.exponential(0.002, n)), _stretches(slow)

    return draw


def _failing(draw: Callable[[np.random.Generator, int], Drawn]) -> Callable[[np.random.Generator, int], Drawn]:
    """What took more than half a second fails."""

    def failing(rng: np.random.Generator, n: int) -> Drawn:
        latency, events = draw(rng, n)
        return np.where(latency > 0.5, np.inf, latency), events

    return failing


def _retried(rng: np.random.Generator, n: int) -> Drawn:
    """Each attempt is lost in 1.5 % of cases, and made again after a second."""
    lost = rng.geometric(0.985, n) - 1
    return rng.exponential(0.01, n) + lost, int(np.count_nonzero(lost))


def _rounded(draw: Callable[[np.random.Generator, int], Drawn], tick: float) -> Callable[..., Drawn]:
    def rounded(rng: np.random.Generator, n: int) -> Drawn:
        latency, events = draw(rng, n)
        return np.round(latency / tick) * tick, events

    return rounded


def _slower_and_slower(rng: np.random.Generator, n: int) -> Drawn:
    return rng.exponential(1.0, n) * np.linspace(1.0, 2.5, n), None


def _day(rng: np.random.Generator, n: int) -> Drawn:
    """Load goes up and down once in a run."""
    return rng.exponential(1.0, n) * (1.5 + np.sin(2.0 * np.pi * (np.arange(n) / n + rng.random()))), None


def _slow_replica(rng: np.random.Generator, n: int) -> Drawn:
    """One of 64, asked in turn, takes ten times as long."""
    return rng.exponential(1.0, n) * np.where(np.arange(n) % 64 == rng.integers(64), 10.0, 1.0), n // 64


def _autoregressive(rng: np.random.Generator, n: int) -> Drawn:
    noise = rng.normal(size=n) * math.sqrt(1.0 - 0.97**2)
    noise[0] /= math.sqrt(1.0 - 0.97**2)
    return np.exp(signal.lfilter([1.0], [1.0, -0.97], noise)), None


def _regimes(rng: np.random.Generator, n: int) -> Drawn:
    """A neighbour who takes half of the machine for some 300 of 3,000 requests."""
    lengths = rng.exponential(np.where(np.arange(2 * n // 3_000 + 20) % 2 == 0, 2_700.0, 300.0)).astype(int) + 1
    slow = np.repeat(np.arange(lengths.size) % 2 == 1, lengths)
    slow = np.roll(np.resize(slow, n), int(rng.integers(n)))
    return rng.gamma(4.0, 0.25, n) * np.where(slow, 2.0, 1.0), _stretches(slow)


def _stretches(flags: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(np.diff(flags.astype(np.int8), prepend=0) == 1))


KINDS = {
    kind.name: kind
    for kind in (
        Kind("exponential", _independent(lambda rng, n: rng.exponential(1.0, n))),
        Kind("lognormal", _independent(lambda rng, n: rng.lognormal(0.0, 1.0, n))),
        Kind("pareto-1.5", _independent(_pareto(1.5))),
        Kind("pareto-2.5", _independent(_pareto(2.5))),
        Kind("constant", _independent(lambda rng, n: np.full(n, 0.003))),
        Kind("mm1-0.5", _independent(mm1(0.5).draw), mm1(0.5).closed_form),
        Kind("mm1-0.8", _independent(mm1(0.8).draw), mm1(0.8).closed_form),
        Kind("mm1-0.95", _independent(mm1(0.95).draw), mm1(0.95).closed_form),
        Kind("md1-0.9", _queue(lambda rng, n: np.ones(n), _poisson(0.9))),
        Kind("mg1-lognormal", _queue(lognormal, _poisson(0.8))),
        Kind("mg1-pareto", _queue(_pareto(2.7), _poisson(0.5))),
        Kind("crowds", _queue(lambda rng, n: rng.exponential(1.0, n), _bursty_gaps)),
        Kind("mmpp", _modulated),
        Kind("slow-0.11%", _slow_mode(0.0011)),
        Kind("slow-0.9%", _slow_mode(0.009)),
        Kind("slow-1.01%", _slow_mode(0.0101)),
        Kind("slow-1.1%", _slow_mode(0.011)),
        Kind("slow-1.5%", _slow_mode(0.015)),
        Kind("slow-5.5%", _slow_mode(0.055)),
        Kind("collections", _collections(10.0, 0.2, regular=True)),
        Kind("collections-random", _collections(10.0, 0.2, regular=False)),
        Kind("flushes", _flushes),
        Kind("stalls-25", _stalls(0.015, 25, fixed=True)),
        Kind("stalls-geometric", _stalls(0.015, 25, fixed=False)),
        Kind("failures", _failing(_slow_mode(0.008))),
        Kind("outages", _failing(_stalls(0.015, 40, fixed=False))),
        Kind("retried", _retried),
        Kind("whole-ms", _rounded(_independent(lambda rng, n: rng.exponential(0.0025, n)), 0.001)),
        Kind("whole-ms-queue", _rounded(_independent(mm1(0.8).draw), 1.0)),
        Kind("drift", _slower_and_slower),
        Kind("day", _day),
        Kind("slow-replica", _slow_replica),
        Kind("ar-0.97", _autoregressive),
        Kind("regimes", _regimes),
    )
}
