"""Recovery on synthetic timelines whose truth is known."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from faultload_analysis.evidence.verdict import Verdict, decide
from faultload_analysis.recovery.faults import (
    Recovery,
    SliceRule,
    baseline_rule,
    lost_writes,
    mttr,
    recover,
    slices,
    ttr_estimate,
)
from faultload_analysis.recovery.slice_rule import noise

INJECTED, END = 40.0, 140.0


def timeline(rate: float = 100.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, END, rng.poisson(rate * END)))
    return times, rng.exponential(0.02, times.size)


def judge(times: np.ndarray, latency: np.ndarray, **options: float) -> Recovery:
    rule = baseline_rule(latency[times < INJECTED], latency_limit_s=0.3, max_bad_share=0.001)
    cut = slices(times, latency, start_s=0.0, end_s=END)
    return recover(cut, rule, **({"injected_s": INJECTED, "until_s": END} | options))


def outage(times: np.ndarray, latency: np.ndarray, *spans: tuple[float, float]) -> np.ndarray:
    out = latency.copy()
    for begin, end in spans:
        out[(times >= begin) & (times < end)] = np.inf
    return out


@pytest.mark.parametrize("rate", [200, 100, 50, 20])
@pytest.mark.parametrize(
    ("begin", "end"), [(40.0, 47.0), (40.3, 47.65), (41.95, 58.05), (40.0, 41.0), (50.5, 51.5)]
)
def test_an_outage_is_measured_to_within_the_gap_between_requests(rate: float, begin: float, end: float) -> None:
    times, latency = timeline(rate)
    r = judge(times, outage(times, latency, (begin, end)))
    assert r.recovered and not r.absorbed and r.baseline_ok
    gap = 8 / rate
    assert r.impact_s == pytest.approx(begin - INJECTED, abs=gap)
    assert r.recover_s == pytest.approx(end - begin, abs=2 * gap)
    assert r.low_s is not None and r.high_s is not None and r.recover_s is not None
    assert r.low_s <= end - begin <= r.high_s + gap and r.low_s <= r.recover_s <= r.high_s
    assert r.resolution_s is not None and r.resolution_s <= 3 * gap
    assert r.incidents == 1 and r.worst_bad_share is not None and r.worst_bad_share >= 0.5


def test_slow_answers_are_an_outage_too() -> None:
    times, latency = timeline()
    slow = latency.copy()
    slow[(times >= 42) & (times < 50)] += 2.0
    r = judge(times, slow)
    assert r.recover_s == pytest.approx(8.0, abs=0.1) and r.impact_s == pytest.approx(2.0, abs=0.1)


def test_a_third_of_the_requests_failing_is_seen_from_end_to_end() -> None:
    times, latency = timeline(100, seed=4)
    hit = (times >= 45) & (times < 55) & (np.random.default_rng(1).random(times.size) < 1 / 3)
    r = judge(times, np.where(hit, np.inf, latency))
    assert r.impact_s == pytest.approx(5.0, abs=0.2) and r.recover_s == pytest.approx(10.0, abs=0.3)
    assert r.high_s is not None and r.high_s >= 10.0 - 0.01


def test_a_ramped_recovery_ends_where_the_last_errors_do_and_mitigation_comes_before() -> None:
    times, latency = timeline(200)
    share = np.clip((60 - times) / 10, 0, 1) * (times >= 42)
    hit = np.random.default_rng(2).random(times.size) < share
    r = judge(times, np.where(hit, np.inf, latency))
    assert r.recover_s == pytest.approx(18.0, abs=1.2)
    assert r.mitigate_s is not None and r.recover_s is not None
    assert r.mitigate_s == pytest.approx(13.5, abs=1.5) and r.mitigate_s < r.recover_s


def test_flapping_within_the_hold_is_one_incident() -> None:
    times, latency = timeline()
    r = judge(times, outage(times, latency, (41, 44), (50, 52), (58, 61)))
    assert r.recover_s == pytest.approx(20.0, abs=0.1) and r.incidents == 1


def test_a_later_incident_is_another_one_and_said() -> None:
    times, latency = timeline()
    r = judge(times, outage(times, latency, (41, 44), (80, 85)), undone_s=45.0)
    assert r.recover_s == pytest.approx(3.0, abs=0.1) and r.incidents == 2
    assert (
        r.later == ((80.0, 85.0),)
        and "1 more incident before the end of the watch, the one from 80 to 85 s" in r.why
    )
    never = judge(times, outage(times, latency, (41, 44), (60, 65), (120, END)), undone_s=45.0)
    assert never.later == ((60.0, 65.0), (120.0, None)) and "2 more incidents" in never.why


@pytest.mark.parametrize("undone", [100.0, 75.0, 70.1])
def test_a_dip_before_the_fault_has_been_undone_for_the_hold_is_part_of_its_recovery(undone: float) -> None:
    """Failing from 41 to 44 and, long after the hold, from 80 to 85."""
    times, latency = timeline()
    r = judge(times, outage(times, latency, (41, 44), (80, 85)), undone_s=undone)
    assert r.recover_s == pytest.approx(44.0, abs=0.1) and r.incidents == 1 and not r.later
    assert "the last of 2 dips of this fault" in r.why
    apart = judge(times, outage(times, latency, (41, 44), (80, 85)), undone_s=69.9)
    assert apart.recover_s == pytest.approx(3.0, abs=0.1) and apart.incidents == 2


def test_a_second_dip_that_never_ends_is_no_recovery() -> None:
    times, latency = timeline()
    r = judge(times, outage(times, latency, (41, 44), (80, END)), undone_s=100.0)
    assert not r.recovered and r.low_s == pytest.approx(99.0, abs=0.1)


def test_never_recovered_is_censored_and_fails_only_what_it_outlasted() -> None:
    times, latency = timeline()
    r = judge(times, outage(times, latency, (42, END)))
    assert not r.recovered and not r.absorbed and r.recover_s is None
    assert r.censored_s == pytest.approx(98.0, abs=0.1)
    e = ttr_estimate(r)
    assert e.value == math.inf and e.high is None
    assert decide("<=", 30.0, e, fmt=str).verdict is Verdict.FAIL
    assert decide("<=", 120.0, e, fmt=str).verdict is Verdict.INCONCLUSIVE


def test_good_for_half_the_hold_when_the_watch_ends_is_recovered_and_for_less_is_open() -> None:
    """Back at 90 and 92 s after the impact, in a watch that ends 98 s after it, with a hold of 10 s."""
    times, latency = timeline()
    assert judge(times, outage(times, latency, (42, 129))).recovered
    late = judge(times, outage(times, latency, (42, 132)), undone_s=60.0)
    assert late.recovered and "good for 8.0 s when the watch ended" in late.why
    assert decide("<=", 95.0, ttr_estimate(late), fmt=str).verdict is Verdict.PASS
    short = judge(times, outage(times, latency, (42, 136)), undone_s=60.0)
    assert not short.recovered and short.low_s == pytest.approx(94.0, abs=0.1)
    assert decide("<=", 95.0, ttr_estimate(short), fmt=str).verdict is Verdict.INCONCLUSIVE
    assert decide("<=", 93.0, ttr_estimate(short), fmt=str).verdict is Verdict.FAIL
    assert "good for 4.0 s only when the watch ended: 5 s would tell" in short.why
    still_open = judge(times, outage(times, latency, (42, 132)))
    assert (
        not still_open.recovered and "good for 8.0 s only when the watch ended: 10 s would tell" in still_open.why
    )


def test_a_bad_slice_at_the_end_leaves_a_recovery_open() -> None:
    times, latency = timeline()
    r = judge(times, outage(times, latency, (42, 50), (57, 58), (66, 67), (75, 76), (84, END - 3)), undone_s=60.0)
    assert not r.recovered
    assert r.low_s == pytest.approx(95.0, abs=0.1)


def test_no_impact_is_absorbed_and_passes_with_zero() -> None:
    r = judge(*timeline())
    assert r.absorbed and r.recovered and r.recover_s == 0.0 and r.impact_s is None
    assert decide("<=", 1.0, ttr_estimate(r), fmt=str).verdict is Verdict.PASS


def test_an_absorbed_fault_names_the_requests_that_failed_all_the_same() -> None:
    times, latency = timeline(20)
    assert judge(times, latency).why == "absorbed: users saw no impact (at most 0.15 % of requests)"
    latency[np.flatnonzero(times > 45)[:7]] = np.inf
    r, watched = judge(times, latency), np.count_nonzero(times >= INJECTED)
    assert r.absorbed
    assert r.why.startswith(
        f"absorbed: 7 of {watched} requests failed, too few at a time for an impact (at most 1."
    )


def test_a_fault_during_which_more_failed_than_the_baseline_explains_is_never_absorbed() -> None:
    """One request in a hundred from 45 to 85, in no second more than noise explains; none before."""
    times, latency = timeline()
    during = np.flatnonzero((times >= 45) & (times < 85))
    for wrong, what in ((np.inf, "failed"), (0.9, "failed or were slow")):
        worse = latency.copy()
        worse[during[::100]] = wrong
        r = judge(times, worse, undone_s=85.0)
        assert not r.absorbed and not r.measurable
        assert re.match(rf"not absorbed, .* requests {what} .*, of the baseline 0 of ", r.why), r.why
        assert decide("<=", 100.0, ttr_estimate(r), fmt=str).verdict is Verdict.INCONCLUSIVE


def test_what_could_have_been_missed_is_too_much_where_few_requests_were_watched() -> None:
    times = np.arange(0.5, END, 8.0)
    r = judge(times, np.full(times.size, 0.01), until_s=END - 30)
    assert not r.absorbed and r.why == "no impact seen, but 28% of the 9 requests could have been bad unseen"


def test_a_watch_that_ended_before_the_fault_was_undone_is_not_absorbed() -> None:
    times, latency = timeline()
    r = judge(times, latency, until_s=60.0, undone_s=70.0)
    assert not r.absorbed and not r.measurable and ttr_estimate(r).value is None
    assert not judge(times, latency, until_s=45.0).absorbed


@pytest.mark.parametrize("spans", [[(0.0, 45.0)], [(35.0, 45.0)], [(33.0, 35.0)]])
def test_a_bad_baseline_makes_recovery_not_measurable(spans: list[tuple[float, float]]) -> None:
    times, latency = timeline()
    r = judge(times, outage(times, latency, *spans))
    assert not r.baseline_ok and not r.absorbed and not r.recovered
    assert ttr_estimate(r).value is None and r.why


def test_a_slow_baseline_against_its_target_is_bad() -> None:
    _, latency = timeline()
    rule = baseline_rule(latency + 1.0, latency_limit_s=0.3)
    assert not rule.baseline_ok and "P99 of the baseline" in rule.why


def test_no_requests_are_no_recovery_and_no_absorption() -> None:
    times, latency = timeline()
    quiet = times < 50
    r = judge(times[quiet], outage(times, latency, (42, 48))[quiet])
    assert not r.recovered and r.censored_s is not None
    silent = times < INJECTED
    assert not judge(times[silent], latency[silent]).measurable
    late = times > INJECTED
    rule = SliceRule(0.001, 0.3)
    cut = slices(times[late], latency[late], start_s=0, end_s=END)
    assert not recover(cut, rule, injected_s=INJECTED, until_s=END).baseline_ok


@pytest.mark.parametrize("rate", [2.0, 5.0])
def test_a_low_rate_sees_an_outage_with_the_resolution_it_has(rate: float) -> None:
    times, latency = timeline(rate, seed=3)
    r = judge(times, outage(times, latency, (45, 60)))
    assert r.recovered and r.recover_s == pytest.approx(15.0, abs=5 / rate)
    assert r.resolution_s is not None and r.resolution_s > 0.1
    assert r.low_s is not None and r.high_s is not None and r.low_s <= 15.0 <= r.high_s + 3 / rate


def test_one_request_every_two_seconds_is_enough_for_a_long_outage() -> None:
    times, latency = timeline(0.5, seed=5)
    r = judge(times, outage(times, latency, (45, 75)))
    assert r.recovered and r.recover_s == pytest.approx(30.0, abs=8)


def test_normal_noise_is_no_impact() -> None:
    impacts = 0
    for seed in range(40):
        times, latency = timeline(60, seed=seed)
        rng = np.random.default_rng(seed)
        latency[rng.random(times.size) < 0.003] += 3.0
        latency[rng.random(times.size) < 0.0005] = np.inf
        impacts += not judge(times, latency).absorbed
    assert impacts <= 2


def test_what_came_back_only_after_it_was_mended_did_not_recover() -> None:
    times, latency = timeline()
    broken = outage(times, latency, (41, 71))
    assert judge(times, broken).recovered
    r = judge(times, broken, max_duration_s=30.0)
    assert not r.recovered and r.censored_s == pytest.approx(29.0, abs=0.1) and "mended" in r.why
    assert judge(times, broken, max_duration_s=35.0).recovered


def test_detection_is_the_first_alert_after_impact() -> None:
    times, latency = timeline()
    cut = slices(times, outage(times, latency, (42, 60)), start_s=0, end_s=END)
    rule = baseline_rule(latency[times < 40], latency_limit_s=0.3)
    r = recover(cut, rule, injected_s=INJECTED, until_s=END, alerts_s=[90.0, 12.0, 50.0])
    assert r.detect_s == pytest.approx(8.0, abs=0.1)
    assert recover(cut, rule, injected_s=INJECTED, until_s=END, alerts_s=[12.0]).detect_s is None


def test_slices_count_and_cut() -> None:
    cut = slices([0.1, 0.2, 2.5, 3.0], [0.1, np.inf, 0.3, 0.4], start_s=0, end_s=3.0)
    assert cut.total.tolist() == [2, 0, 1] and cut.failed.tolist() == [1, 0, 0]
    assert cut.failed_share[0] == 0.5 and math.isnan(cut.failed_share[1])
    assert cut.p50[0] == 0.1 and cut.p99[0] == math.inf
    assert cut.over(0.2).tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="NaN"):
        slices([0.1], [math.nan], start_s=0, end_s=1)
    with pytest.raises(ValueError, match="no slices"):
        slices([0.1], [0.1], start_s=1, end_s=1)


def test_one_slow_request_is_noise_and_half_a_slice_is_not() -> None:
    assert noise(100, 0.01) >= 3
    rule = SliceRule(0.001, 0.3)
    for total, slow, expected in ((100, 1, False), (100, 20, True), (2, 1, True), (1, 1, True), (30, 1, False)):
        latency = np.full(total, 0.01)
        latency[:slow] = 1.0
        bad, _, _ = rule.judge(slices(np.linspace(0, 0.9, total), latency, start_s=0, end_s=1))
        assert bool(bad[0]) is expected, (total, slow)


def recovered(seconds: float) -> Recovery:
    return Recovery(0.0, None, None, seconds, False, True, None, 0.1, True, "")


ABSORBED = Recovery(None, None, None, 0.0, True, True, None, 0.0, True, "absorbed")
NEVER = Recovery(0.0, None, None, None, False, False, 60.0, None, True, "never")


def test_mttr_infers_over_repeats() -> None:
    e = mttr([recovered(s) for s in (8.0, 9.0, 10.0, 11.0, 12.0)])
    assert e.value == 10.0 and e.n == 5
    assert e.low == pytest.approx(100 / 18.307, rel=1e-3) and e.high == pytest.approx(100 / 3.940, rel=1e-3)


def test_mttr_leaves_absorbed_faults_out_and_says_so() -> None:
    e = mttr([recovered(10.0), recovered(10.0), ABSORBED])
    assert e.value == 10.0 and e.n == 2 and "1 absorbed left out" in e.why
    assert mttr([ABSORBED, ABSORBED]).value is None
    assert mttr([]).value is None


def test_one_recovery_bounds_no_mean() -> None:
    e = mttr([recovered(10.0)])
    assert (e.value, e.low, e.high) == (10.0, None, None)


def test_one_that_never_recovered_can_fail_mttr_but_never_let_it_pass() -> None:
    e = mttr([recovered(5.0), recovered(6.0), recovered(7.0), NEVER])
    assert e.high is None and e.low is not None and e.low > 5
    assert "1 of 4 never recovered, the median is 6.00 s" in e.why
    assert decide("<=", 1000.0, e, fmt=str).verdict is Verdict.INCONCLUSIVE
    assert mttr([NEVER, NEVER]).value == math.inf


def test_lost_writes_are_an_exact_count_or_nothing() -> None:
    assert decide("==", 0, lost_writes(100, 0, 3, True), fmt=str).verdict is Verdict.PASS
    assert decide("==", 0, lost_writes(100, 1, 0, True), fmt=str).verdict is Verdict.FAIL
    assert decide("==", 0, lost_writes(100, 0, 0, False), fmt=str).verdict is Verdict.INCONCLUSIVE
    assert decide("==", 0, lost_writes(0, 0, 5, True), fmt=str).verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ValueError, match="not counts"):
        lost_writes(1, 2, 0, True)


def test_of_two_overlapping_faults_each_is_timed_from_its_own_injection() -> None:
    """The first slows answers from 45 to 70, the second fails all from 60 to 80: users see 45 to 80."""
    times, latency = timeline(100, seed=6)
    slow = np.where((times >= 45) & (times < 70), latency + 1.0, latency)
    hit = outage(times, slow, (60, 80))
    first = judge(times, hit)
    assert first.impact_s == pytest.approx(5.0, abs=1.0) and first.recover_s == pytest.approx(35.0, abs=1.0)
    assert first.recovered_at_s == pytest.approx(80.0, abs=1.0) and first.incidents == 1
    second = judge(times, hit, injected_s=60.0)
    assert not second.baseline_ok and not second.measurable
    assert second.why == "an incident was already on in the 10 s before the injection"


def test_two_faults_with_impacts_apart_are_two_incidents() -> None:
    """Injected at 40 and 60, open until 50 and 100: out from 42 to 47 and from 75 to 85."""
    times, latency = timeline(100, seed=7)
    hit = outage(times, latency, (42, 47), (75, 85))
    first, second = judge(times, hit, undone_s=50.0), judge(times, hit, injected_s=60.0, undone_s=100.0)
    assert (first.impact_s, first.recover_s) == (pytest.approx(2, abs=0.2), pytest.approx(5, abs=0.2))
    assert first.incidents == 2 and "1 more incident" in first.why
    assert (second.impact_s, second.recover_s) == (pytest.approx(15, abs=0.2), pytest.approx(10, abs=0.2))
    assert second.incidents == 1 and "before the fault was undone" in second.why


def test_the_three_odd_ones_are_called_by_their_names() -> None:
    times, latency = timeline()
    assert "absorbed" in judge(times, latency).why
    assert judge(times, outage(times, latency, (42, END))).why == "not recovered within 98.0 s of impact"
    failing = outage(times, latency, (0, END))
    rule = baseline_rule(failing[times < INJECTED], latency_limit_s=0.3, max_bad_share=0.001)
    cut = slices(times, failing, start_s=0, end_s=END)
    r = recover(cut, rule, injected_s=INJECTED, until_s=END)
    assert r.why.startswith("the baseline was bad: 100.00% of the baseline failed") and not r.measurable


@pytest.mark.parametrize("ramp_s", [5.0, 20.0])
def test_a_ramp_up_of_errors_is_dated_to_where_errors_are_no_noise_any_more(ramp_s: float) -> None:
    times, latency = timeline(200, seed=8)
    share = np.clip((times - 45) / ramp_s, 0, 1) * (times < 80)
    hit = np.random.default_rng(3).random(times.size) < share
    r = judge(times, np.where(hit, np.inf, latency))
    assert r.impact_at_s is not None and 45.0 <= r.impact_at_s <= 45.0 + 0.05 * ramp_s + 1.0
    assert r.recovered_at_s == pytest.approx(80.0, abs=0.1)


def test_requests_in_any_order_give_the_same_recovery() -> None:
    times, latency = timeline()
    hit = outage(times, latency, (42, 60))
    order = np.random.default_rng(9).permutation(times.size)
    rule = baseline_rule(latency[times < INJECTED], latency_limit_s=0.3)
    watch = {"injected_s": INJECTED, "until_s": END}
    mixed = recover(slices(times[order], hit[order], start_s=0, end_s=END), rule, **watch)
    assert mixed == recover(slices(times, hit, start_s=0, end_s=END), rule, **watch) and mixed.recovered


def test_nothing_one_request_and_nothing_but_failures_have_an_answer() -> None:
    rule = SliceRule(0.001, 0.3)
    watch = {"injected_s": INJECTED, "until_s": END}
    for times, latency in (([], []), ([50.0], [0.1]), ([50.0], [math.inf])):
        r = recover(slices(times, latency, start_s=0, end_s=END), rule, **watch)
        assert not r.measurable and "no requests were seen" in r.why
        assert ttr_estimate(r).value is None
    lone = recover(slices([35.0, 50.0], [0.1, math.inf], start_s=0, end_s=END), rule, **watch)
    assert not lone.measurable and lone.why == "no impact for certain: 1 of only 1 requests were bad"
    with pytest.raises(ValueError, match="ok requests"):
        baseline_rule([math.inf] * 50)
    with pytest.raises(ValueError, match="ok requests"):
        baseline_rule([])
    assert not baseline_rule([], latency_limit_s=0.3).baseline_ok
    assert not baseline_rule([math.inf], latency_limit_s=0.3).baseline_ok


def test_what_cannot_be_watched_is_refused() -> None:
    times, latency = timeline(10)
    cut = slices(times, latency, start_s=0, end_s=END)
    for watch in ({"until_s": INJECTED}, {"until_s": 20.0}, {"until_s": END, "hold_s": 0.0}):
        with pytest.raises(ValueError, match="nothing to watch"):
            recover(cut, SliceRule(0.001, 0.3), injected_s=INJECTED, **watch)
    for rule in ((-0.1, 0.3), (0.1, 0.0), (math.nan, 0.3)):
        with pytest.raises(ValueError, match="not a slice rule"):
            SliceRule(*rule)
