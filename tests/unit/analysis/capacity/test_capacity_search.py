"""The search closes in on a threshold, whatever the noise, and ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from faultload_analysis.capacity.bracket import BracketState, Step, capacity_bracket
from faultload_analysis.capacity.search import Probe, Search
from faultload_analysis.evidence.verdict import Verdict

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def searched(search: Search, target: Callable[[Probe], Step]) -> list[Step]:
    history: list[Step] = []
    while (probe := search.next_probe(history)) is not None:
        history.append(target(probe))
    return history


def threshold(at: float) -> Callable[[Probe], Step]:
    return lambda probe: Step(probe.rate_per_s, probe.rate_per_s, PASS if probe.rate_per_s <= at else FAIL)


def noisy(at: float, noise: float, seed: int, confidence: float) -> Callable[[Probe], Step]:
    """Verdicts from a margin known to `noise` (relative), each at `confidence`; an extension doubles the data."""
    rng, sure = np.random.default_rng(seed), float(stats.norm.ppf(confidence))

    def run(probe: Probe) -> Step:
        z = (at / probe.rate_per_s - 1.0) / (noise / math.sqrt(2.0**probe.extension)) + rng.standard_normal()
        verdict = PASS if z > sure else FAIL if z < -sure else UNSURE
        return Step(probe.rate_per_s, probe.rate_per_s, verdict, pooled=probe.extension > 0)

    return run


def test_it_doubles_until_a_rate_fails_and_then_halves_the_bracket_in_ratio() -> None:
    history = searched(Search(10.0, tolerance=0.1), threshold(93.0))
    rates = [step.offered_per_s for step in history]
    assert rates[:5] == [10, 20, 40, 80, 160]
    assert rates[5] == pytest.approx(math.sqrt(80 * 160))


def test_it_halves_until_a_rate_passes() -> None:
    history = searched(Search(100.0, tolerance=0.1), threshold(9.0))
    assert [step.offered_per_s for step in history][:5] == [100, 50, 25, 12.5, 6.25]


@settings(max_examples=200)
@given(st.floats(0.01, 1e5), st.floats(0.1, 1e4), st.floats(0.005, 0.5))
def test_without_noise_the_lower_end_is_within_the_tolerance_below_the_threshold(
    at: float, start: float, tolerance: float
) -> None:
    search = Search(start, tolerance, max_probes=80)
    bracket = capacity_bracket(searched(search, threshold(at)))
    assert bracket.low_per_s is not None
    assert bracket.high_per_s is not None
    assert bracket.low_per_s <= at < bracket.high_per_s <= bracket.low_per_s * (1 + tolerance)


@settings(max_examples=100)
@given(st.floats(1.0, 1e4), st.floats(0.5, 2e4), st.floats(0.001, 0.3), st.integers(0, 1000))
def test_with_noise_it_always_ends_within_its_probes_and_never_inverts(
    at: float, start: float, noise: float, seed: int
) -> None:
    search = Search(start, 0.03, max_probes=60)
    history = searched(search, noisy(at, noise, seed, search.step_confidence))
    assert len(history) <= 60
    bracket = capacity_bracket(history)
    if bracket.low_per_s is not None and bracket.high_per_s is not None:
        assert bracket.low_per_s < bracket.high_per_s


def test_with_noise_the_bracket_holds_the_threshold_nearly_always() -> None:
    """A step errs in 5 % at the threshold itself, less away from it, and a search has only some probes near it."""
    search, missed_low, missed_high = Search(10.0, 0.02), 0, 0
    widths = []
    for seed in range(400):
        history = searched(search, noisy(137.0, 0.02, seed, search.step_confidence))
        bracket = capacity_bracket(history)
        assert bracket.low_per_s is not None
        assert bracket.high_per_s is not None
        missed_low += bracket.low_per_s > 137.0
        missed_high += bracket.high_per_s <= 137.0
        widths.append(bracket.high_per_s / bracket.low_per_s - 1.0)
    assert missed_low <= 0.05 * 400
    assert missed_high <= 0.05 * 400
    assert float(np.median(widths)) < 0.1


def test_the_same_history_always_gives_the_same_probe() -> None:
    search = Search(10.0)
    history = searched(search, noisy(50.0, 0.1, 3, 0.95))
    for k in range(len(history)):
        assert search.next_probe(history[:k]) == search.next_probe(list(history[:k]))


def test_an_undecided_rate_is_extended_and_then_left_aside() -> None:
    search = Search(10.0, tolerance=0.05, max_extensions=2)

    def stubborn(probe: Probe) -> Step:
        verdict = UNSURE if 39.0 < probe.rate_per_s < 42.0 else PASS if probe.rate_per_s < 40 else FAIL
        return Step(probe.rate_per_s, probe.rate_per_s, verdict, pooled=probe.extension > 0)

    history = searched(search, stubborn)
    at_forty = [(i, step) for i, step in enumerate(history) if step.offered_per_s == 40.0]
    assert [step.pooled for _, step in at_forty] == [False, True, True]
    assert [i for i, _ in at_forty] == [2, 3, 4]
    bracket = capacity_bracket(history)
    assert bracket.low_per_s is not None
    assert bracket.high_per_s is not None
    assert 39.0 / 1.05 <= bracket.low_per_s <= 39.0
    assert 42.0 <= bracket.high_per_s <= 42.0 * 1.05


def test_a_target_that_never_saturates_is_searched_up_to_the_ceiling() -> None:
    history = searched(Search(10.0, ceiling_per_s=100.0), threshold(math.inf))
    assert [step.offered_per_s for step in history] == [10, 20, 40, 80, 100]
    assert capacity_bracket(history).state is BracketState.NOT_REACHED


def test_a_generator_at_its_limit_is_tried_twice_and_not_exceeded() -> None:
    def weak(probe: Probe) -> Step:
        return Step(probe.rate_per_s, probe.rate_per_s, PASS, healthy=probe.rate_per_s <= 30.0)

    history = searched(Search(10.0, tolerance=0.1), weak)
    assert [step.offered_per_s for step in history][:4] == [10, 20, 40, 40]
    assert max(step.offered_per_s for step in history) == 40
    bracket = capacity_bracket(history)
    assert bracket.state is BracketState.NOT_REACHED
    assert bracket.low_per_s == pytest.approx(30.0, rel=0.1)


def test_a_target_that_always_fails_ends_the_search_too() -> None:
    history = searched(Search(10.0, max_probes=12), threshold(0.0))
    assert len(history) == 12
    assert capacity_bracket(history).state is BracketState.BELOW


def test_each_look_at_a_rate_is_judged_more_strictly() -> None:
    assert Search(1.0, max_extensions=0).step_confidence == pytest.approx(0.95)
    assert Search(1.0, max_extensions=2).step_confidence == pytest.approx(1 - 0.05 / 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_per_s": 0.0},
        {"start_per_s": math.nan},
        {"tolerance": 0.0},
        {"max_probes": 0},
        {"ceiling_per_s": 0.5},
    ],
)
def test_a_search_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"cannot start|not a search"):
        Search(**({"start_per_s": 1.0} | wrong))  # type: ignore[arg-type]
