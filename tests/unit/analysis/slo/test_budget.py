"""Error budgets: arithmetic, burn-down, time slices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.evidence.verdict import Estimate, exact, no_data
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.slices import slices
from faultload_analysis.slo.availability import error_budget, more_needed, samples_needed_availability
from faultload_analysis.slo.budget import allowed_share, budget_spent, burn_down, burn_rate
from faultload_analysis.slo.timeslices import bad_time_s, ratio_timeslice_budget, slices_in, timeslice_budget

DAY = 86400.0
counts = st.lists(
    st.tuples(st.integers(0, 50), st.floats(0, 1)).map(lambda t: (t[0], int(t[0] * t[1]))), min_size=1, max_size=60
)
slos = st.sampled_from([0.9, 0.95, 0.99, 0.999, 0.9999])


@given(slo=slos, share=st.floats(0, 1), window=st.floats(1, 1e8), part=st.floats(1e-6, 1))
def test_burn_rate_times_elapsed_share_is_what_was_spent(
    slo: float, share: float, window: float, part: float
) -> None:
    spent = budget_spent(exact(share, 100), slo, window, part * window)
    assert spent.consumed is not None and spent.burn_rate is not None
    assert spent.consumed == pytest.approx(spent.burn_rate * part)
    by_events = budget_spent(exact(share, 100), slo, window, part * window, expected_events=100 / part)
    assert by_events.consumed == pytest.approx(spent.consumed)


@given(slo=slos, k=st.integers(0, 40), n=st.integers(1, 40), times=st.integers(2, 9))
def test_a_burn_rate_is_a_ratio(slo: float, k: int, n: int, times: int) -> None:
    k = min(k, n)
    assert burn_rate(k * times, n * times, slo) == pytest.approx(burn_rate(k, n, slo))
    assert burn_rate(n, n, slo) * allowed_share(slo) == pytest.approx(1.0)


def test_what_is_no_budget_is_refused() -> None:
    for window, lasted, events in ((0, 1, None), (1, 0, None), (1, 1, 0.0), (math.nan, 1, None)):
        with pytest.raises(ValueError, match="above 0"):
            budget_spent(exact(0.1, 10), 0.99, window, lasted, events)
    for slo in (0.0, 1.0, math.nan, 99.9):
        with pytest.raises(ValueError, match="SLO"):
            allowed_share(slo)
    with pytest.raises(ValueError, match="not a share"):
        burn_rate(0, 0, 0.99)
    with pytest.raises(ValueError, match="event-based"):
        error_budget([0.1], 0.99, 10, 1, 100)


def test_an_allowed_share_is_the_decimal_that_a_person_means() -> None:
    slos = (0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999)
    assert [allowed_share(slo) for slo in slos] == [0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001, 0.00001]


@pytest.mark.parametrize(("bad", "total"), [(-1, 10), (11, 10), (0, 0), (1, 0), (1, -1)])
def test_a_burn_rate_is_of_some_bad_ones_among_all(bad: int, total: int) -> None:
    with pytest.raises(ValueError, match="not a share"):
        burn_rate(bad, total, 0.99)
    assert [burn_rate(k, 10, 0.5) for k in (0, 5, 10)] == [0, 1, 2]
    assert burn_rate(1, 1, 0.5) == 2


@pytest.mark.parametrize(
    ("window", "lasted", "events"), [(math.inf, 1, None), (1, math.inf, None), (1, 1, math.inf)]
)
def test_a_budget_of_no_end_is_refused(window: float, lasted: float, events: float | None) -> None:
    with pytest.raises(ValueError, match="finite"):
        budget_spent(exact(0.1, 10), 0.99, window, lasted, events)


def test_a_budget_by_time_and_by_events_in_round_figures() -> None:
    """Half an hour of 1 % bad at 99 % in a window of a day; 30 bad of the 100 that a window of 10,000 allows."""
    share = Estimate(0.01, 0.005, 0.02, 3000, None, "")
    by_time = budget_spent(share, 0.99, DAY, 1800)
    assert (by_time.burn_rate, by_time.method) == (pytest.approx(1.0), "time-based")
    found = by_time.estimate
    assert (by_time.consumed, found.low, found.high) == pytest.approx((1 / 48, 1 / 96, 1 / 24))
    by_events = budget_spent(share, 0.99, DAY, 1800, 10_000)
    assert by_events.consumed == pytest.approx(0.3)
    assert by_events.method == "event-based, 10000 events a window"


def test_nothing_measured_spends_nothing_and_passes_nothing() -> None:
    for bad in (([], []), [], [math.nan, math.nan]):
        spent = error_budget(bad, 0.99, 10, 1)
        assert spent.consumed is None and spent.burn_rate is None and spent.estimate.value is None
    assert budget_spent(no_data("x"), 0.99, 10, 1).estimate.value is None


@settings(max_examples=60)
@given(parts=counts, slo=slos, events=st.sampled_from([None, 1e4]))
def test_the_burn_down_only_falls_and_ends_at_what_was_spent(
    parts: list[tuple[int, int]], slo: float, events: float | None
) -> None:
    total, bad = np.array(parts).T
    line = burn_down(total, bad, slo, DAY, width_s=2.0, expected_events=events)
    assert line.times_s.shape == line.remaining.shape == (total.size + 1,)
    if not total.sum():
        assert np.isnan(line.remaining).all()
        return
    assert line.remaining[0] == 1.0 and (np.diff(line.remaining) <= 0).all()
    share = Estimate(bad.sum() / total.sum(), None, None, int(total.sum()), None, "")
    spent = budget_spent(share, slo, DAY, 2.0 * total.size, events)
    assert 1.0 - line.remaining[-1] == pytest.approx(spent.consumed)


def test_a_burn_down_follows_slices() -> None:
    times = np.arange(0, 90, 0.1)
    latency = np.where((times >= 30) & (times < 40), np.inf, 0.01)
    cut = slices(times, latency, start_s=0, end_s=89.5)
    line = burn_down(cut.total, cut.failed, 0.99, 3600.0, end_s=cut.end_s)
    assert line.times_s[-1] == 89.5 and line.remaining[30] == 1.0
    assert line.remaining[40] == line.remaining[-1] == pytest.approx(1 - 10 / 36, rel=2e-3)
    with pytest.raises(ValueError, match="one shape"):
        burn_down([], [], 0.99, 10)
    with pytest.raises(ValueError, match="0 <= bad <= total"):
        burn_down([1], [2], 0.99, 10)


def test_a_burn_down_ends_where_its_last_slice_does_and_never_later_than_that() -> None:
    for end, last in ((None, 104.0), (103.0, 103.0), (999.0, 104.0)):
        line = burn_down([10, 10], [1, 1], 0.9, 10.0, start_s=100.0, width_s=2.0, end_s=end)
        assert line.times_s.tolist() == [100.0, 102.0, last]
        assert line.remaining[-1] == pytest.approx(1 - (last - 100) / 10)
    for start, end in ((math.nan, None), (0.0, math.inf)):
        with pytest.raises(ValueError, match="no burn-down"):
            burn_down([10], [1], 0.9, 10.0, start_s=start, end_s=end)
    for width in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="no burn-down"):
            burn_down([10], [1], 0.9, 10.0, width_s=width)


@settings(max_examples=60)
@given(parts=counts, target=st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_every_slice_is_good_bad_or_empty(parts: list[tuple[int, int]], target: float) -> None:
    total, bad = np.array(parts).T
    found = timeslice_budget(total, bad, 0.95, 14 * DAY, slice_target=target)
    assert found.good + found.bad + found.empty == total.size and found.bad == found.bad_slices.sum()
    for n, k, wrong in zip(total, bad, found.bad_slices, strict=True):
        assert wrong == (n > 0 and (n - k) < target * n - 1e-9)
    if found.good + found.bad:
        assert found.budget.consumed == pytest.approx(found.bad / (0.05 * 20_160))
    else:
        assert found.budget.consumed is None


def test_a_slice_is_good_from_its_target_on() -> None:
    good = timeslice_budget([100, 100, 1000], [1, 2, 10], 0.95, DAY, slice_target=0.99)
    assert good.bad_slices.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="time slice target"):
        timeslice_budget([1], [0], 0.95, DAY, slice_target=99)
    with pytest.raises(ValueError, match="whole slices"):
        timeslice_budget([1], [0], 0.95, 90.0, slice_target=0.9)


def test_the_three_budgeting_methods_weigh_a_busy_slice_differently() -> None:
    """11 slices with 1 of 2 good and one with 1000 of 1000: 0.989, 1/12 and 6.5/12 good."""
    total, bad = [2] * 11 + [1000], [1] * 11 + [0]
    by_events = error_budget(Population([np.inf] * 11 + [0.1] * 1011), 0.9, DAY, 720)
    assert by_events == error_budget((np.arange(1022), np.arange(1022) < 11), 0.9, DAY, 720)
    assert by_events.burn_rate == pytest.approx((11 / 1022) / 0.1)
    assert timeslice_budget(total, bad, 0.9, DAY, slice_target=0.99).budget.burn_rate == pytest.approx(110 / 12)
    assert ratio_timeslice_budget(total, bad, 0.9, DAY).burn_rate == pytest.approx(55 / 12)
    assert ratio_timeslice_budget([0], [0], 0.9, DAY).consumed is None


def test_a_budget_of_time_need_not_be_whole_slices() -> None:
    assert slices_in(30, 1) == 30
    assert bad_time_s(0.95, 30, 1) == pytest.approx(1.5)


@settings(max_examples=40)
@given(slo=st.sampled_from([0.9, 0.99, 0.999]), failures=st.integers(0, 8), seen=st.floats(0, 2))
def test_more_clean_requests_than_asked_for_are_not_needed(slo: float, failures: int, seen: float) -> None:
    needed = samples_needed_availability(slo, failures)
    n = max(failures, int(seen * needed))
    more = more_needed(n, failures, slo)
    assert more == max(0, needed - n)
