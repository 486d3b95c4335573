"""The capacity of a simulated M/M/c queue is found within 3 % of the closed form."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt
import pytest
from repeats import WHOLE

from faultload_analysis.capacity.bracket import BracketState, Step, capacity_bracket, interpolated_capacity
from faultload_analysis.capacity.queueing import MMc, mmc_capacity
from faultload_analysis.capacity.search import Search
from faultload_analysis.evidence.verdict import Verdict, decide
from faultload_analysis.latency.quantiles import quantile_estimate

Array = npt.NDArray[np.float64]
SERVICE_PER_S = 100.0
WARM_UP = 2000


def simulated(rate: float, servers: int, n: int, seed: tuple[int, ...]) -> tuple[Array, Array]:
    """Arrivals and response times of n requests of a warm M/M/c queue, first come first served."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1.0 / rate, n + WARM_UP))
    service = rng.exponential(1.0 / SERVICE_PER_S, n + WARM_UP)
    if servers == 1:
        worked = np.cumsum(service)
        ends = worked + np.maximum.accumulate(arrivals - (worked - service))
    else:
        free, finished = [0.0] * servers, []
        for arrival, work in zip(arrivals.tolist(), service.tolist(), strict=True):
            end = max(arrival, free[0]) + work
            heapq.heapreplace(free, end)
            finished.append(end)
        ends = np.array(finished)
    return arrivals[WARM_UP:], (ends - arrivals)[WARM_UP:]


def measured(search: Search, servers: int, limit_s: float, n: int, seed: int) -> list[Step]:
    """Probe the queue as the search asks: P99 <= limit judged with the library's own bounds."""
    history: list[Step] = []
    so_far: dict[float, Array] = {}
    while (probe := search.next_probe(history)) is not None:
        rate = probe.rate_per_s
        count = n * 2 ** max(0, probe.extension - 1)
        arrivals, response = simulated(rate, servers, count, (seed, len(history)))
        due = count / float(arrivals[-1] - arrivals[0])
        ends = arrivals + response
        achieved = count / float(ends.max() - ends.min())
        if probe.extension:
            response = np.concatenate((so_far[rate], response))
        so_far[rate] = response
        p99 = quantile_estimate(response, 0.99, target=limit_s, confidence=search.step_confidence)
        verdict = decide("<=", limit_s, p99, fmt=str).verdict
        pooled = probe.extension > 0
        step = Step(rate, achieved, verdict, n=response.size, due_per_s=due, latency=p99, pooled=pooled)
        history.append(step)
    return history


def test_the_simulation_is_the_queue_it_says() -> None:
    for servers in (1, 4):
        rate = 0.6 * servers * SERVICE_PER_S
        _, response = simulated(rate, servers, 300_000, (1,))
        queue = MMc(rate, SERVICE_PER_S, servers)
        assert float(response.mean()) == pytest.approx(queue.mean_response_s, rel=0.02)
        assert float(np.quantile(response, 0.99)) == pytest.approx(queue.response_quantile(0.99), rel=0.04)


QUEUES = [(1, 0.1, 400_000), (4, 0.1, 200_000), (1, 0.25, 400_000), (4, 0.06, 200_000)]


@pytest.mark.parametrize(("servers", "limit_s", "requests"), QUEUES if WHOLE else QUEUES[:2])
def test_capacity_is_found_within_3_percent_of_the_closed_form(servers: int, limit_s: float, requests: int) -> None:
    truth = mmc_capacity(SERVICE_PER_S, servers, limit_s)
    steps = measured(Search(truth / 7.3, tolerance=0.02), servers, limit_s, requests, 7)
    bracket = capacity_bracket(steps)
    assert bracket.state is BracketState.FOUND
    assert bracket.low_per_s is not None
    assert bracket.high_per_s is not None
    assert bracket.low_per_s <= truth < bracket.high_per_s
    assert bracket.low_per_s == pytest.approx(truth, rel=0.03)
    between = interpolated_capacity(bracket, limit_s)
    assert between.value == pytest.approx(truth, rel=0.02)
    assert between.low is not None
    assert between.high is not None
    assert between.low <= truth <= between.high


@pytest.mark.parametrize(("servers", "limit_s"), [(1, 0.1), (4, 0.06)])
def test_short_probes_widen_the_bracket_and_interpolation_still_lands_within_3_percent(
    servers: int, limit_s: float
) -> None:
    truth = mmc_capacity(SERVICE_PER_S, servers, limit_s)
    for seed in range(3):
        bracket = capacity_bracket(measured(Search(truth / 7.3, tolerance=0.02), servers, limit_s, 20_000, seed))
        assert bracket.low_per_s is not None
        assert bracket.high_per_s is not None
        assert bracket.low_per_s <= truth < bracket.high_per_s
        assert interpolated_capacity(bracket, limit_s).value == pytest.approx(truth, rel=0.03)


def test_a_queue_beyond_its_service_rate_falls_behind() -> None:
    arrivals, response = simulated(130.0, 1, 50_000, (3,))
    ends = arrivals + response
    n = response.size
    achieved, due = n / float(ends.max() - ends.min()), n / float(arrivals[-1] - arrivals[0])
    step = Step(130.0, achieved, Verdict.PASS, due_per_s=due)
    assert not step.kept_up
    assert capacity_bracket([step]).high_per_s == 130.0
