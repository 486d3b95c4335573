"""Wald's sequential test against the numbers of its closed form."""

from __future__ import annotations

import pytest

from faultload_analysis.slo.sequential import EarlyStop, SequentialPlan, Stop

PLAN = SequentialPlan(0.001, 0.002, alpha=0.05, beta=0.05)


def test_slope_and_heights() -> None:
    """Wald 1947, ch. 5: s = 0.00144278, h = 4.2418 at p0 = .001, p1 = .002, alpha = beta = .05."""
    assert PLAN.slope == pytest.approx(0.00144278, abs=5e-9)
    assert PLAN.fail_height == PLAN.pass_height == pytest.approx(4.2418, abs=5e-5)


def test_the_earliest_pass_takes_2941_good_requests() -> None:
    assert PLAN.earliest_pass == 2941
    for n, decision in ((2940, Stop.CONTINUE), (2941, Stop.PASS)):
        assert EarlyStop(PLAN).add([n], [0], all_faults_ran=True) is decision


def test_five_failures_within_525_requests_fail() -> None:
    assert PLAN.fails_within(5) == 525
    for n, decision in ((525, Stop.FAIL), (526, Stop.CONTINUE)):
        assert EarlyStop(PLAN).add([n], [5]) is decision
    assert PLAN.fails_within(4) == 0 and EarlyStop(PLAN).add([4], [4]) is Stop.CONTINUE
