"""The longest event that is declared: what it is worth, and that a longer one is seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from repeats import rounds

from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.latency.events import EventCounter, LongestEvent
from faultload_analysis.latency.quantiles import quantile_estimate

Floats = npt.NDArray[np.float64]
RUNS = rounds(400)
WRONG = 0.05 + 1.65 * math.sqrt(0.05 * 0.95 / RUNS)
"""5 %, and what so many runs may be above it by chance."""


def counted(times: Floats, values: Floats, stall_s: float, over: float, parts: int = 1) -> LongestEvent:
    windows = math.floor(times[-1] / stall_s) + 1
    counter = EventCounter([(0.0, windows * stall_s)], stall_s, over)
    for part in np.array_split(np.arange(times.size), parts):
        counter.add(times[part], values[part])
    return counter.found()


def test_an_event_is_worth_the_requests_that_come_in_its_time() -> None:
    """Windows of 2 s with 4, 4, 0 and 1 requests: on average 3 where there are any, and 33/9 by request."""
    times = np.array([0.1, 0.2, 0.3, 1.9, 2.0, 2.1, 2.2, 3.9, 6.5])
    found = counted(times, np.zeros(9), 2.0, 1.0)
    assert (found.size, found.inflation) == (3.0, pytest.approx(33 / 9))


@pytest.mark.parametrize("parts", [1, 3, 12])
def test_the_stretch_that_lasted_longest_is_found_in_chunks_too(parts: int) -> None:
    times = np.arange(12) / 2
    values = np.array([0, 9, 9, 0, 9, 9, 9, 9, 0, 0, 9, 9.0])
    found = counted(times, values, 1.0, 1.0, parts)
    assert (found.longest, found.longest_s, found.slow, found.n) == (4, 1.5, 8, 12)


def test_a_longer_event_is_one_that_chance_does_not_make() -> None:
    """Ten slow in a row of 1,000: no chance. Two of three that are slow by themselves: often."""
    of = {"stall_s": 1.0, "size": 2.0, "inflation": 2.0}
    assert LongestEvent(**of, longest=10, longest_s=1.2, slow=12, n=1000).was_longer
    assert not LongestEvent(**of, longest=10, longest_s=0.9, slow=12, n=1000).was_longer
    assert not LongestEvent(**of, longest=4, longest_s=1.2, slow=300, n=1000).was_longer
    assert not LongestEvent(**of, longest=2, longest_s=1.2, slow=2, n=1000).was_longer


def independent(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    return np.cumsum(rng.exponential(1.0, n)), rng.exponential(0.1, n)


def pausing(every_s: float, lasts_s: float, rate: float = 1.0) -> Callable[..., tuple[Floats, Floats]]:
    """Requests that wait for the end of the pause in which they came, on top of 10 ms on average."""

    def made(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        times = np.cumsum(rng.exponential(1.0 / rate, n))
        begins = np.cumsum(rng.exponential(every_s, int(2 * times[-1] / every_s) + 20) + lasts_s)
        last = np.searchsorted(begins, times, side="right") - 1
        left = np.where(last >= 0, begins[np.maximum(last, 0)] + lasts_s - times, 0.0)
        return times, rng.exponential(0.01, n) + np.maximum(left, 0.0)

    return made


@cache
def truth(made: Callable[..., tuple[Floats, Floats]], p: float) -> float:
    return float(np.quantile(made(np.random.default_rng(1), 1_000_000)[1], p))


def judged(times: Floats, values: Floats, p: Fraction, target: float, stall_s: float | None) -> Estimate:
    declared = None if stall_s is None else counted(times, values, stall_s, target)
    return quantile_estimate(values, p, target=target, declared=declared)


def passes(
    made: Callable[..., tuple[Floats, Floats]], n: int, p: float, target: float, *stalls: float | None, seed: int
) -> list[float]:
    """The share of runs that pass, for each `stall=`; the same runs."""
    rng, found = np.random.default_rng(seed), np.zeros(len(stalls))
    for _ in range(RUNS):
        times, values = made(rng, n)
        for k, stall_s in enumerate(stalls):
            high = judged(times, values, Fraction(str(p)), target, stall_s).high
            found[k] += high is not None and high <= target
    return (found / RUNS).tolist()


@pytest.mark.parametrize(
    ("made", "n", "p", "stall_s"),
    [
        (independent, 400, 0.99, 0.2),
        (independent, 40, 0.5, 1.0),
        (pausing(60.0, 1.0), 45, 0.9, 1.0),
        (pausing(150.0, 2.0), 2000, 0.99, 2.0),
        (pausing(200.0, 2.0, rate=25.0), 2000, 0.99, 2.0),
    ],
    ids=["independent, P99", "40 independent, P50", "45 with pauses, P90", "pauses, P99", "unseen pauses, P99"],
)
def test_with_a_true_declaration_the_bound_holds_at_the_truth(
    made: Callable[..., tuple[Floats, Floats]], n: int, p: float, stall_s: float
) -> None:
    (wrong,) = passes(made, n, p, truth(made, p), stall_s, seed=11)
    assert wrong <= WRONG


def test_a_true_declaration_holds_where_a_run_shows_no_event_at_all() -> None:
    """25/s for 80 s, a pause of 2 s every 200 s: many runs hold none, and without it half of them pass."""
    made = pausing(200.0, 2.0, rate=25.0)
    without, declared = passes(made, 2000, 0.99, truth(made, 0.99), None, 2.0, seed=12)
    assert without > 0.2
    assert declared <= WRONG


@pytest.mark.parametrize(
    ("made", "n", "p", "stall_s", "gained"),
    [
        (independent, 400, 0.99, 0.2, 0.2),
        (independent, 40, 0.5, 1.0, 0.5),
        (pausing(60.0, 1.0), 58, 0.75, 1.0, 0.3),
    ],
    ids=["400 for P99", "40 for P50", "58 for P75"],
)
def test_where_events_hit_few_requests_it_decides_more_often(
    made: Callable[..., tuple[Floats, Floats]], n: int, p: float, stall_s: float, gained: float
) -> None:
    """Of runs whose target is twice the truth."""
    without, declared = passes(made, n, p, 2 * truth(made, p), None, stall_s, seed=13)
    assert declared >= without + gained


def test_an_observed_longer_event_makes_the_bound_fall_back_by_name() -> None:
    """Pauses of 5 s at 20/s, 1 s declared: a run that shows one says so, and does not pass at the truth."""
    made = pausing(100.0, 5.0, rate=20.0)
    target, rng, seen = truth(made, 0.95), np.random.default_rng(14), 0
    for _ in range(60):
        times, values = made(rng, 4000)
        told = judged(times, values, Fraction("0.95"), target, 1.0)
        plain = judged(times, values, Fraction("0.95"), target, None)
        if counted(times, values, 1.0, target).was_longer:
            seen += 1
            assert told.method.partition("; ")[2].count("the run shows a longer event than stall= declares")
            assert told.why.startswith("the run shows a longer event than stall= declares")
            assert told.high is None or (plain.high is not None and told.high >= plain.high)
            assert told.high is None or told.high > target
    assert seen >= 40


def test_few_requests_with_a_longer_event_have_no_upper_bound() -> None:
    times = np.arange(50.0)
    values = np.where((times >= 20) & (times < 30), 9.0, 0.01)
    found = judged(times, values, Fraction("0.5"), 1.0, 2.0)
    assert found.high is None
    assert found.why.startswith(
        "the run shows a longer event than stall= declares: 10 requests in a row over 9 s; "
    )
    assert "at least 60 are needed" in found.why
