"""Queueing laws: Little's law as a check, bounds, and exact values of simple queues for planning and tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy
from scipy import special

from faultload_analysis.evidence.dependence import Array

LITTLE_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class LittleCheck:
    """Little's law over one steady stretch.

    `in_system`: mean number of requests in flight, as counted; `implied`: throughput times mean response time,
    what it should be; `error`: |in_system - implied| / in_system. `holds` None: cannot be told.
    """

    in_system: float
    implied: float
    error: float | None
    holds: bool | None
    why: str


def little_check(
    in_flight: npt.ArrayLike,
    throughput_per_s: float,
    response_s: npt.ArrayLike,
    *,
    tolerance: float = LITTLE_TOLERANCE,
) -> LittleCheck:
    """Whether N = X R (Little 1961) holds within `tolerance` (5 %) between three independent measurements.

    `in_flight`: the number of requests in flight, sampled evenly in time, shape (m,), or its time average.
    `throughput_per_s`: requests ended a second, *failed ones too*: they were in the system as well.
    `response_s`: how long each of them was in the system, shape (n,), or their mean; for a failed request the
    time until it was given up, not +inf. All three over the same steady stretch, many response times long.
    It is a check of the measurement: where it fails, requests are missing or counted twice, a clock is off,
    or the stretch was not steady (a backlog grew). NaN, infinite or empty: `holds` None. ValueError for
    negative values.
    """
    flight, response = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (in_flight, response_s))
    if not tolerance > 0:
        raise ValueError(f"the tolerance must be above 0, not {tolerance}")
    if (flight < 0).any() or (response < 0).any() or throughput_per_s < 0:
        raise ValueError("counts, times and rates cannot be negative")
    mean_flight = float(flight.mean()) if flight.size else math.nan
    mean_response = float(response.mean()) if response.size else math.nan
    implied = throughput_per_s * mean_response
    if not (math.isfinite(mean_flight) and math.isfinite(implied)):
        return LittleCheck(mean_flight, implied, None, None, "a mean is not a number: nothing to check")
    if mean_flight == 0.0:
        why = "nothing was in flight" if implied == 0.0 else "nothing was in flight, yet requests took time"
        return LittleCheck(0.0, implied, None, None if implied == 0.0 else False, why)
    error = abs(mean_flight - implied) / mean_flight
    sentence = (
        f"{mean_flight:.4g} in flight, {throughput_per_s:.4g}/s times {mean_response:.4g} s is {implied:.4g}, "
        f"{error:.1%} apart"
    )
    if error < tolerance:
        return LittleCheck(mean_flight, implied, error, True, sentence)
    side = (
        "more was in flight than the record accounts for: some are missing, or a backlog grew"
        if mean_flight > implied
        else "the record accounts for more than was in flight: some are counted twice, or a backlog shrank"
    )
    return LittleCheck(mean_flight, implied, error, False, f"{sentence}; {side}")


@dataclass(frozen=True, slots=True)
class OperationalBounds:
    """Asymptotic bounds of a closed system of queueing stations (Denning & Buzen 1978).

    `demand_s`: service demand D of a request over all stations, `demand_max_s`: of the bottleneck, `think_s`: Z.
    """

    demand_s: float
    demand_max_s: float
    think_s: float

    @property
    def users_at_knee(self) -> float:
        """N* = (D + Z) / D_max: with more users than this the bottleneck must queue."""
        return (self.demand_s + self.think_s) / self.demand_max_s

    @property
    def throughput_max_per_s(self) -> float:
        """1 / D_max."""
        return 1.0 / self.demand_max_s

    def throughput_bounds(self, users: int) -> tuple[float, float]:
        """(N / (N D + Z), min(N / (D + Z), 1 / D_max)): between all queue for one another and none does."""
        if users < 1:
            raise ValueError(f"at least one user, not {users}")
        low = users / (users * self.demand_s + self.think_s)
        return low, min(users / (self.demand_s + self.think_s), self.throughput_max_per_s)

    def response_bounds(self, users: int) -> tuple[float, float]:
        """(max(D, N D_max - Z), N D), seconds."""
        if users < 1:
            raise ValueError(f"at least one user, not {users}")
        return max(self.demand_s, users * self.demand_max_s - self.think_s), users * self.demand_s


def operational_bounds(demands_s: Sequence[float], think_s: float = 0.0) -> OperationalBounds:
    """Bounds from each station's service demand, seconds per request. ValueError unless all are >= 0, one > 0."""
    demands = _demands(demands_s, think_s)
    return OperationalBounds(float(demands.sum()), float(demands.max()), think_s)


@dataclass(frozen=True, slots=True)
class ClosedSystem:
    """Exact means of a closed interactive system with 1 to N users, each of shape (N,)."""

    users: npt.NDArray[np.int64]
    throughput_per_s: Array
    response_s: Array


def closed_system(demands_s: Sequence[float], think_s: float, users: int) -> ClosedSystem:
    """Exact mean value analysis of `users` users who think for `think_s` between requests.

    `demands_s`: service demand of each single-server station, seconds. Reiser & Lavenberg 1980: a request that
    arrives sees the queues of the same system with one user less. Product form: exponential service at
    FCFS stations, or processor sharing. O(users x stations). ValueError for negative demands or no users.
    """
    demands = _demands(demands_s, think_s)
    if users < 1:
        raise ValueError(f"at least one user, not {users}")
    queues = np.zeros_like(demands)
    throughput, response = np.empty(users), np.empty(users)
    for n in range(1, users + 1):
        at_station = demands * (1.0 + queues)
        response[n - 1] = at_station.sum()
        throughput[n - 1] = n / (think_s + response[n - 1])
        queues = throughput[n - 1] * at_station
    return ClosedSystem(np.arange(1, users + 1, dtype=np.int64), throughput, response)


def _demands(demands_s: Sequence[float], think_s: float) -> Array:
    demands = np.asarray(demands_s, dtype=np.float64)
    if demands.ndim != 1 or not np.isfinite(demands).all() or not (demands >= 0).all() or not demands.sum() > 0:
        raise ValueError(f"service demands must be at least 0 and one above, not {demands_s}")
    if not (think_s >= 0 and math.isfinite(think_s)):
        raise ValueError(f"the think time must be at least 0, not {think_s}")
    return demands


def erlang_c(servers: int, offered: float) -> float:
    """The share of arrivals that must wait in an M/M/c queue; `offered` a = arrival rate / service rate.

    From Erlang B by its recursion 1/B(k) = 1 + k / (a B(k-1)), which neither over- nor underflows, and
    C = B / (1 - a/c (1 - B)) (Erlang 1917). ValueError unless 0 <= a < c.
    """
    if servers < 1 or not 0.0 <= offered < servers:
        raise ValueError(f"not a stable queue: {offered} Erlang offered to {servers} servers")
    if offered == 0.0:
        return 0.0
    inverse = 1.0
    for k in range(1, servers + 1):
        inverse = 1.0 + k / offered * inverse
        if math.isinf(inverse):
            return 0.0
    blocked = 1.0 / inverse
    return blocked / (1.0 - offered / servers * (1.0 - blocked))


@dataclass(frozen=True, slots=True)
class MMc:
    """The stationary M/M/c queue, first come first served; M/M/1 with one server.

    Poisson arrivals at `arrival_per_s`, exponential service at `service_per_s` a server. ValueError unless stable.
    """

    arrival_per_s: float
    service_per_s: float
    servers: int = 1

    def __post_init__(self) -> None:
        if not (self.service_per_s > 0 and self.servers >= 1):
            raise ValueError(f"not a queue: {self.servers} servers at {self.service_per_s}/s")
        if not 0.0 <= self.arrival_per_s < self.servers * self.service_per_s:
            raise ValueError(
                f"not a stable queue: {self.arrival_per_s}/s offered to {self.servers} servers "
                f"at {self.service_per_s}/s each"
            )

    @property
    def utilisation(self) -> float:
        """a / c."""
        return self.arrival_per_s / (self.servers * self.service_per_s)

    @property
    def wait_probability(self) -> float:
        """Erlang C."""
        return erlang_c(self.servers, self.arrival_per_s / self.service_per_s)

    @property
    def mean_wait_s(self) -> float:
        """C / (c mu - lambda)."""
        return self.wait_probability / self._drain_per_s

    @property
    def mean_response_s(self) -> float:
        """Mean wait plus mean service."""
        return self.mean_wait_s + 1.0 / self.service_per_s

    @property
    def mean_in_system(self) -> float:
        """By Little's law."""
        return self.arrival_per_s * self.mean_response_s

    @property
    def _drain_per_s(self) -> float:
        return self.servers * self.service_per_s - self.arrival_per_s

    def wait_exceeds(self, t_s: float) -> float:
        """P(wait > t) = C exp(-(c mu - lambda) t)."""
        return 1.0 if t_s < 0 else self.wait_probability * math.exp(-self._drain_per_s * t_s)

    def response_exceeds(self, t_s: float) -> float:
        """P(response > t): service alone, or with probability C service plus an exponential wait.

        exp(-mu t) + C times the convolution mu int_0^t exp(-mu s - theta (t - s)) ds, theta = c mu - lambda; in a
        form that stays exact where theta = mu (Gross & Harris, Fundamentals of Queueing Theory).
        """
        if t_s <= 0:
            return 1.0
        mu, theta = self.service_per_s, self._drain_per_s
        slower, apart = min(mu, theta), abs(mu - theta)
        convolution = mu * t_s * math.exp(-slower * t_s) * float(special.exprel(-apart * t_s))
        return math.exp(-mu * t_s) + self.wait_probability * convolution

    def wait_quantile(self, p: float) -> float:
        """The wait, seconds, that a share p of requests does not exceed; 0 where that many do not wait."""
        _check_share(p)
        waits = self.wait_probability
        return 0.0 if waits <= 1.0 - p else math.log(waits / (1.0 - p)) / self._drain_per_s

    def response_quantile(self, p: float) -> float:
        """The response time, seconds, that a share p does not exceed; M/M/1: -ln(1 - p) / (mu - lambda)."""
        _check_share(p)
        if self.servers == 1:
            return -math.log1p(-p) / self._drain_per_s
        high = 1.0 / self.service_per_s + 1.0 / self._drain_per_s
        while self.response_exceeds(high) > 1.0 - p:
            high *= 2.0
        over = 1.0 - p
        return float(scipy.optimize.brentq(lambda t: self.response_exceeds(t) - over, 0.0, high, xtol=1e-14 * high))


def mmc_capacity(service_per_s: float, servers: int, limit_s: float, p: float = 0.99) -> float:
    """The highest arrival rate at which the p-quantile of response of an M/M/c queue is at most `limit_s`.

    M/M/1: mu + ln(1 - p) / T; otherwise the root of P(response > T) = 1 - p. 0.0 when service alone is slower
    than that at any rate. ValueError unless limit_s > 0 and 0 < p < 1.
    """
    _check_share(p)
    if not limit_s > 0:
        raise ValueError(f"the limit must be above 0, not {limit_s}")
    MMc(0.0, service_per_s, servers)
    if math.exp(-service_per_s * limit_s) >= 1.0 - p:
        return 0.0
    if servers == 1:
        return service_per_s + math.log1p(-p) / limit_s
    top = servers * service_per_s * (1.0 - 1e-12)

    def over(rate: float) -> float:
        return MMc(rate, service_per_s, servers).response_exceeds(limit_s) - (1.0 - p)

    return top if over(top) <= 0.0 else float(scipy.optimize.brentq(over, 0.0, top, xtol=1e-12 * top))


def _check_share(p: float) -> None:
    if not 0.0 < p < 1.0:
        raise ValueError(f"a share lies in (0, 1), not {p}")
