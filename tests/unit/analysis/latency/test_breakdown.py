"""Groups are described each by its own values, and the worst window is the worst."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.latency.breakdown import by_group, requests_needed, worst_window
from faultload_analysis.latency.quantiles import quantile, summary


def test_each_group_is_described_by_its_own_values_and_the_total_by_all() -> None:
    rng = np.random.default_rng(1)
    values = rng.exponential(0.1, 3000)
    values[rng.random(3000) < 0.02] = math.inf
    groups = rng.integers(0, 3, 3000)
    found = by_group(values, groups, ["read", "write", "search", "never"])
    assert list(found.groups) == ["read", "write", "search", "never"]
    assert found.total == summary(values)
    for i, name in enumerate(("read", "write", "search")):
        assert found.groups[name] == summary(values[groups == i])
    assert (found.groups["never"].n, found.groups["never"].p99) == (0, None)
    assert sum(part.n for part in found.groups.values()) == found.total.n == 3000


def test_nothing_has_empty_groups() -> None:
    found = by_group([], [], ["a"])
    assert (found.total.n, found.groups["a"].n) == (0, 0)


@pytest.mark.parametrize(
    ("values", "groups", "names", "message"),
    [
        ([1.0, 2.0], [0], ["a"], "one shape"),
        ([1.0], [0.0], ["a"], "indices"),
        ([1.0], [1], ["a"], "1 names"),
        ([1.0], [-1], ["a"], "from -1"),
        ([1.0], [0], ["a", "a"], "twice"),
        ([math.nan], [0], ["a"], "NaN"),
    ],
)
def test_groups_that_do_not_fit_are_refused(
    values: list[float], groups: list[float], names: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        by_group(values, groups, names)


def test_requests_needed_are_those_of_rally() -> None:
    """elastic/rally, percentiles_for_sample_size: 50 below 10 samples, 90 below 100, 99 below 1000, and so on."""
    needed = {p: requests_needed(p) for p in (0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, Fraction(99, 100), 1.0)}
    assert list(needed.values()) == [1, 1, 10, 100, 100, 1000, 10_000, 100, 1]


def by_hand(
    times: list[int], latency: list[float], width: int, p: float, needed: int
) -> tuple[float, float] | None:
    """Value and failed share of the worst window, every window written out."""
    found = []
    start = Fraction(min(times))
    while True:
        inside = [x for t, x in zip(times, latency, strict=True) if start <= t < start + width]
        if len(inside) >= needed:
            found.append((quantile(inside, p), sum(map(math.isinf, inside)) / len(inside)))
        if start + width > max(times):
            return max(found) if found else None
        start += Fraction(width, 10)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from([0.1, 0.2, 0.5, math.inf])), min_size=1, max_size=80),
    st.sampled_from([10, 20, 50, 100]),
    st.sampled_from([0.5, 0.9]),
    st.integers(1, 12),
)
def test_the_worst_window_is_that_of_the_definition(
    requests: list[tuple[int, float]], width: int, p: float, least: int
) -> None:
    times, latency = [t for t, _ in requests], [x for _, x in requests]
    found = worst_window(times, latency, width_s=width, p=p, min_requests=least)
    expected = by_hand(times, latency, width, p, max(least, requests_needed(p)))
    if expected is None:
        assert found.value is None and found.n == 0 and found.why
        return
    assert (found.value, found.failed_share) == expected
    assert found.start_s is not None and found.end_s is not None
    inside = [x for t, x in requests if found.start_s <= t < found.end_s]
    assert found.n == len(inside) >= found.needed
    assert found.value == quantile(inside, p)


def test_a_slow_stretch_is_found_where_it_was() -> None:
    rng = np.random.default_rng(5)
    times = np.sort(rng.uniform(0.0, 600.0, 60_000))
    latency = rng.exponential(0.05, times.size)
    latency[(times >= 300.0) & (times < 310.0)] += 2.0
    found = worst_window(times, latency, width_s=10.0, p=0.99)
    assert found.start_s is not None and found.end_s == found.start_s + 10.0
    assert 290.0 < found.start_s < 310.0
    assert found.value is not None and found.value > 2.1
    assert (found.failed_share, found.too_few) == (0.0, 0)


def test_an_outage_is_worst_where_the_largest_share_failed() -> None:
    times = np.arange(0.0, 100.0, 0.01)
    latency = np.full(times.size, 0.05)
    latency[(times >= 40.0) & (times < 45.0)] = math.inf
    found = worst_window(times, latency, width_s=5.0)
    assert (found.value, found.failed_share) == (math.inf, 1.0)
    assert found.start_s == pytest.approx(40.0)


def test_a_window_with_few_requests_is_not_ranked() -> None:
    times = np.concatenate((np.arange(0.0, 10.0, 0.05), [30.0, 31.0]))
    latency = np.concatenate((np.full(200, 0.1), [9.0, 9.0]))
    found = worst_window(times, latency, width_s=10.0, p=0.99)
    assert found.value == 0.1
    assert found.needed == 100 and found.too_few > 0
    assert f"{found.too_few} with fewer than 100" in found.why
    nothing = worst_window(times, latency, width_s=1.0, p=0.99)
    assert (nothing.start_s, nothing.end_s, nothing.value, nothing.n, nothing.failed_share) == (None,) * 3 + (
        0,
        None,
    )
    assert "100 requests" in nothing.why


def test_order_does_not_matter_and_a_clock_that_went_backwards_is_sorted() -> None:
    rng = np.random.default_rng(6)
    times, latency = rng.uniform(0.0, 60.0, 5000), rng.exponential(0.1, 5000)
    order = np.argsort(times)
    assert worst_window(times, latency, width_s=5.0) == worst_window(times[order], latency[order], width_s=5.0)


def test_one_window_holds_a_run_that_is_shorter() -> None:
    found = worst_window([5.0, 5.5], [0.1, 0.3], width_s=10.0, p=0.5)
    assert (found.start_s, found.end_s, found.value, found.n, found.ranked) == (5.0, 15.0, 0.1, 2, 1)


def test_without_requests_there_is_no_window() -> None:
    found = worst_window([], [], width_s=1.0)
    assert found.value is None and "no requests" in found.why


@pytest.mark.parametrize(
    ("times", "latency", "width", "message"),
    [
        ([0.0, 1.0], [0.1], 1.0, "one shape"),
        ([math.nan], [0.1], 1.0, "times hold"),
        ([math.inf], [0.1], 1.0, "times hold"),
        ([0.0], [math.nan], 1.0, "NaN"),
        ([0.0], [0.1], 0.0, "positive width"),
        ([0.0], [0.1], math.nan, "positive width"),
        ([0.0, 1e12], [0.1, 0.1], 1e-3, "too many"),
    ],
)
def test_what_has_no_windows_is_refused(
    times: list[float], latency: list[float], width: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        worst_window(times, latency, width_s=width)


def test_a_quantile_lies_between_nothing_and_all() -> None:
    with pytest.raises(ValueError, match="quantile"):
        worst_window([0.0], [0.1], width_s=1.0, p=0.0)


def test_the_cost_grows_with_the_requests_and_not_with_their_square() -> None:
    def cost(n: int) -> float:
        times = np.linspace(0.0, 3600.0, n)
        latency = np.random.default_rng(1).exponential(0.1, n)
        begin = time.process_time()
        worst_window(times, latency, width_s=10.0)
        return time.process_time() - begin

    cost(1000)
    assert cost(800_000) < 4 * 4 * max(cost(200_000), 0.01)
