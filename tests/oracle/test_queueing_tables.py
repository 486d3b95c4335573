"""Queues, Little's law and operational bounds against closed forms and published numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload_analysis.capacity.queueing import (
    MMc,
    closed_system,
    erlang_c,
    little_check,
    mmc_capacity,
    operational_bounds,
)


def test_the_textbook_mm1() -> None:
    """mu 100/s, lambda 80/s: mean 50 ms, P99 = ln(100) / 20 s (Gross & Harris)."""
    queue = MMc(80.0, 100.0)
    assert queue.mean_response_s == pytest.approx(0.05)
    assert queue.response_quantile(0.99) == pytest.approx(0.230259, abs=5e-7)
    assert queue.mean_in_system == pytest.approx(4.0)
    assert queue.wait_probability == pytest.approx(0.8)


@pytest.mark.parametrize(("limit_s", "rate"), [(0.1, 53.948), (0.25, 81.579)])
def test_the_highest_rate_of_an_mm1_under_a_p99_limit(limit_s: float, rate: float) -> None:
    """lambda_max = mu - ln(100) / T = 100 - 4.60517 / T."""
    assert mmc_capacity(100.0, 1, limit_s) == pytest.approx(rate, abs=5e-4)


@pytest.mark.parametrize(("servers", "offered", "waits"), [(2, 1.6, 0.711111), (4, 3.2, 0.596432), (1, 0.8, 0.8)])
def test_erlang_c(servers: int, offered: float, waits: float) -> None:
    """Published Erlang C values at utilisation 0.8."""
    assert erlang_c(servers, offered) == pytest.approx(waits, abs=5e-7)


def test_erlang_c_is_the_sum_of_its_definition() -> None:
    """C = (a^c / c!) c / (c - a) over sum_{k < c} a^k / k! + the same."""
    for c, a in ((3, 0.1), (5, 4.9), (20, 15.0)):
        top = a**c / math.factorial(c) * c / (c - a)
        assert erlang_c(c, a) == pytest.approx(top / (sum(a**k / math.factorial(k) for k in range(c)) + top))
    assert 0.0 < erlang_c(2000, 1990.0) < 1.0, "no overflow where a^c has"
    assert erlang_c(500, 1.0) == 0.0


def test_the_closed_interactive_system() -> None:
    """D = 0.1 s, Z = 1 s: N* = 11, X(5) = 4.360478, X(20) = 9.98131 (mean value analysis, Reiser & Lavenberg)."""
    system = closed_system([0.1], 1.0, 20)
    assert operational_bounds([0.1], 1.0).users_at_knee == pytest.approx(11.0)
    assert system.throughput_per_s[4] == pytest.approx(4.360478, abs=5e-7)
    assert system.throughput_per_s[19] == pytest.approx(9.98131, abs=5e-6)


def test_one_station_is_the_machine_repairman() -> None:
    """Closed form by Erlang B: X = (1 - p0) / D with p0 = B(N, Z / D), the share of time that all users think."""
    demand, think, users = 0.1, 1.0, 20
    weights = [1.0 / math.factorial(k) * (think / demand) ** k for k in range(users + 1)]
    idle = weights[users] / sum(weights)
    assert closed_system([demand], think, users).throughput_per_s[-1] == pytest.approx((1.0 - idle) / demand)


@settings(max_examples=60)
@given(st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=4), st.floats(0.0, 10.0), st.integers(1, 40))
def test_exact_throughput_lies_between_the_operational_bounds(
    demands: list[float], think: float, users: int
) -> None:
    system, bounds = closed_system(demands, think, users), operational_bounds(demands, think)
    for n, x, r in zip(system.users, system.throughput_per_s, system.response_s, strict=True):
        low, high = bounds.throughput_bounds(int(n))
        assert low * (1 - 1e-9) <= x <= high * (1 + 1e-9)
        fast, slow = bounds.response_bounds(int(n))
        assert fast * (1 - 1e-9) <= r <= slow * (1 + 1e-9)
        assert x * (r + think) == pytest.approx(float(n)), "Little's law for the whole loop"


@settings(max_examples=100)
@given(st.integers(1, 30), st.floats(0.01, 0.999), st.floats(0.01, 0.9999))
def test_quantile_and_distribution_are_inverse(servers: int, utilisation: float, p: float) -> None:
    queue = MMc(utilisation * servers * 10.0, 10.0, servers)
    assert queue.response_exceeds(queue.response_quantile(p)) == pytest.approx(1.0 - p, rel=1e-6)
    wait = queue.wait_quantile(p)
    assert queue.wait_exceeds(wait) <= (1.0 - p) * (1 + 1e-9)


def test_the_mean_is_the_integral_of_the_tail() -> None:
    for queue in (MMc(80.0, 100.0), MMc(300.0, 100.0, 4), MMc(320.0, 100.0, 4), MMc(299.9999999, 100.0, 4)):
        t = np.linspace(0.0, 2.0, 200_001)
        tail = [queue.response_exceeds(float(x)) for x in t[::10]]
        assert float(np.trapezoid(tail, t[::10])) == pytest.approx(queue.mean_response_s, rel=1e-5)


@pytest.mark.parametrize(("servers", "utilisation"), [(1, 0.6), (4, 0.75), (16, 0.9)])
def test_capacity_undoes_the_quantile(servers: int, utilisation: float) -> None:
    rate = utilisation * servers * 100.0
    limit = MMc(rate, 100.0, servers).response_quantile(0.99)
    assert mmc_capacity(100.0, servers, limit) == pytest.approx(rate, rel=1e-9)


def test_a_limit_shorter_than_service_allows_no_rate() -> None:
    assert mmc_capacity(100.0, 1, 0.046) == 0.0
    assert mmc_capacity(100.0, 4, 0.046) == 0.0
    assert mmc_capacity(100.0, 4, 0.0461) > 0.0


def test_a_queue_that_grows_is_refused() -> None:
    with pytest.raises(ValueError, match="not a stable queue"):
        MMc(100.0, 100.0)
    with pytest.raises(ValueError, match="not a stable queue"):
        erlang_c(2, 2.0)
    with pytest.raises(ValueError, match="at least one user"):
        closed_system([0.1], 0.0, 0)
    with pytest.raises(ValueError, match="service demands"):
        operational_bounds([0.0])


def test_littles_law_holds_in_a_simulated_queue_and_breaks_when_requests_are_missing() -> None:
    rng = np.random.default_rng(0)
    arrivals, service = np.cumsum(rng.exponential(1 / 80, 200_000)), rng.exponential(1 / 100, 200_000)
    ends = np.cumsum(service)
    leaves = ends + np.maximum.accumulate(arrivals - (ends - service))
    at = np.arange(10.0, arrivals[-1], 0.05)
    in_flight = np.searchsorted(arrivals, at) - np.searchsorted(np.sort(leaves), at)
    throughput = leaves.size / leaves[-1]
    whole = little_check(in_flight, throughput, leaves - arrivals)
    assert whole.holds
    assert whole.error is not None
    assert whole.error < 0.01
    lossy = little_check(in_flight, 0.9 * throughput, leaves - arrivals)
    assert lossy.holds is False
    assert "missing" in lossy.why
    assert "twice" in little_check(in_flight, 1.1 * throughput, leaves - arrivals).why


def test_little_without_data_says_nothing() -> None:
    assert little_check([], 1.0, 1.0).holds is None
    assert little_check(1.0, 1.0, [math.inf]).holds is None
    assert little_check(0.0, 0.0, 0.1).holds is None
    assert little_check(0.0, 5.0, 0.1).holds is False
    with pytest.raises(ValueError, match="negative"):
        little_check(-1.0, 1.0, 1.0)
