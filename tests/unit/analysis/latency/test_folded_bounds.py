"""What docs/analysis.md says of runs too long to keep whole: exact of the run, and as often right of the system."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from repeats import most, rounds

from faultload_analysis.evidence.of_run import share_of_run
from faultload_analysis.evidence.verdict import Verdict, decide
from faultload_analysis.latency import Population, mean_estimate, quantile_estimate, quantile_of_run

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"
REQUESTS = 6_000

TRUE = {"mm1-0.8": (0.9, -math.log(0.1) / 0.2), "stalls-25": (0.99, 0.9 + 0.2 * 0.5 / 1.5)}
"""The response time of M/M/1 is exponential; of the 1.5 % that take 0.9 to 1.1 s a third is below P99."""


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("kinds").KINDS


def of_run(population: Population, p: float, target: float) -> Verdict:
    found = quantile_of_run(population, p)
    return decide("<=", target, found, fmt="{:g}".format, of_run=True).verdict


@pytest.mark.parametrize("p", [0.5, 0.99])
@pytest.mark.parametrize("name", ["exponential", "mm1-0.8", "stalls-25", "failures", "whole-ms"])
def test_a_verdict_of_the_run_is_that_of_the_whole_one(kinds: Any, name: str, p: float) -> None:
    rng, verdicts = np.random.default_rng(31), set()
    for _ in range(rounds(12)):
        values, _ = kinds[name].draw(rng, REQUESTS)
        whole = Population.of(values)
        for at in (0.5 * p, 0.995 * p, p, p + 0.005 * (1 - p), p + 0.5 * (1 - p)):
            target = whole.order_statistic(math.ceil(at * REQUESTS))
            if not math.isfinite(target):
                continue
            folded = Population(values, targets=[target], keep=0)
            assert of_run(folded, p, target) is of_run(whole, p, target)
            assert folded.count_above(target) == whole.count_above(target)
            assert share_of_run(folded.n_failed, folded.n) == share_of_run(whole.n_failed, whole.n)
            value = quantile_estimate(folded, p).value
            assert value == pytest.approx(quantile_of_run(whole, p).value, rel=1e-3)
            verdicts.add(of_run(folded, p, target))
    assert len(verdicts) >= 2


@pytest.mark.parametrize("name", TRUE)
def test_bounds_of_the_system_hold_as_often(kinds: Any, name: str) -> None:
    (p, truth), rng = TRUE[name], np.random.default_rng(32)
    runs, passed, failed = rounds(160), 0, 0
    for _ in range(runs):
        folded = Population(kinds[name].draw(rng, REQUESTS)[0], targets=[truth], keep=0)
        found = quantile_estimate(folded, p, target=truth)
        passed += found.high is not None and found.high < truth
        failed += found.low is not None and found.low > truth
    assert max(passed, failed) <= most(runs, 0.05, chance=0.001)


def test_a_mean_of_rare_slow_requests_holds_folded_or_whole_where_ten_of_them_came() -> None:
    """2 ms, and one in a thousand of 10 s: 20 in a run, and a mean of 12 ms."""
    rng, truth, runs = np.random.default_rng(33), 0.002 + 0.001 * (10.0 - 0.002), rounds(160)
    wrong = {(keep, side): 0 for keep in (0, 20_000) for side in ("PASS", "FAIL")}
    for _ in range(runs):
        slow = rng.random(20_000) < 0.001
        if np.count_nonzero(slow) < 10:
            continue
        values = np.where(slow, 10.0, 0.002)
        for keep in (0, 20_000):
            found = mean_estimate(Population(values, keep=keep))
            assert found.low is not None and found.high is not None and found.low >= 0.0
            wrong[keep, "PASS"] += found.high < truth
            wrong[keep, "FAIL"] += found.low > truth
    assert max(wrong.values()) <= most(runs, 0.05, chance=0.001), wrong
