"""Statements of a run: exact bounds on n as it is, and as many observations as `plan` names."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from faultload_analysis.evidence.of_run import observations_needed, share_of_run
from faultload_analysis.evidence.verdict import Estimate, Verdict, decide
from faultload_analysis.latency import mean_of_run, quantile_of_run
from faultload_analysis.needed import least_requests
from faultload_analysis.slo import proportion_estimate, samples_needed_availability


@pytest.mark.parametrize(("missed", "n"), [(0, 299), (2, 3000), (200, 6000), (1, 5)])
def test_the_bounds_are_those_of_clopper_and_pearson(missed: int, n: int) -> None:
    found = share_of_run(missed, n)
    assert found.low == pytest.approx(stats.beta.ppf(0.05, missed, n - missed + 1) if missed else 0.0)
    assert found.high == pytest.approx(stats.beta.ppf(0.95, missed + 1, n - missed))
    assert (found.n, found.n_eff, found.missed) == (n, n, missed)
    assert share_of_run(0, 0).value is None


@pytest.mark.parametrize(("share", "needed"), [("0.5", 5), ("0.95", 59), ("0.99", 299), ("0.999", 2995)])
def test_a_pass_needs_what_plan_names_for_independent_requests(share: str, needed: int) -> None:
    allowed = float(1 - Fraction(share))
    assert observations_needed(0, allowed) == least_requests(Fraction(share)) == needed
    assert share_of_run(0, needed).high <= allowed < share_of_run(0, needed - 1).high  # type: ignore[operator]
    values = np.full(needed, 0.01)
    assert quantile_of_run(values, Fraction(share)).high == 0.01
    assert quantile_of_run(values[1:], Fraction(share)).high is None


@pytest.mark.parametrize("missed", [1, 2, 7])
def test_more_is_needed_the_more_missed(missed: int) -> None:
    assert observations_needed(missed, 0.001) == samples_needed_availability(0.999, missed)
    with pytest.raises(ValueError, match="no number of observations"):
        observations_needed(missed, 1.0)


def test_the_order_of_requests_says_nothing_of_a_run() -> None:
    """One burst or as many single ones: the users of the run got the same."""
    slow = np.where(np.arange(6000) < 200, 5.0, 0.01)
    scattered = np.random.default_rng(1).permutation(slow)
    for p in ("0.5", "0.95", "0.99"):
        assert quantile_of_run(slow, p) == quantile_of_run(scattered, p)
    assert mean_of_run(slow).high == pytest.approx(mean_of_run(scattered).high)


@pytest.mark.parametrize("p", ["0.5", "0.9", "0.99"])
def test_bounds_enclose_the_value_and_hold_for_independent_requests(p: str) -> None:
    rng, truth = np.random.default_rng(3), float(-np.log1p(-float(p)))
    passed = 0
    for _ in range(400):
        found = quantile_of_run(rng.exponential(size=1000), p)
        assert found.low <= found.value <= found.high  # type: ignore[operator]
        passed += found.high < truth  # type: ignore[operator]
    assert passed <= 33  # 20 expected at most, and 3 standard deviations of as many runs


def test_a_run_at_998_of_1000_rarely_passes_999() -> None:
    """3,000 requests of a system that is 99.8 % available."""
    rng = np.random.default_rng(5)
    shares = [proportion_estimate(rng.random(3000) < 0.002, of_run=True) for _ in range(400)]
    passed = sum(decide(">=", 0.999, one, fmt=str, of_run=True).verdict is Verdict.PASS for one in shares)
    assert passed <= 6  # none of 3,000 fail in exp(-6) = 0.25 % of runs


def test_a_mean_of_shares_or_of_values_that_do_not_vary() -> None:
    hits = np.repeat([1.0, 0.0], [95, 5])
    assert mean_of_run(hits).low == pytest.approx(share_of_run(95, 100).low)
    assert mean_of_run([2.0]).high is None
    assert mean_of_run([]).value is None
    assert mean_of_run([1.0, np.inf]).value == np.inf
    found = mean_of_run(np.arange(1.0, 101.0))
    assert found.high == pytest.approx(50.5 + stats.t.ppf(0.95, 99) * stats.sem(np.arange(1.0, 101.0)))


@pytest.mark.parametrize("missed", range(1, 40))
def test_a_share_that_is_exactly_the_target_meets_it(missed: int) -> None:
    """7 of 100 are bad: 1 - 0.07 is a rounding below 0.93, and no FAIL."""
    good, target = share_of_run(missed, 100).complement(), float(Fraction(100 - missed, 100))
    assert decide(">=", target, good, fmt=str, of_run=True).verdict is Verdict.INCONCLUSIVE
    assert decide(">", target, good, fmt=str, of_run=True).verdict is Verdict.FAIL
    bad, allowed = good.complement(), float(Fraction(missed, 100))
    assert decide("<=", allowed, bad, fmt=str, of_run=True).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("operator", "target", "verdict"),
    [
        ("<=", 1.9, Verdict.FAIL),
        ("<=", 2.0, Verdict.INCONCLUSIVE),
        ("<=", 3.0, Verdict.PASS),
        ("<", 2.0, Verdict.FAIL),
        (">=", 2.1, Verdict.FAIL),
        (">=", 2.0, Verdict.INCONCLUSIVE),
        (">=", 1.0, Verdict.PASS),
        ("==", 2.0, Verdict.INCONCLUSIVE),
    ],
)
def test_of_a_run_the_value_itself_fails_and_the_bound_passes(
    operator: str, target: float, verdict: Verdict
) -> None:
    found = Estimate(2.0, 1.0, 3.0, 100, 100.0, "")
    decision = decide(operator, target, found, fmt=str, of_run=True)
    assert decision.verdict is verdict
    assert "is 2.0 in this run" in decision.why
    if verdict is Verdict.FAIL:
        assert decision.why.startswith("the value is 2.0 in this run (n 100); the target")
