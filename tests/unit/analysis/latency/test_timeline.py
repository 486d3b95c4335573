"""A run in bins: the same from chunks as at once, every request in its bin, errors by what went wrong."""

from __future__ import annotations

import numpy as np
import pytest

from faultload_analysis.latency.timeline import MOST_BINS, TimelineBuilder, timeline_of

NAMES = ("ok", "timeout", "dropped")


def run(n: int, end_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    times = np.sort(rng.uniform(0, end_s, n))
    outcome = rng.choice(3, n, p=[0.9, 0.07, 0.03])
    return times, np.where(outcome == 0, rng.exponential(0.02, n), np.inf), outcome


@pytest.mark.parametrize("end_s", [3.0, 60.0, 86_400.0])
def test_chunks_give_the_same_timeline_as_all_at_once(end_s: float) -> None:
    times, latency, outcome = run(5000, end_s)
    whole = timeline_of(times[::-1], latency[::-1], outcome[::-1], NAMES, end_s=end_s)
    builder = TimelineBuilder(0.0, end_s, NAMES)
    for rows in np.array_split(np.arange(5000), 23):
        builder.add(times[rows], latency[rows], outcome[rows])
        builder.add_iterations(times[rows], times[rows] + 0.5)
    chunked = builder.finish()
    for name in ("total", "p50", "p99", "errors"):
        assert np.array_equal(getattr(whole, name), getattr(chunked, name), equal_nan=True), name
    assert whole.total.size <= MOST_BINS
    assert whole.edges[-1] >= end_s
    assert whole.total.sum() == 5000 and whole.failed.sum() == np.isinf(latency).sum()
    assert whole.planned is None and chunked.planned is not None and chunked.begun is not None
    assert chunked.planned.sum() == 5000
    assert chunked.begun.sum() == ((times + 0.5) < whole.edges[-1]).sum()


def test_a_bin_holds_the_quantiles_of_its_ok_requests_and_counts_the_others_by_outcome() -> None:
    times, latency, outcome = run(2000, 10.0)
    timeline = timeline_of(times, latency, outcome, NAMES, end_s=10.0)
    here = (times >= 4) & (times < 5)
    ok = latency[here & (outcome == 0)]
    assert timeline.p99[4] == np.quantile(ok, 0.99, method="inverted_cdf")
    assert timeline.p50[4] == np.quantile(ok, 0.5, method="inverted_cdf")
    assert timeline.errors[:, 4].tolist() == [0, *(int((outcome[here] == code).sum()) for code in (1, 2))]


def test_what_lies_outside_is_left_out_and_a_failure_without_a_name_is_in_the_total_alone() -> None:
    timeline = timeline_of([-1.0, 0.5, 0.6, 2.0], [0.1, 0.1, np.inf, 0.1], [0, 0, -1, 0], NAMES, end_s=2.0)
    assert timeline.total.tolist() == [2, 0]
    assert timeline.failed.tolist() == [0, 0]
    assert np.isnan(timeline.p50[1])


def test_no_time_and_a_clock_that_goes_back_are_errors() -> None:
    with pytest.raises(ValueError, match="no timeline"):
        TimelineBuilder(5.0, 5.0, NAMES)
    with pytest.raises(ValueError, match="goes back"):
        TimelineBuilder(0.0, 5.0, NAMES).add([2.0, 1.0], [0.1, 0.1], [0, 0])
    with pytest.raises(ValueError, match="differ"):
        TimelineBuilder(0.0, 5.0, NAMES).add([2.0], [0.1, 0.1], [0, 0])
