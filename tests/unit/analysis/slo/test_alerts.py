"""Burn-rate alerts: rules, replay in chunks, and what is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.slo.alerts import (
    DAY,
    AlertReplay,
    BurnWindow,
    budget_windows,
    burn_alerts,
    detection_time_s,
    pyrra_windows,
)

FAST = (BurnWindow("page", 60.0, 5.0, 10.0), BurnWindow("ticket", 300.0, 30.0, 2.0))


@settings(max_examples=80)
@given(
    total=st.lists(st.integers(0, 20), min_size=1, max_size=90),
    seed=st.integers(0, 999),
    cuts=st.lists(st.integers(0, 90), max_size=5),
)
def test_chunks_of_seconds_replay_as_the_requests_do(total: list[int], seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    counts = np.array(total)
    times = np.repeat(np.arange(counts.size), counts) + 0.5
    bad = rng.random(times.size) < rng.choice([0.0, 0.05, 0.5])
    whole = burn_alerts(times, bad, 0.99, FAST, start_s=0.0, end_s=float(counts.size))
    replay = AlertReplay(0.99, FAST)
    wrong = np.bincount(times[bad].astype(int), minlength=counts.size)
    edges = [0, *sorted(min(c, counts.size) for c in cuts), counts.size]
    for a, b in itertools.pairwise(edges):
        replay.add(counts[a:b], wrong[a:b])
    assert replay.finish() == whole
    shuffled = rng.permutation(times.size)
    assert burn_alerts(times[shuffled], bad[shuffled], 0.99, FAST, start_s=0.0, end_s=float(counts.size)) == whole
    for alert in whole:
        assert alert.end_s is None or alert.end_s > alert.start_s


def test_a_rule_that_waits_fires_as_much_later_or_not_at_all() -> None:
    total, bad = np.full(600, 10), np.zeros(600)
    bad[100:200] = 10
    at_once = AlertReplay(0.99, (BurnWindow("page", 60, 5, 10),))
    waits = AlertReplay(0.99, (BurnWindow("page", 60, 5, 10, for_s=30),))
    too_long = AlertReplay(0.99, (BurnWindow("page", 60, 5, 10, for_s=120),))
    for replay in (at_once, waits, too_long):
        replay.add(total, bad)
    (first,), (later,) = at_once.finish(), waits.finish()
    assert later.start_s == first.start_s + 30 and later.end_s == first.end_s
    assert too_long.finish() == []


def test_nothing_and_no_errors_raise_no_alert() -> None:
    assert AlertReplay(0.999).finish() == []
    quiet = AlertReplay(0.999)
    quiet.add(np.zeros(60), np.zeros(60))
    assert quiet.finish() == []
    clean = AlertReplay(0.999)
    clean.add(np.full(7200, 100), np.zeros(7200))
    assert clean.finish() == []
    assert burn_alerts([], [], 0.999) == []


def test_one_request_that_failed_is_an_outage_only_against_its_own_history() -> None:
    alone = AlertReplay(0.999)
    alone.add([1], [1])
    assert [a.severity for a in alone.finish()] == []
    with_history = AlertReplay(0.999, rate_per_s=1e-6)
    with_history.add([1], [1])
    assert {a.severity for a in with_history.finish()} == {"page", "ticket"}


def test_what_is_no_count_is_refused() -> None:
    replay = AlertReplay(0.999)
    for total, bad in (([1], [2]), ([math.nan], [0]), ([1], [-1])):
        with pytest.raises(ValueError, match="0 <= bad <= total"):
            replay.add(total, bad)
    with pytest.raises(ValueError, match="one shape"):
        replay.add([1, 2], [0])
    with pytest.raises(ValueError, match="not a history"):
        AlertReplay(0.999, rate_per_s=0.0)
    with pytest.raises(ValueError, match="SLO"):
        AlertReplay(1.0)
    with pytest.raises(ValueError, match="NaN"):
        burn_alerts([math.nan], [True], 0.999)
    with pytest.raises(ValueError, match="not a burn-rate rule"):
        BurnWindow("page", 60, 300, 1)
    with pytest.raises(ValueError, match="shorter than the shortest rule"):
        budget_windows(1800)
    with pytest.raises(ValueError, match="less than a minute"):
        pyrra_windows(DAY)
    with pytest.raises(ValueError, match="error share"):
        detection_time_s(1.5, 0.999, FAST[0])


def test_rules_longer_than_the_period_are_left_out() -> None:
    assert [w.long_s for w in budget_windows(DAY)] == [3600, 6 * 3600, DAY]


@settings(max_examples=30)
@given(share=st.floats(0.02, 1.0), slo=st.sampled_from([0.99, 0.995, 0.999]))
def test_the_replay_detects_when_the_formula_says(share: float, slo: float) -> None:
    window = BurnWindow("page", 600, 50, 6.0)
    total, bad = np.full(900, 1e4), np.zeros(900)
    bad[100:] = share * 1e4
    replay = AlertReplay(slo, (window,), rate_per_s=1e4)
    replay.add(total, bad)
    found, expected = replay.finish(), detection_time_s(share, slo, window)
    if expected is None:
        assert found == []
    elif expected < 795:
        assert found[0].start_s - 100 == pytest.approx(expected, abs=1.01)
