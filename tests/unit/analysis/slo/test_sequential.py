"""Stopping early: what decides, what never does, and how often it errs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.slo.sequential import EarlyStop, SequentialPlan, Stop

PLAN = SequentialPlan(0.001, 0.002)


@settings(max_examples=60)
@given(
    bad=st.lists(st.integers(0, 3), min_size=1, max_size=80),
    cuts=st.lists(st.integers(0, 80), max_size=6),
    ran=st.booleans(),
)
def test_chunks_decide_as_the_whole_does(bad: list[int], cuts: list[int], ran: bool) -> None:
    plan, wrong = SequentialPlan(0.01, 0.1), np.array(bad)
    total = np.full(wrong.size, 5)
    whole, parts, single = EarlyStop(plan), EarlyStop(plan), EarlyStop(plan)
    decided = whole.add(total, wrong, all_faults_ran=ran)
    edges = [0, *sorted(min(c, wrong.size) for c in cuts), wrong.size]
    for a, b in zip(edges, [*edges[1:], wrong.size], strict=True):
        parts.add(total[a:b], wrong[a:b], all_faults_ran=ran)
    for k in bad:
        single.add([5], [k], all_faults_ran=ran)
    assert parts.decision == single.decision == decided
    assert (parts.n, parts.bad) == (single.n, single.bad) == (whole.n, whole.bad)


def test_it_never_passes_before_all_faults_ran() -> None:
    guard = EarlyStop(PLAN)
    assert guard.add(np.full(100, 1000), np.zeros(100)) is Stop.CONTINUE
    assert guard.add([0], [0], all_faults_ran=True) is Stop.PASS
    late = EarlyStop(PLAN)
    late.add(np.full(3, 1000), np.zeros(3))
    assert late.add([10], [10]) is Stop.FAIL and "10 of 3010 requests were bad" in late.sentence


def test_a_failure_is_final() -> None:
    guard = EarlyStop(PLAN)
    assert guard.add([100], [50]) is Stop.FAIL
    assert guard.add([1_000_000], [0], all_faults_ran=True) is Stop.FAIL and guard.n == 100


def test_it_does_not_fail_before_the_least_exposure() -> None:
    guard = EarlyStop(PLAN, least=500)
    assert guard.add([100], [50]) is Stop.CONTINUE and "decides nothing yet" in guard.sentence
    assert guard.add([400], [0]) is Stop.FAIL


def simulated(
    share: float, runs: int, *, slices: int, per_slice: int, burst: bool, by_slice: bool, passes: bool = True
) -> list[Stop]:
    """Runs of slices: independent failures, or outages that fail whole slices."""
    rng = np.random.default_rng(11)
    plan = SequentialPlan(0.01, 0.03)
    total = np.full(slices, per_slice)
    found = []
    for _ in range(runs):
        if burst:
            bad = np.where(rng.random(slices) < share, per_slice, 0)
        else:
            bad = rng.binomial(per_slice, share, slices)
        guard = EarlyStop(plan, slice_limit=0.5 if by_slice else None)
        found.append(guard.add(total, bad, all_faults_ran=passes))
    return found


def test_its_errors_are_as_rare_as_wald_says() -> None:
    at_p0 = simulated(0.01, 1500, slices=3000, per_slice=1, burst=False, by_slice=False)
    at_p1 = simulated(0.03, 1500, slices=3000, per_slice=1, burst=False, by_slice=False)
    assert at_p0.count(Stop.FAIL) / 1500 <= 0.05 / 0.95
    assert at_p1.count(Stop.PASS) / 1500 <= 0.05 / 0.95
    assert at_p0.count(Stop.CONTINUE) + at_p1.count(Stop.CONTINUE) <= 60


def test_bursts_break_it_by_request_and_not_by_slice() -> None:
    """Outages of whole slices as rare as is acceptable, watched to the end: failed wrongly by every other look."""
    by_request = simulated(0.01, 300, slices=1000, per_slice=50, burst=True, by_slice=False, passes=False)
    by_slice = simulated(0.01, 300, slices=1000, per_slice=50, burst=True, by_slice=True, passes=False)
    assert by_request.count(Stop.FAIL) / 300 > 0.5
    assert by_slice.count(Stop.FAIL) / 300 <= 0.05 / 0.95


def test_empty_slices_are_no_outcome() -> None:
    guard = EarlyStop(SequentialPlan(0.01, 0.1), slice_limit=0.1)
    guard.add([0, 10, 10, 0], [0, 1, 2, 0])
    assert (guard.n, guard.bad) == (2, 1)
    assert guard.add([], []) is Stop.CONTINUE


def test_what_is_no_plan_is_refused() -> None:
    for shares in ((0.0, 0.1), (0.1, 0.1), (0.2, 0.1), (0.1, 1.0)):
        with pytest.raises(ValueError, match="acceptable"):
            SequentialPlan(*shares)
    with pytest.raises(ValueError, match="alpha"):
        SequentialPlan(0.1, 0.2, alpha=0.6, beta=0.5)
    with pytest.raises(ValueError, match="early stop"):
        EarlyStop(PLAN, least=-1)
    with pytest.raises(ValueError, match="0 <= bad <= total"):
        EarlyStop(PLAN).add([1], [2])
    with pytest.raises(ValueError, match="one shape"):
        EarlyStop(PLAN).add([1, 1], [0])
