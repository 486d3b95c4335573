"""Simulated latencies whose true quantiles are known, to measure how often the bounds on them are wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import signal, stats

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]

_LONG, _LONG_RUNS = 1_000_000, 20


@dataclass(frozen=True)
class Traffic:
    """A source of n latencies in time order and its true quantiles: a closed form, or 20 million simulated ones."""

    name: str
    draw: Draw
    closed_form: Callable[[float], float] | None = None

    def quantile(self, p: float) -> float:
        if self.closed_form is not None:
            return self.closed_form(p)
        at = math.ceil(p * self._long.size - 1e-6) - 1
        return float(self._long[at])

    @cached_property
    def _long(self) -> Array:
        rng = np.random.default_rng(20_260_101)
        return np.sort(np.concatenate([self.draw(rng, _LONG) for _ in range(_LONG_RUNS)]))


def queue(service: Array, gaps: Array, first_wait: float = 0.0) -> Array:
    """Response times of a single server, first come first served, shape (n,): Lindley's recursion, vectorised.

    `gaps[i]` lies between the arrivals i - 1 and i; `first_wait` is that of the first.
    """
    walk = np.concatenate(([0.0], np.cumsum(service[:-1] - gaps[1:])))
    return np.asarray(np.maximum(walk + first_wait, walk - np.minimum.accumulate(walk)) + service)


def mm1(utilisation: float) -> Traffic:
    """M/M/1, service rate 1, in steady state: the response time is exponential with rate 1 - utilisation."""

    def draw(rng: np.random.Generator, n: int) -> Array:
        busy = rng.random() < utilisation
        wait = rng.exponential(1.0 / (1.0 - utilisation)) if busy else 0.0
        return queue(rng.exponential(1.0, n), rng.exponential(1.0 / utilisation, n), wait)

    return Traffic(f"M/M/1 {utilisation:g}", draw, lambda p: -math.log1p(-p) / (1.0 - utilisation))


INDEPENDENT = Traffic("independent", lambda rng, n: rng.exponential(1.0, n), lambda p: -math.log1p(-p))


def mg1(name: str, utilisation: float, service: Draw) -> Traffic:
    """Poisson arrivals, service times of mean 1; started empty 20,000 requests earlier."""

    def draw(rng: np.random.Generator, n: int) -> Array:
        all_of_them = n + 20_000
        return queue(service(rng, all_of_them), rng.exponential(1.0 / utilisation, all_of_them))[-n:]

    return Traffic(f"M/G/1 {utilisation:g}, {name}", draw)


def hyperexponential(rng: np.random.Generator, n: int) -> Array:
    """Service times of mean 1 and squared coefficient of variation 4, balanced means."""
    share = 0.5 * (1.0 + math.sqrt(0.6))
    short = rng.random(n) < share
    return np.where(short, rng.exponential(0.5 / share, n), rng.exponential(0.5 / (1.0 - share), n))


def lognormal(rng: np.random.Generator, n: int) -> Array:
    """Service times of mean 1 and squared coefficient of variation 8.5; their tail is heavier than exponential."""
    return rng.lognormal(-1.125, 1.5, n)


def autoregressive(phi: float) -> Traffic:
    """exp(z), z a Gaussian AR(1) of variance 1."""

    def draw(rng: np.random.Generator, n: int) -> Array:
        noise = rng.normal(size=n) * math.sqrt(1.0 - phi * phi)
        noise[0] /= math.sqrt(1.0 - phi * phi)
        return np.exp(signal.lfilter([1.0], [1.0, -phi], noise))

    return Traffic(f"AR(1) {phi:g}, lognormal", draw, lambda p: float(np.exp(stats.norm.ppf(p))))


def outages(share: float, length: int) -> Traffic:
    """Exponential latencies, but 20 longer for `length` requests at a time, at random; `share` of all."""

    def draw(rng: np.random.Generator, n: int) -> Array:
        latency = rng.exponential(1.0, n)
        rate = -math.log1p(-share) / length  # outages may overlap
        for start in rng.integers(1 - length, n, rng.poisson(rate * (n + length - 1))):
            hit = slice(max(start, 0), max(start + length, 0))
            latency[hit] = 20.0 + rng.exponential(1.0, latency[hit].size)
        return latency

    return Traffic(f"{share:.1%} in outages of {length} requests", draw)


def _even_arrivals(rng: np.random.Generator, n: int) -> Array:
    return queue(rng.exponential(1.0, n + 2000), np.full(n + 2000, 1.25))[-n:]


def _shifted(rng: np.random.Generator, n: int) -> Array:
    latency = rng.exponential(1.0, n)
    latency[n // 2 :] *= 2.0
    return latency


def _periodic(rng: np.random.Generator, n: int) -> Array:
    return np.asarray(rng.exponential(1.0, n) * (1.5 + np.sin(2.0 * np.pi * np.arange(n) / 500.0)))


_COARSE = mm1(0.8)

QUEUES = (INDEPENDENT, mm1(0.5), mm1(0.8), mm1(0.9))
OTHERS = (
    mg1("hyperexponential", 0.5, hyperexponential),
    mg1("hyperexponential", 0.8, hyperexponential),
    mg1("lognormal", 0.5, lognormal),
    Traffic("D/M/1 0.8 (even arrivals)", _even_arrivals),
    autoregressive(0.9),
    autoregressive(0.99),
    outages(0.02, 20),
    outages(0.009, 20),
    outages(0.02, 200),
    Traffic("twice as slow from half-way on", _shifted),
    Traffic("a sine of 500 requests", _periodic),
    Traffic(
        "M/M/1 0.8 rounded to a service time",
        lambda rng, n: np.round(_COARSE.draw(rng, n)),
        lambda p: float(np.round(_COARSE.quantile(p))),
    ),
)
