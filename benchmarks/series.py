"""Kinds of metric over time that chose no constant: noise, rounding, steps, saw-teeth, and how fast each grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cells import ENOUGH_EVENTS
from scipy import signal
from traffic import Array

from faultload_analysis.latency.trend import slope_estimate

MB, HOUR = 1e6, 3600.0
LIMIT = 100 * MB / HOUR
LENGTHS_S = (60, 120, 300, 600, 1800, 3600)

Drawn = tuple[Array, int | None]
"""Values at 0, 1, 2, ... s, and how many steps or falls they hold; None: the kind has none of its own."""
Draw = Callable[[np.random.Generator, int], Drawn]


@dataclass(frozen=True)
class Series:
    """A source of series of a metric in bytes, and by how many bytes a second it grows in the long run."""

    name: str
    slope: float
    draw: Draw


def _on_a_line(slope: float, noise: Callable[[np.random.Generator, int], Array], rounded_to: float = 0.0) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> Drawn:
        values = 200 * MB + rng.uniform(0.0, MB) + slope * np.arange(n) + noise(rng, n)
        return np.floor(values / rounded_to) * rounded_to if rounded_to else values, None

    return draw


def _white(spread: float) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, n: rng.normal(0.0, spread, n)


def _heavy(rng: np.random.Generator, n: int) -> Array:
    """Student's t with 3 degrees of freedom."""
    return 0.3 * MB * rng.standard_t(3.0, n)


def _moving_average(over_s: int) -> Callable[[np.random.Generator, int], Array]:
    """Buffers that live some seconds each."""

    def noise(rng: np.random.Generator, n: int) -> Array:
        each = rng.exponential(1.0, n + over_s) - 1.0
        return 0.5 * MB * np.convolve(each, np.ones(over_s) / np.sqrt(over_s))[over_s - 1 : over_s - 1 + n]

    return noise


def _relaxing(lasting_s: float) -> Callable[[np.random.Generator, int], Array]:
    """A cache that fills and empties: an Ornstein-Uhlenbeck process of this memory."""

    def noise(rng: np.random.Generator, n: int) -> Array:
        kept, before = np.exp(-1.0 / lasting_s), int(10 * lasting_s)
        each = rng.normal(0.0, MB * np.sqrt(1.0 - kept * kept), n + before)
        return np.asarray(signal.lfilter([1.0], [1.0, -kept], each))[before:]

    return noise


def _in_steps(slope: float, size: float, spread: float, *, regular: bool, alike: bool = True) -> Draw:
    """Levels, each a piece above the last one, in even or in random distances, of one size or exponential ones."""

    def draw(rng: np.random.Generator, n: int) -> Drawn:
        some = int(2.0 * n * slope / size) + 40
        gaps = np.full(some, size / slope) if regular else rng.exponential(size / slope, some)
        at = np.cumsum(gaps) - (rng.uniform() * gaps[0] if regular else 0.0)
        pieces = np.full(some, size) if alike else rng.exponential(size, some)
        held = np.searchsorted(at, np.arange(n), side="right")
        levels = np.concatenate(([0.0], np.cumsum(pieces)))[held]
        return 200 * MB + levels + rng.normal(0.0, spread, n), int(held[-1] - held[0])

    return draw


def _teeth(slope: float, gaps: Callable[[np.random.Generator, int], Array], fall_s: int = 1) -> Draw:
    """A heap that fills by 24 MB in a mean period and is emptied within `fall_s` seconds, over what leaks."""

    def draw(rng: np.random.Generator, n: int) -> Drawn:
        period = float(gaps(np.random.default_rng(0), 100_000).mean())
        at = np.cumsum(gaps(rng, int(3 * n / period) + 60))
        seconds = np.arange(n) + 10.0 * period + rng.uniform(0.0, period)
        last = np.searchsorted(at, seconds, side="right") - 1
        since, before = seconds - at[last], at[last] - at[last - 1]
        left = np.maximum(1.0 - since / fall_s, 0.0) * before if fall_s > 1 else 0.0
        heap = (since + left) * 24 * MB / period
        values = 200 * MB + slope * np.arange(n) + heap + rng.normal(0.0, 0.2 * MB, n)
        return values, int(last[-1] - last[0])

    return draw


def _generations(slope: float) -> Draw:
    """Small collections every 7 s leave a tenth for the large one, every 70 s on average."""

    def draw(rng: np.random.Generator, n: int) -> Drawn:
        at = np.cumsum(rng.gamma(6.0, 70.0 / 6.0, n // 10 + 40))
        seconds = np.arange(n) + 500.0
        last = np.searchsorted(at, seconds, side="right") - 1
        old = seconds - at[last]
        young = (seconds + rng.uniform(0.0, 7.0)) % 7.0
        values = 200 * MB + slope * np.arange(n) + 0.3 * MB * old + 1.5 * MB * young + rng.normal(0.0, 0.2 * MB, n)
        return values, int(last[-1] - last[0])

    return draw


def _even(period_s: float) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, n: np.full(n, period_s)


def _random(period_s: float, shape: float) -> Callable[[np.random.Generator, int], Array]:
    """Gamma; shape 1: at any moment as likely as at any other."""
    return lambda rng, n: rng.gamma(shape, period_s / shape, n)


SERIES = {
    one.name: one
    for one in (
        Series("flat", 0.0, _on_a_line(0.0, _white(0.4 * MB))),
        Series("line", LIMIT, _on_a_line(LIMIT, _white(0.4 * MB))),
        Series("line-heavy", LIMIT, _on_a_line(LIMIT, _heavy)),
        Series("line-buffers-4s", LIMIT, _on_a_line(LIMIT, _moving_average(4))),
        Series("line-buffers-20s", LIMIT, _on_a_line(LIMIT, _moving_average(20))),
        Series("line-cache-5s", LIMIT, _on_a_line(LIMIT, _relaxing(5.0))),
        Series("line-cache-30s", LIMIT, _on_a_line(LIMIT, _relaxing(30.0))),
        Series("pages", LIMIT, _on_a_line(LIMIT, _white(0.0), 4096)),
        Series("pages-slow", LIMIT / 50, _on_a_line(LIMIT / 50, _white(1e3), 4096)),
        Series("megabytes", LIMIT, _on_a_line(LIMIT, _white(0.0), MB)),
        Series("megabytes-noise", LIMIT, _on_a_line(LIMIT, _white(0.25 * MB), MB)),
        Series("steps", 4 * LIMIT, _in_steps(4 * LIMIT, 16 * MB, 0.1 * MB, regular=True)),
        Series("steps-noise", 4 * LIMIT, _in_steps(4 * LIMIT, 16 * MB, 2 * MB, regular=True)),
        Series("steps-drowned", 4 * LIMIT, _in_steps(4 * LIMIT, 16 * MB, 6 * MB, regular=True)),
        Series("steps-random", 4 * LIMIT, _in_steps(4 * LIMIT, 16 * MB, 1 * MB, regular=False)),
        Series("steps-unlike", 4 * LIMIT, _in_steps(4 * LIMIT, 4 * MB, 0.2 * MB, regular=False, alike=False)),
        Series("teeth-8s", 0.0, _teeth(0.0, _even(8.0))),
        Series("teeth-23s", LIMIT, _teeth(LIMIT, _even(23.0))),
        Series("teeth-90s", LIMIT, _teeth(LIMIT, _even(90.0), fall_s=4)),
        Series("teeth-random-15s", LIMIT, _teeth(LIMIT, _random(15.0, 5.0))),
        Series("teeth-random-50s", 0.0, _teeth(0.0, _random(50.0, 5.0))),
        Series("collections-12s", LIMIT, _teeth(LIMIT, _random(12.0, 1.0))),
        Series("collections-40s", 0.0, _teeth(0.0, _random(40.0, 1.0))),
        Series("collections-slow", LIMIT, _teeth(LIMIT, _random(40.0, 1.5), fall_s=5)),
        Series("generations", LIMIT, _generations(LIMIT)),
    )
}

HEAD = (
    "metric",
    "seconds",
    "hold ten events",
    "hold none",
    "PASS at the truth",
    "FAIL at the truth",
    "PASS with events",
    "FAIL with events",
    "PASS at +100 MB/h",
    "FAIL at -100 MB/h",
)


@dataclass
class Tally:
    """What became of the slopes of so many runs; `with_events`: of those that hold at least ten events."""

    runs: int = 0
    enough: int = 0
    none: int = 0
    passed: int = 0
    failed: int = 0
    passed_with_events: int = 0
    failed_with_events: int = 0
    passed_above: int = 0
    failed_below: int = 0

    def add(self, values: Array, events: int | None, truth: float) -> None:
        found = slope_estimate(np.arange(float(values.size)), values)
        low = -np.inf if found.low is None else found.low
        high = np.inf if found.high is None else found.high
        enough = events is None or events >= ENOUGH_EVENTS
        self.runs += 1
        self.enough += enough
        self.none += events == 0
        self.passed += high < truth
        self.failed += low > truth
        self.passed_with_events += enough and high < truth
        self.failed_with_events += enough and low > truth
        self.passed_above += high <= truth + LIMIT
        self.failed_below += low > truth - LIMIT

    @property
    def shares(self) -> tuple[str, ...]:
        """Those of `HEAD`, from "hold ten events" on."""
        of_all = (self.enough, self.none, self.passed, self.failed)
        of_enough, off = (self.passed_with_events, self.failed_with_events), (self.passed_above, self.failed_below)
        return (
            *(f"{count / self.runs:.3f}" for count in of_all),
            *(f"{count / self.enough:.3f}" if self.enough else "-" for count in of_enough),
            *(f"{count / self.runs:.3f}" for count in off),
        )


def tally(one: Series, seconds: int, runs: int, seed: int) -> Tally:
    """The slopes of so many series of one kind and length, a point a second."""
    rng, made = np.random.default_rng([seed, seconds, *one.name.encode()]), Tally()
    for _ in range(runs):
        made.add(*one.draw(rng, seconds + 1), one.slope)
    return made
