"""A trigger that is gone: back, slow, metastable, or watched too briefly; and what is not measurable."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from faultload_analysis.evidence.verdict import Verdict, decide
from faultload_analysis.recovery.overload import (
    Overload,
    OverloadState,
    hysteresis,
    overload_recovery,
    recovery_after_overload_estimate,
)

Counts = npt.NDArray[np.int64]
PASS, FAIL = Verdict.PASS, Verdict.FAIL
BEGIN, END = 60.0, 90.0


def timeline(
    back_s: float, until_s: float = 400.0, *, bad: float = 0.8, load_after: float = 1.0, before: float = 0.002
) -> tuple[npt.NDArray[np.float64], Counts, Counts]:
    """100 requests a second; from 60 s to `back_s` after 90 s a share `bad` of them is bad."""
    rng = np.random.default_rng(0)
    starts = np.arange(0.0, until_s)
    total = rng.poisson(np.where(starts >= END, 100.0 * load_after, 100.0))
    share = np.where((starts >= BEGIN) & (starts < END + back_s), bad, before)
    return starts, total, rng.binomial(total, share)


def judged(cut: tuple[npt.NDArray[np.float64], Counts, Counts], **more: float) -> Overload:
    return overload_recovery(*cut, width_s=1.0, trigger_start_s=BEGIN, trigger_end_s=END, **more)


@pytest.mark.parametrize(
    ("back_s", "state"),
    [
        (0.0, OverloadState.RECOVERED),
        (12.0, OverloadState.RECOVERED),
        (31.0, OverloadState.SLOW),
        (200.0, OverloadState.SLOW),
    ],
)
def test_recovery_is_timed_from_the_end_of_the_trigger_to_a_slice(back_s: float, state: OverloadState) -> None:
    seen = judged(timeline(back_s))
    assert (seen.state, seen.recover_s) == (state, back_s)
    assert seen.low_s is not None
    assert seen.high_s is not None
    assert seen.low_s <= back_s <= seen.high_s
    assert seen.resolution_s is not None
    assert seen.resolution_s <= 2.0


def test_a_system_that_stays_down_at_unchanged_load_is_metastable() -> None:
    seen = judged(timeline(math.inf))
    assert (seen.state, seen.recover_s, seen.low_s) == (OverloadState.METASTABLE, None, 310.0)
    assert "not getting better" in seen.why
    assert seen.bad_share_after == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("until_s", [150.0, 389.0])
def test_watched_for_less_than_five_triggers_and_five_minutes_is_too_short_to_say(until_s: float) -> None:
    seen = judged(timeline(math.inf, until_s))
    assert (seen.state, seen.needed_s) == (OverloadState.TOO_SHORT, 300.0)
    assert "300 s are needed" in seen.why


def test_a_long_trigger_must_be_watched_for_five_times_as_long() -> None:
    starts, total, bad = timeline(math.inf, 600.0)
    seen = overload_recovery(starts, total, bad, width_s=1.0, trigger_start_s=60.0, trigger_end_s=180.0)
    assert (seen.needed_s, seen.state) == (600.0, OverloadState.TOO_SHORT)


def test_a_backlog_that_still_drains_is_not_called_metastable() -> None:
    starts, total, bad = timeline(math.inf)
    draining = np.where(starts >= END, 10.0 - 0.02 * (starts - END), 0.05)
    assert judged((starts, total, bad), latency_s=draining).state is OverloadState.TOO_SHORT
    assert judged((starts, total, bad), latency_s=np.full(starts.size, np.inf)).state is OverloadState.METASTABLE
    rng = np.random.default_rng(0)
    better = np.where(starts >= END, rng.binomial(total, np.clip(0.9 - 0.002 * (starts - END), 0, 1)), bad)
    seen = judged((starts, total, better))
    assert seen.state is OverloadState.TOO_SHORT
    assert "still getting better" in seen.why


def test_good_for_less_than_the_hold_at_the_end_is_too_short_to_say() -> None:
    seen = judged(timeline(305.0))
    assert (seen.state, seen.recover_s) == (OverloadState.TOO_SHORT, None)
    assert seen.low_s == 304.0
    assert "shorter than the hold" in seen.why


def test_a_short_good_spell_is_no_recovery() -> None:
    starts, total, bad = timeline(math.inf)
    bad[(starts >= 120) & (starts < 135)] = 0
    assert judged((starts, total, bad)).state is OverloadState.METASTABLE


def test_some_bad_slices_later_do_not_undo_a_recovery() -> None:
    starts, total, bad = timeline(12.0)
    bad[(starts >= 300) & (starts < 303)] = 50
    seen = judged((starts, total, bad))
    assert (seen.state, seen.recover_s) == (OverloadState.RECOVERED, 12.0)
    assert "3 bad slices later on" in seen.why


def test_a_trigger_that_nobody_noticed_was_absorbed() -> None:
    seen = judged(timeline(0.0, bad=0.002))
    assert (seen.state, seen.recover_s) == (OverloadState.ABSORBED, 0.0)


def test_coming_back_at_less_load_proves_nothing() -> None:
    seen = judged(timeline(12.0, load_after=0.5))
    assert (seen.state, seen.recover_s) == (OverloadState.NOT_MEASURABLE, None)
    assert "proves nothing" in seen.why


def test_staying_down_at_more_load_is_not_metastable() -> None:
    seen = judged(timeline(math.inf, load_after=1.5))
    assert seen.state is OverloadState.NOT_MEASURABLE
    assert judged(timeline(math.inf, load_after=0.5)).state is OverloadState.METASTABLE, "at less load all the more"


def test_without_a_good_baseline_there_is_nothing_to_come_back_to() -> None:
    assert "before the trigger were bad" in judged(timeline(12.0, before=0.1)).why
    starts, total, bad = timeline(12.0)
    later = starts >= BEGIN
    assert "no requests before" in judged((starts[later], total[later], bad[later])).why
    early = starts < END
    assert "no requests after" in judged((starts[early], total[early], bad[early])).why
    assert judged((starts, total * 0, bad * 0)).state is OverloadState.NOT_MEASURABLE


def test_order_does_not_matter_and_empty_slices_are_neither_good_nor_bad() -> None:
    starts, total, bad = timeline(12.0)
    mixed = np.random.default_rng(1).permutation(starts.size)
    assert judged((starts[mixed], total[mixed], bad[mixed])) == judged((starts, total, bad))
    total[100], bad[100] = 0, 0
    assert judged((starts, total, bad)).recover_s == 12.0


@pytest.mark.parametrize(
    ("seen", "limit_s", "verdict"),
    [
        (judged(timeline(12.0)), 60.0, Verdict.PASS),
        (judged(timeline(200.0)), 60.0, Verdict.FAIL),
        (judged(timeline(math.inf)), 60.0, Verdict.FAIL),
        (judged(timeline(math.inf, 120.0)), 60.0, Verdict.INCONCLUSIVE),
        (judged(timeline(12.0, before=0.1)), 60.0, Verdict.INCONCLUSIVE),
        (judged(timeline(12.0)), 11.5, Verdict.INCONCLUSIVE),
    ],
)
def test_the_estimate_decides_an_objective(seen: Overload, limit_s: float, verdict: Verdict) -> None:
    estimate = recovery_after_overload_estimate(seen)
    assert decide("<=", limit_s, estimate, fmt=lambda x: f"{x:g} s").verdict is verdict


def test_never_recovered_is_infinite_and_at_least_what_was_watched() -> None:
    estimate = recovery_after_overload_estimate(judged(timeline(math.inf)))
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (math.inf, 310.0, None, 1)


def test_impossible_input_is_refused() -> None:
    starts, total, bad = timeline(0.0)
    with pytest.raises(ValueError, match="one shape"):
        judged((starts[1:], total, bad))
    with pytest.raises(ValueError, match="0 <= bad <= total"):
        judged((starts, total, total + 1))
    with pytest.raises(ValueError, match="finite times"):
        judged((np.full(starts.size, np.nan), total, bad))
    with pytest.raises(ValueError, match="not an overload"):
        overload_recovery(starts, total, bad, width_s=1.0, trigger_start_s=90.0, trigger_end_s=60.0)
    with pytest.raises(ValueError, match="one shape"):
        judged(timeline(math.inf), latency_s=np.zeros(3))


def test_hysteresis_is_the_failure_load_minus_the_recovery_load() -> None:
    loads = [50, 60, 70, 80, 90, 100, 90, 80, 70, 60]
    seen = hysteresis(loads, [PASS] * 5 + [FAIL] * 3 + [PASS] * 2)
    assert (seen.failed, seen.back) == ((90, 100), (70, 80))
    assert (seen.gap.value, seen.gap.low, seen.gap.high) == (20.0, 10.0, 30.0)


def test_a_system_that_is_back_one_step_below_has_shown_no_hysteresis() -> None:
    seen = hysteresis([80, 90, 100, 90], [PASS, PASS, FAIL, PASS])
    assert (seen.gap.value, seen.gap.low, seen.gap.high) == (0.0, 0.0, 10.0)


def test_never_back_leaves_the_gap_open_above() -> None:
    seen = hysteresis([80, 90, 100, 90, 50], [PASS, PASS, FAIL, FAIL, FAIL])
    assert (seen.gap.value, seen.gap.low, seen.gap.high) == (math.inf, 40.0, None)
    assert seen.back == (None, 50)


def test_hysteresis_without_a_failure_or_with_undecided_steps() -> None:
    assert hysteresis([1, 2], [PASS, PASS]).gap.value is None
    assert hysteresis([], []).gap.value is None
    steps = [PASS, Verdict.INCONCLUSIVE, FAIL, Verdict.INVALID, PASS]
    assert hysteresis([80, 90, 100, 95, 90], steps).failed == (80, 100)
    again = hysteresis([90, 100, 90, 80], [PASS, FAIL, PASS, FAIL])
    assert "failed again" in again.gap.why
    with pytest.raises(ValueError, match="2 loads and 1 verdicts"):
        hysteresis([1, 2], [PASS])
    with pytest.raises(ValueError, match="above 0"):
        hysteresis([0], [PASS])
