"""A frozen target: latency counts from the intended start, and the offered mix stays what it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from load_process import Load, Server, hold

ONE = """
from locust import task
from faultload.load import Journey

class Visit(Journey):
    @task
    def visit(self):
        self.client.get("/visit")
"""
HEAVY = """
import time
from locust import task
from faultload.load import Journey

class Visit(Journey):
    @task
    def visit(self):
        self.client.get("/visit")
        end = time.process_time() + 0.005
        while time.process_time() < end:
            pass
"""
TWO = """
from locust import task
from faultload.load import Journey

class Steady(Journey):
    @task
    def visit(self):
        self.client.get("/steady")

class Broken(Journey):
    @task
    def visit(self):
        self.client.get("OTHER/broken", name="/broken")
"""


def quantile(values: np.ndarray[Any, Any], share: float) -> float:
    return float(np.quantile(values, share, method="inverted_cdf"))


@dataclass
class Outage:
    """A load of even arrivals over a target that was frozen; moments in seconds after the load's start."""

    run: Load
    rate: int
    users: int
    stopped: float
    went_on: float

    def since_start(self, table: str, name: str) -> np.ndarray[Any, Any]:
        return (self.run.column(table, name) - self.run.start_ns) / 1e9

    def __post_init__(self) -> None:
        self.due = np.sort(self.since_start("samples", "intended_ns"))
        self.ends = np.sort(
            self.since_start("samples", "started_ns") + self.run.column("samples", "service_us") / 1e6
        )
        behind = np.searchsorted(self.due, self.ends) - np.arange(1, len(self.ends) + 1)
        self.drained = self.ends[np.argmax((self.ends > self.went_on) & (behind < self.rate * 0.02))]
        in_drain = (self.ends > self.went_on) & (self.ends <= self.drained)
        self.drain_rate = np.count_nonzero(in_drain) / (self.drained - self.went_on)
        intended = self.since_start("iterations", "intended_ns")
        self.outside = (intended < self.stopped - 0.1) | (intended > self.drained + 0.1)
        self.slip_ms = self.run.column("iterations", "slip_us") / 1e3
        self.waited_ms = self.run.column("iterations", "waited_us") / 1e3

    def expected(self) -> np.ndarray[Any, Any]:
        """The latencies of the schedule: the n-th slot due since the freeze ends as the n-th completion."""
        unanswered = np.searchsorted(self.ends, (self.stopped + self.went_on) / 2)
        latency = np.zeros(len(self.due))
        latency[unanswered:] = self.ends[unanswered:] - self.due[unanswered:]
        return latency

    @property
    def disturbed(self) -> bool:
        """Whether the generator itself was held up while the target was well, as its record says."""
        return set(self.run.outcomes()) != {"ok"} or quantile(self.slip_ms[self.outside], 0.99) > 50


def freeze_for_three_seconds(server: Server, load: Callable[..., Load]) -> Outage:
    rate, length_s, freeze_s, users = 500, 10, 4, 400
    run = load(ONE, host=server.url, stages=hold(rate, length_s), max_users=users)
    run.start()
    run.until(freeze_s)
    stopped = (run.clock.now_ns() - run.start_ns) / 1e9
    server.freeze()
    run.until(freeze_s + 3)
    server.go_on()
    went_on = (run.clock.now_ns() - run.start_ns) / 1e9
    assert run.finished() == 0
    return Outage(run, rate, users, stopped, went_on)


def test_latency_over_an_outage_is_what_the_arithmetic_of_the_schedule_gives(
    server: Server, load: Callable[..., Load]
) -> None:
    outage = freeze_for_three_seconds(server, load)
    for _ in range(2):
        if outage.disturbed:  # a machine shared with others; such a measurement is none
            outage = freeze_for_three_seconds(server, load)
    assert outage.run.outcomes() == {"ok": 5000}
    assert outage.due == pytest.approx((np.arange(len(outage.due)) + 0.5) / outage.rate, abs=1e-6)

    latency, table = outage.run.latency_s(), outage.run.notes("locust_table")[0]
    frozen_s, drain_s = outage.went_on - outage.stopped, outage.drained - outage.went_on
    print(f"frozen for {frozen_s:.3f} s, drained within {drain_s:.3f} s at {outage.drain_rate:.0f}/s")
    for share in (0.9, 0.99):
        found, wanted = quantile(latency, share), quantile(outage.expected(), share)
        locust_s = table[f"p{share * 100:.0f}"] / 1e3
        print(f"P{100 * share:.0f}: {found:.3f} s, schedule {wanted:.3f} s, Locust {locust_s} s")
        # the order among the users that drain the backlog is open: half of them at the drain rate
        assert found == pytest.approx(wanted, abs=max(0.05 * wanted, 0.5 * outage.users / outage.drain_rate))
    assert table["p90"] / 1e3 < 0.5 * quantile(latency, 0.9)

    slip, waited, outside = outage.slip_ms, outage.waited_ms, outage.outside
    print(f"slip outside: P50 {quantile(slip[outside], 0.5):.2f}, P99 {quantile(slip[outside], 0.99):.2f} ms")
    print(f"inside: waited {waited[~outside].sum():.0f}, slip {slip[~outside].sum():.0f} ms in all")
    assert not outage.disturbed
    assert quantile(slip[outside], 0.5) < 10
    assert waited[~outside].sum() > 10 * slip[~outside].sum()


def test_the_offered_mix_stays_exact_while_one_journey_is_frozen(
    server: Server, other_server: Server, load: Callable[..., Load]
) -> None:
    rate, length_s = 200, 5
    run = load(
        TWO.replace("OTHER", other_server.url),
        host=server.url,
        stages=hold(rate, length_s),
        mix={"Steady": 6, "Broken": 4},
        max_users=100,
        drop_after_s=0.7,
    )
    run.start()
    run.until(1.5)
    other_server.freeze()
    run.until(3.5)
    other_server.go_on()
    assert run.finished() == 0

    samples = run.table("samples").select(["intended_ns", "journey", "outcome"]).to_pylist()
    assert len(samples) == rate * length_s
    slots = {round((row["intended_ns"] - run.start_ns) / 1e9 * rate - 0.5): row["journey"] for row in samples}
    assert sorted(slots) == list(range(rate * length_s))
    for block in range(0, rate * length_s, 5):
        assert Counter(slots[block + k] for k in range(5)) == {"Steady": 3, "Broken": 2}
    outcomes = Counter((row["journey"], row["outcome"]) for row in samples)
    assert outcomes["Broken", "dropped"] > 20
    assert outcomes["Steady", "ok"] == rate * length_s * 0.6
    assert len(run.table("iterations")) == rate * length_s - outcomes["Broken", "dropped"]
    slots_note = run.notes("slots")[0]
    assert slots_note["offered"] == rate * length_s
    assert slots_note["dropped"] == outcomes["Broken", "dropped"]
    assert slots_note["unsent"] == 0


def test_a_generator_that_cannot_keep_up_shows_slip_and_not_the_targets_waiting(
    server: Server, load: Callable[..., Load]
) -> None:
    # its own work, 5 ms a visit, is what it cannot keep up with: a fast target on a crowded machine may not be one
    run = load(HEAVY, host=server.url, stages=hold(2_000, 1.5), max_users=200, drop_after_s=2)
    run.start()
    assert run.finished() == 0
    slip = run.column("iterations", "slip_us")
    waited = run.column("iterations", "waited_us")
    print(f"slip P50 {quantile(slip, 0.5) / 1e3:.0f} ms, waited P50 {quantile(waited, 0.5) / 1e3:.0f} ms")
    # once no user is free any more: 600 slots in 0.3 s are more than users
    later = run.column("iterations", "intended_ns") > run.start_ns + 0.3e9
    assert quantile(slip[later], 0.5) > 100_000
    assert waited.sum() < 0.2 * slip.sum()
    note = run.notes("slots")[0]
    assert note["offered"] == 3_000
    assert note["started"] == len(slip) and note["late"] == np.count_nonzero(slip >= 10_000)
    assert np.mean(slip[later] >= 10_000) > 0.9
    assert note["unsent"] > 0.9 * note["dropped"] > 0
