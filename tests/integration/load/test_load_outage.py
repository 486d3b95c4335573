"""A frozen target: latency counts from the intended start, and the offered mix stays what it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Load, Server, hold

ONE = """
from locust import task
from faultload.load import Journey

class Visit(Journey):
    @task
    def visit(self):
        self.client.get("/visit")
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


def test_latency_over_an_outage_is_what_the_arithmetic_of_the_schedule_gives(
    server: Server, load: Callable[..., Load]
) -> None:
    rate, length_s, freeze_s, frozen_s = 500, 10, 4, 3
    run = load(ONE, host=server.url, stages=hold(rate, length_s), max_users=400)
    run.start()
    run.until(freeze_s)
    stopped = (run.clock.now_ns() - run.start_ns) / 1e9
    server.freeze()
    run.until(freeze_s + frozen_s)
    server.go_on()
    went_on = (run.clock.now_ns() - run.start_ns) / 1e9
    assert run.finished() == 0

    samples = run.table("samples")
    assert run.outcomes() == {"ok": rate * length_s}
    due = (np.sort(run.column("samples", "intended_ns")) - run.start_ns) / 1e9
    assert due == pytest.approx((np.arange(rate * length_s) + 0.5) / rate, abs=1e-6)

    # what the schedule gives: the n-th slot due since the freeze ends as the n-th completion since `went_on`
    ends = np.sort(
        (run.column("samples", "started_ns") - run.start_ns) / 1e9 + run.column("samples", "service_us") / 1e6
    )
    behind = np.searchsorted(due, ends) - np.arange(1, len(ends) + 1)
    drained = ends[np.argmax((ends > went_on) & (behind < rate * 0.02))]
    unanswered = np.searchsorted(ends, (stopped + went_on) / 2)
    expected = np.zeros(len(due))
    expected[unanswered:] = ends[unanswered:] - due[unanswered:]
    drain_rate = np.count_nonzero((ends > went_on) & (ends <= drained)) / (drained - went_on)

    latency = run.latency_s()
    table = run.notes("locust_table")[0]
    print(f"frozen for {went_on - stopped:.3f} s, drained within {drained - went_on:.3f} s at {drain_rate:.0f}/s")
    for share in (0.9, 0.99):
        found, wanted = quantile(latency, share), quantile(expected, share)
        locust_s = table[f"p{share * 100:.0f}"] / 1e3
        print(f"P{100 * share:.0f}: {found:.3f} s, schedule {wanted:.3f} s, Locust {locust_s} s")
        assert found == pytest.approx(wanted, rel=0.05)

    slip_ms = run.column("iterations", "slip_us") / 1e3
    waited_ms = run.column("iterations", "waited_us") / 1e3
    intended = (run.column("iterations", "intended_ns") - run.start_ns) / 1e9
    outside = (intended < stopped - 0.1) | (intended > drained + 0.1)
    print(f"slip outside: P50 {quantile(slip_ms[outside], 0.5):.2f} P99 {quantile(slip_ms[outside], 0.99):.2f} ms")
    print(f"inside: waited {waited_ms[~outside].sum():.0f}, slip {slip_ms[~outside].sum():.0f} ms in all")
    # a few ms where nothing else runs; a shared machine takes its turns
    assert quantile(slip_ms[outside], 0.5) < 10
    assert quantile(slip_ms[outside], 0.99) < 150
    assert waited_ms[~outside].sum() > 10 * slip_ms[~outside].sum()
    assert len(samples) == rate * length_s


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
    run = load(ONE, host=server.url, stages=hold(20_000, 1.5), max_users=200, drop_after_s=2, drain_s=1)
    run.start()
    assert run.finished() == 0
    slip = run.column("iterations", "slip_us")
    waited = run.column("iterations", "waited_us")
    print(f"slip P50 {quantile(slip, 0.5) / 1e3:.0f} ms, waited P50 {quantile(waited, 0.5) / 1e3:.0f} ms")
    assert quantile(slip, 0.5) > 100_000
    assert waited.sum() < 0.2 * slip.sum()
    note = run.notes("slots")[0]
    assert note["offered"] == 30_000
    assert note["late"] > 0.9 * note["started"]
    assert note["unsent"] > 0.9 * note["dropped"] > 0
