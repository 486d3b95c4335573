"""Seconds that the generator spoiled pass no objective on throughput, and fail none."""

from __future__ import annotations

import numpy as np

from faultload_analysis.evidence.verdict import Estimate, Verdict, decide
from faultload_analysis.latency.throughput import RateCounter


def counted(per_second: dict[range, int], *, spoiled: range) -> tuple[Estimate, Estimate]:
    """The rate over 600 s of 100/s but for what `per_second` says, of the system and of the run."""
    counter = RateCounter(0.0, 600.0)
    rate = np.full(600, 100)
    for seconds, count in per_second.items():
        rate[seconds] = count
    counter.add(np.repeat(np.arange(600) + 0.5, rate))
    mask = np.isin(np.arange(600), spoiled)
    return counter.estimate(spoiled=mask), counter.estimate(spoiled=mask, of_run=True)


def verdicts(found: tuple[Estimate, Estimate], operator: str, target: float) -> set[Verdict]:
    system, run = found
    return {
        decide(operator, target, system, fmt=str).verdict,
        decide(operator, target, run, fmt=str, of_run=True).verdict,
    }


OUT = range(300, 325)


def test_an_outage_in_spoiled_seconds_passes_nothing() -> None:
    """25 of 600 s without a request: 95.8/s came, and the other seconds had 100/s."""
    found = counted({OUT: 0}, spoiled=OUT)
    assert verdicts(found, ">=", 99.0) == {Verdict.INCONCLUSIVE}
    assert "25 s that the generator spoiled count in the bounds alone" in found[0].why
    assert verdicts(counted({OUT: 0}, spoiled=range(0)), ">=", 99.0) <= {Verdict.FAIL, Verdict.INCONCLUSIVE}


def test_what_the_generator_did_not_send_fails_nothing() -> None:
    assert Verdict.FAIL not in verdicts(counted({OUT: 0}, spoiled=OUT), ">=", 99.9)


def test_harm_in_other_seconds_still_fails() -> None:
    slow = counted({range(600): 80, OUT: 0}, spoiled=OUT)
    assert verdicts(slow, ">=", 90.0) == {Verdict.FAIL}


def test_a_burst_in_spoiled_seconds_meets_no_upper_limit() -> None:
    assert verdicts(counted({OUT: 200}, spoiled=OUT), "<=", 101.0) == {Verdict.INCONCLUSIVE}


def test_spoiled_seconds_like_the_others_change_nothing() -> None:
    (system, run), (clean, clean_run) = counted({}, spoiled=OUT), counted({}, spoiled=range(0))
    assert (system.value, system.low, system.high) == (clean.value, clean.low, clean.high)
    assert (run.value, run.low, run.high) == (clean_run.value, clean_run.low, clean_run.high)


def test_where_every_second_is_spoiled_there_is_nothing_to_say() -> None:
    system, _ = counted({}, spoiled=range(600))
    assert (system.value, system.why) == (None, "too few seconds of this stretch can be counted")
