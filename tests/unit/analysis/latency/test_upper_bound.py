"""No shape of the tail makes an upper bound too low, and no PASS has fewer requests than `plan` names."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from faultload_analysis.latency.exceedances import Exceedances
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.quantiles import quantile_estimate
from faultload_analysis.needed import least_requests

Draw = Callable[[np.random.Generator], np.ndarray]
RUNS = 100
WRONG_AT_MOST = int(stats.binom.isf(1e-3, RUNS, 0.05))


def passes(draw: Draw, p: float, target: float, runs: int = RUNS) -> int:
    """In how many runs the p-quantile passes `<= target`."""
    rng = np.random.default_rng(14)
    highs = [quantile_estimate(draw(rng), p, target=target).high for _ in range(runs)]
    return sum(high is not None and high <= target for high in highs)


def bimodal(n: int, slow_share: float) -> Draw:
    """2 ms, and a slow mode of 1 s ± 10 %."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        slow = rng.random(n) < slow_share
        return np.where(slow, rng.uniform(0.9, 1.1, n), rng.exponential(0.002, n))

    return draw


@pytest.mark.parametrize("p", [0.95, 0.99, 0.999])
@pytest.mark.parametrize("times", [1.01, 1.1])
def test_a_slow_mode_just_above_the_share_that_may_be_slow_does_not_pass(p: float, times: float) -> None:
    """The truth is in the slow mode at 0.9 s or more; a smooth tail passed 500 ms in 30 to 55 % of runs."""
    assert passes(bimodal(20_000, times * (1 - p)), p, 0.5) <= WRONG_AT_MOST


def test_a_slow_mode_of_one_and_a_half_percent_does_not_pass_at_the_truth() -> None:
    truth = 0.9 + 0.2 * (1 - 1 / 1.5)  # 1.5 % are slow and a third of them are below the P99
    assert passes(bimodal(20_000, 0.015), 0.99, truth) <= WRONG_AT_MOST


def test_a_slow_mode_below_that_share_passes_as_it_should() -> None:
    assert passes(bimodal(20_000, 0.007), 0.99, 0.5, runs=20) == 20


@pytest.mark.parametrize(("n", "p"), [(60, 0.99), (60, 0.999), (146, 0.999), (298, 0.99), (2994, 0.999)])
def test_equal_values_fewer_than_plan_names_do_not_pass(n: int, p: float) -> None:
    e = quantile_estimate(np.full(n, 0.01), p, target=0.5)
    assert e.high is None
    assert e.why == f"about {least_requests(Fraction(str(p))) - n} more requests like these would decide"


@pytest.mark.parametrize(("n", "p"), [(60, 0.95), (299, 0.99), (2995, 0.999)])
def test_equal_values_as_many_as_plan_names_pass(n: int, p: float) -> None:
    assert quantile_estimate(np.full(n, 0.01), p, target=0.5).high == 0.01


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.001, 10.0), min_size=60, max_size=120), st.sampled_from(["0.98", "0.99", "0.999"]))
def test_whatever_was_seen_nothing_passes_with_fewer_than_plan_names(few: list[float], p: str) -> None:
    values = np.resize(few, min(3 * len(few), least_requests(Fraction(p)) - 1))
    assert quantile_estimate(values, Fraction(p), target=1e9).high is None


def test_a_live_run_of_146_requests_does_not_pass_p99_9() -> None:
    x = np.random.default_rng(2).exponential(0.005, 146)
    e = quantile_estimate(x, 0.999, target=10.0)
    assert e.high is None and "more requests like these would decide" in e.why


def test_neighbours_that_are_slow_together_count_as_one() -> None:
    """The same 100 slow ones of 20,000, scattered and in two jams."""
    scattered, jams = np.full(20_000, 0.01), np.full(20_000, 0.01)
    scattered[np.random.default_rng(5).choice(20_000, 100, replace=False)] = 1.0
    jams[4000:4050] = jams[15_000:15_050] = 1.0
    assert quantile_estimate(scattered, 0.99, target=0.5).high == 0.01
    high = quantile_estimate(jams, 0.99, target=0.5).high
    assert high is None or high == 1.0


def test_failures_are_slow_requests_without_a_tail() -> None:
    x = np.random.default_rng(6).exponential(0.01, 20_000)
    failing = x.copy()
    failing[np.random.default_rng(7).choice(x.size, 100, replace=False)] = math.inf
    plain, some = (quantile_estimate(v, 0.99, target=0.2) for v in (x, failing))
    assert plain.high is not None and some.high is not None
    assert plain.high < some.high < 0.2
    together = x.copy()
    together[5000:5100] = math.inf
    high = quantile_estimate(together, 0.99, target=0.2).high
    assert high is None or high == math.inf
    assert quantile_estimate(failing, 0.999, target=0.2).high == math.inf


def test_without_gaps_clusters_are_taken_to_be_as_large_as_they_can_be() -> None:
    """A folded population knows counts only: E[S] <= E[S^2]/E[S], so its bound is the higher one."""
    rng = np.random.default_rng(8)
    x = rng.exponential(1.0, 60_000)
    for start in rng.integers(0, x.size, 60):
        x[start : start + 15] += 5.0
    whole, folded = Population(x, keep=x.size), Population(x, keep=1000)
    assert whole.exact and not folded.exact
    level = float(np.quantile(x, 0.99))
    seen, counted = (Exceedances(values).clusters(level) for values in (whole, folded))
    assert seen is not None and counted is not None
    assert counted.gap_size is None and counted.size == counted.inflation
    assert 1.0 < seen.size < counted.size
    high, higher = (quantile_estimate(values, 0.99).high for values in (whole, folded))
    assert high is not None and higher is not None
    assert high <= higher * 1.002


def test_clusters_are_not_told_from_one_event_nor_from_fewer_than_60_requests() -> None:
    one_slow = np.where(np.arange(100) == 50, 1.0, 0.1)
    assert Exceedances(Population(one_slow)).clusters(0.5) is None
    assert Exceedances(Population(one_slow)).dependence(0.5) is not None
    assert Exceedances(Population(one_slow)).clusters(math.inf) is None
    with pytest.raises(ValueError, match="too few"):
        Exceedances(Population(one_slow[:59]))
