"""How often a fault that does nothing is said to have an impact, and how often a brown-out is found.

`python benchmarks/impacts.py` plays each kind of traffic at several rates: a baseline, then a fault of 20 s in a
watch of 90 s. A cell is the share of runs with an impact / without one, but not absorbed / not measurable. Impacts
where there is nothing are false; they may be 5 % of runs. `--kinds collections --rates 100 --baselines 60` plays a
part of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from traffic import Array, lognormal, queue

from faultload_analysis.recovery.faults import Recovery, baseline_rule, recover, slices

WATCH_S, OPEN_S = 90.0, 20.0
Draw = Callable[[np.random.Generator, float, float], tuple[Array, Array]]
"""Times and latencies of so many requests a second for so long, seconds, in time order, +inf for failed."""


def _arrivals(rng: np.random.Generator, rate: float, end: float) -> Array:
    return np.sort(rng.uniform(0.0, end, rng.poisson(rate * end)))


def _independent(draw: Callable[[np.random.Generator, int], Array]) -> Draw:
    def drawn(rng: np.random.Generator, rate: float, end: float) -> tuple[Array, Array]:
        times = _arrivals(rng, rate, end)
        return times, draw(rng, times.size)

    return drawn


def _queue(utilisation: float, service: Callable[[np.random.Generator, int], Array]) -> Draw:
    """One server; began empty 2,000 requests earlier."""

    def drawn(rng: np.random.Generator, rate: float, end: float) -> tuple[Array, Array]:
        before = 2_000
        gaps = rng.exponential(1.0 / rate, before + int(rate * end * 1.1) + 100)
        latency = queue(service(rng, gaps.size) * utilisation / rate, gaps)
        times = np.cumsum(gaps) - gaps[:before].sum()
        inside = (times >= 0) & (times < end)
        return times[inside], latency[inside]

    return drawn


def _modulated(calm_s: float, busy_s: float) -> Draw:
    """Arrivals at 0.4 of what the server can do, and at 1.2 times for `busy_s` at a time, on average."""

    def drawn(rng: np.random.Generator, rate: float, end: float) -> tuple[Array, Array]:
        before = 10 * (calm_s + busy_s)
        lengths = rng.exponential([calm_s, busy_s], (int((before + end) / (calm_s + busy_s) * 3) + 20, 2))
        edges = np.cumsum(lengths.ravel())
        fast = rate * (calm_s + busy_s) / (calm_s + 3.0 * busy_s) * 3.0
        every = np.cumsum(rng.exponential(1.0 / fast, int(fast * (before + end) * 1.1) + 100))
        busy = np.searchsorted(edges, every, side="right") % 2 == 1
        times = every[busy | (rng.random(every.size) < 1.0 / 3.0)]
        latency = queue(rng.exponential(1.2 / fast, times.size), np.diff(times, prepend=0.0))
        inside = (times >= before) & (times < before + end)
        return times[inside] - before, latency[inside]

    return drawn


def _since(rng: np.random.Generator, times: Array, every_s: float, end: float, *, regular: bool) -> Array:
    """How long before each request something last began that begins every so often."""
    some = int(end / every_s * 2) + 30
    gaps = np.full(some, every_s) if regular else rng.exponential(every_s, some)
    starts = np.cumsum(gaps) - rng.uniform(0.0, every_s) - (0.0 if regular else 5.0 * every_s)
    last = np.searchsorted(starts, times, side="right") - 1
    return np.where(last >= 0, times - starts[last], np.inf)


def _collections(every_s: float, lasted_s: float, *, regular: bool = False) -> Draw:
    """Whoever comes while everything stands still waits for its end."""

    def drawn(rng: np.random.Generator, rate: float, end: float) -> tuple[Array, Array]:
        times = _arrivals(rng, rate, end)
        left = np.maximum(lasted_s - _since(rng, times, every_s, end, regular=regular), 0.0)
        return times, rng.exponential(0.002, times.size) + left

    return drawn


def _flushes(rng: np.random.Generator, rate: float, end: float) -> tuple[Array, Array]:
    """A cache that is emptied every 15 s and then misses less and less often; a miss takes 50 ms."""
    times = _arrivals(rng, rate, end)
    missed = rng.random(times.size) < np.exp(-_since(rng, times, 15.0, end, regular=False) / 0.8) + 0.002
    return times, np.where(missed, rng.gamma(20.0, 0.0025, times.size), rng.exponential(0.002, times.size))


def _stalls(every_s: float, lasted_s: float, slow_s: float, share: float = 1.0) -> Draw:
    """A share of the requests takes `slow_s` (inf: fails) for so long, every so often."""

    def drawn(rng: np.random.Generator, rate: float, end: float) -> tuple[Array, Array]:
        times = _arrivals(rng, rate, end)
        hit = (_since(rng, times, every_s, end, regular=False) < lasted_s) & (rng.random(times.size) < share)
        return times, np.where(hit, slow_s * rng.uniform(0.9, 1.1, times.size), rng.exponential(0.002, times.size))

    return drawn


def _swelling(period_s: float | None, most: float) -> Draw:
    """Latencies that go up to `most` times, in waves or once from start to end."""

    def drawn(rng: np.random.Generator, rate: float, end: float) -> tuple[Array, Array]:
        times = _arrivals(rng, rate, end)
        turns = 0.0 if period_s is None else times / period_s + rng.random()
        up = times / end if period_s is None else 0.5 + 0.5 * np.sin(2.0 * np.pi * np.asarray(turns))
        return times, rng.exponential(0.01, times.size) * (1.0 + (most - 1.0) * up)

    return drawn


def _regimes(rng: np.random.Generator, rate: float, end: float) -> tuple[Array, Array]:
    """A neighbour who takes half of the machine for 2 of 12 s."""
    times = _arrivals(rng, rate, end)
    slow = _since(rng, times, 12.0, end, regular=False) < 2.0
    return times, rng.gamma(4.0, 0.0025, times.size) * np.where(slow, 2.0, 1.0)


def _exponential(rng: np.random.Generator, n: int) -> Array:
    return rng.exponential(1.0, n)


def _pareto(shape: float) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, n: rng.pareto(shape, n) * (shape - 1.0)


KINDS: dict[str, Draw] = {
    "exponential": _independent(lambda rng, n: rng.exponential(0.02, n)),
    "pareto-1.5": _independent(lambda rng, n: 0.01 * rng.pareto(1.5, n)),
    "pareto-2.5": _independent(lambda rng, n: 0.01 * rng.pareto(2.5, n)),
    "slow-0.5%": _independent(lambda rng, n: np.where(rng.random(n) < 0.005, 1.0, rng.exponential(0.002, n))),
    "slow-1.5%": _independent(lambda rng, n: np.where(rng.random(n) < 0.015, 1.0, rng.exponential(0.002, n))),
    "failing-0.8%": _independent(lambda rng, n: np.where(rng.random(n) < 0.008, np.inf, rng.exponential(0.002, n))),
    "mm1-0.5": _queue(0.5, _exponential),
    "mm1-0.8": _queue(0.8, _exponential),
    "mm1-0.95": _queue(0.95, _exponential),
    "mg1-lognormal": _queue(0.8, lognormal),
    "mg1-pareto": _queue(0.5, _pareto(2.7)),
    "mmpp-2s": _modulated(2.0, 0.5),
    "mmpp-8s": _modulated(8.0, 2.0),
    "collections-50ms-2s": _collections(2.0, 0.05),
    "collections-200ms-5s": _collections(5.0, 0.2),
    "collections-200ms-10s": _collections(10.0, 0.2),
    "collections-500ms-5s": _collections(5.0, 0.5),
    "collections-500ms-10s": _collections(10.0, 0.5),
    "collections-500ms-30s": _collections(30.0, 0.5),
    "regular-50ms-1s": _collections(1.0, 0.05, regular=True),
    "regular-200ms-10s": _collections(10.0, 0.2, regular=True),
    "regular-500ms-10s": _collections(10.0, 0.5, regular=True),
    "flushes": _flushes,
    "stalls-1s-15s": _stalls(15.0, 0.25, 1.0),
    "outages-15s": _stalls(15.0, 0.3, np.inf),
    "half-fails-10s": _stalls(10.0, 1.0, np.inf, 0.5),
    "drift": _swelling(None, 1.4),
    "waves": _swelling(40.0, 2.5),
    "regimes": _regimes,
}

Hit = Callable[[np.random.Generator, Array], Array]
FAULTS: dict[str, Hit] = {
    "nothing": lambda rng, latency: latency,
    "outage": lambda rng, latency: np.full(latency.size, np.inf),
    "a third fails": lambda rng, latency: np.where(rng.random(latency.size) < 1 / 3, np.inf, latency),
    "2x": lambda rng, latency: 2.0 * latency,
    "4x": lambda rng, latency: 4.0 * latency,
    "1%": lambda rng, latency: np.where(rng.random(latency.size) < 0.01, np.inf, latency),
    "5%": lambda rng, latency: np.where(rng.random(latency.size) < 0.05, np.inf, latency),
    "30%": lambda rng, latency: np.where(rng.random(latency.size) < 0.30, np.inf, latency),
}


@dataclass(frozen=True)
class Said:
    """Shares of runs: an impact, none but not absorbed, not measurable."""

    impact: float
    excess: float
    unknown: float


def play(draw: Draw, hit: Hit, rate: float, baseline_s: float, runs: int, seed: int) -> Said:
    """What was said of each run, as shares."""
    rng = np.random.default_rng(seed)
    found = [_once(rng, draw, hit, rate, baseline_s) for _ in range(runs)]
    impact = [one.measurable and not one.absorbed for one in found]
    excess = ["not absorbed" in one.why for one in found]
    unknown = [not one.measurable and "not absorbed" not in one.why for one in found]
    return Said(*(float(np.mean(one)) for one in (impact, excess, unknown)))


def _once(rng: np.random.Generator, draw: Draw, hit: Hit, rate: float, baseline_s: float) -> Recovery:
    end = baseline_s + WATCH_S
    times, latency = draw(rng, rate, end)
    struck = (times >= baseline_s) & (times < baseline_s + OPEN_S)
    latency[struck] = hit(rng, latency[struck])
    before = times < baseline_s
    rule = baseline_rule(latency[before], times_s=times[before], watch_s=WATCH_S)
    cut = slices(times, latency, start_s=0.0, end_s=end)
    return recover(cut, rule, injected_s=baseline_s, until_s=end, undone_s=baseline_s + OPEN_S)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=[""], help="kinds whose names begin so")
    parser.add_argument("--faults", nargs="+", default=["nothing"], choices=[*FAULTS], help="what the fault does")
    parser.add_argument("--rates", nargs="+", type=float, default=[2.0, 20.0, 100.0, 500.0, 2000.0])
    parser.add_argument("--baselines", nargs="+", type=float, default=[60.0, 120.0], help="seconds")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    heads = [f"{fault}, {base:g} s" for fault in asked.faults for base in asked.baselines]
    print("| kind | rate | " + " | ".join(heads) + " |\n|---|---|" + "---|" * len(heads))
    worst = 0.0
    for name, draw in KINDS.items():
        if not any(name.startswith(one) for one in asked.kinds):
            continue
        for rate in asked.rates:
            cells = []
            for fault in asked.faults:
                for base in asked.baselines:
                    said = play(draw, FAULTS[fault], rate, base, asked.runs, asked.seed)
                    cells.append(f"{said.impact:.2f} / {said.excess:.2f} / {said.unknown:.2f}")
                    worst = max(worst, said.impact if fault == "nothing" else 0.0)
            print(f"| {name} | {rate:g} | " + " | ".join(cells) + " |", flush=True)
    return int(worst > 0.05 + 2.0 * (0.05 * 0.95 / asked.runs) ** 0.5)


if __name__ == "__main__":
    sys.exit(main())
