"""What an objective reads: the requests of its filters and its phase, without spoiled seconds, in one pass."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_run import Stretch, Strike, draw

from faultload.record.measured import Measured, read_measured
from faultload.record.rows import Samples
from faultload.spec.objective import parse_objective
from faultload.verdict.evaluate import estimate
from faultload.verdict.evidence import Completions, Evidence, Selection
from faultload.verdict.phases import phases_of
from faultload_analysis.latency.generator import Spoiled


class Passes:
    """A record that counts how often its requests are read."""

    def __init__(self, record: Any) -> None:
        self.count = 0
        self._record = record

    def samples(self) -> Any:
        self.count += 1
        return self._record.samples()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A minute of 2 to 62: ten seconds of another request, half of it slow; three seconds of an outage."""
    path: Path = tmp_path_factory.mktemp("runs") / "run"
    stretches = [
        Stretch(10, 15, 0.050, request="POST /b", waited_s=0.020),
        Stretch(15, 20, 0.200, request="POST /b"),
        Stretch(30, 33, 1.0, "timeout"),
    ]
    return read_measured(draw(path, stretches=stretches, strikes=[Strike(30, 33)]))


def evidence(measured: Measured, *bad_seconds: int) -> tuple[Evidence, Passes]:
    """The evidence of a run of which the seconds that begin then are spoiled."""
    passes = Passes(measured.record)
    counted = Measured(
        measured.info, measured.events, passes, measured.metrics, measured.faults, measured.write_checks
    )
    mask = np.isin(np.arange(2, 62), bad_seconds)
    spoiled = Spoiled(2.0, mask, None, None, None, None, ())
    return Evidence(counted, phases_of(counted, {}), {}, spoiled), passes


def selection(text: str) -> Selection:
    one = parse_objective(text)
    return Selection.of(one.term, one.phase)


def population(evidence: Evidence, text: str) -> Any:
    return evidence.population(selection(text))


@pytest.mark.parametrize(
    ("text", "n", "least", "greatest"),
    [
        ("p99(latency) <= 1s", 6000, 0.01, math.inf),
        ("p99(latency) <= 1s during baseline", 2800, 0.01, 0.2),
        ("p99(latency) <= 1s during fault", 300, math.inf, math.inf),
        ('p99(latency, request="POST /b") <= 1s', 1000, 0.05, 0.2),
        ('p99(service_time, request="POST /b") <= 1s', 1000, 0.03, 0.2),
        ('p99(latency, request="POST /b", journey=Visit) <= 1s', 1000, 0.05, 0.2),
        ('availability(request="POST /b") >= 1%', 1000, 0.05, 0.2),
        ("error_rate <= 1% during fault:cut#1", 300, math.inf, math.inf),
    ],
)
def test_the_requests_of_a_filter_and_a_phase(
    measured: Measured, text: str, n: int, least: float, greatest: float
) -> None:
    found = population(evidence(measured)[0], text)
    assert (found.n, found.minimum, found.maximum) == (n, pytest.approx(least), pytest.approx(greatest))


def test_nothing_is_read_of_spoiled_seconds(measured: Measured) -> None:
    found, _ = evidence(measured, 12, 31)
    assert population(found, "p99(latency) <= 1s").n == 5800
    assert population(found, "p99(latency) <= 1s during fault").n == 200
    assert population(found, 'p99(latency, request="POST /b") <= 1s').n == 900
    assert (found.requests(None), found.requests("fault"), found.requests("recovery")) == (5800, 200, 2900)


def test_one_pass_gathers_what_all_objectives_read_and_lets_others_see_every_chunk(measured: Measured) -> None:
    found, passes = evidence(measured)
    texts = (
        "p99(latency) <= 1s",
        "p50(service_time) <= 1s during baseline",
        "availability >= 1%",
        "error_rate <= 1% during fault",
        "budget(99%, 1h) <= 9%",
        "burn_rate(99%) <= 1",
        "throughput >= 1/s during baseline",
        'ratio(p50(latency), p50(latency, request="POST /b")) <= 9',
        "mean(cache_hit) >= 1",
    )
    seen: list[int] = []

    def see(part: Samples) -> None:
        seen.append(len(part))

    found.gather([parse_objective(text) for text in texts], readers=[see])
    assert (passes.count, sum(seen)) == (1, 6000)
    for text in texts:
        estimate(found, parse_objective(text))
    assert passes.count == 1


def test_what_was_not_gathered_is_gathered_once_when_it_is_asked_for(measured: Measured) -> None:
    found, passes = evidence(measured)
    for _ in range(3):
        population(found, "p99(latency) <= 1s during fault")
    assert passes.count == 1
    for _ in range(3):
        found.rate(Completions((), 2.0, 62.0))
    assert passes.count == 2


def test_a_second_gathering_keeps_what_is_there(measured: Measured) -> None:
    found, _ = evidence(measured)
    objective = parse_objective("p99(latency) <= 1s")
    found.gather([objective])
    before = population(found, "p99(latency) <= 1s")
    found.gather([objective, parse_objective("p99(latency) <= 1s during fault")])
    assert population(found, "p99(latency) <= 1s") is before
    assert population(found, "p99(latency) <= 1s during fault").n == 300


@pytest.mark.parametrize("gathered", [True, False])
def test_folded_latencies_are_counted_exactly_above_every_target_that_reads_them(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, gathered: bool
) -> None:
    """Two bounds on one selection; between them lies less than a bin of the histogram."""
    monkeypatch.setattr("faultload.verdict.evidence.KEEP", 100)
    found, _ = evidence(measured)
    bounds = [parse_objective(f"p99(latency) <= {ms}ms") for ms in ("49.99", "50.00", "50.01", "200")]
    if gathered:
        found.gather(bounds)
        whole = found.population(selection("p99(latency) <= 50ms"))
        assert not whole.exact
        assert [whole.count_above(one.target.value) for one in bounds] == [1300, 800, 800, 300]
    else:
        one = found.population(selection("p99(latency) <= 50ms"), 0.05)
        assert one.count_above(0.05) == 800


def test_throughput_is_of_what_ended_well_by_when_it_ended(measured: Measured) -> None:
    found, _ = evidence(measured)

    def rate(start: float, end: float, *filters: tuple[str, str]) -> float:
        value = found.rate(Completions(filters, start, end)).estimate().value
        assert value is not None
        return value

    assert rate(40, 60) == pytest.approx(100)
    assert rate(27, 37) == pytest.approx(70, abs=0.2)
    assert rate(5, 25, ("request", "POST /b")) == pytest.approx(50)
    assert rate(15, 20, ("request", "POST /b")) == pytest.approx(97, abs=0.5), "those of the first 0.2 s are later"
    one = parse_objective("throughput >= 1/s during baseline")
    assert Completions.of(one.term, (2.0, 30.0)) == Completions((), 2.0, 30.0)


def test_filters_select_the_same_in_any_order_and_events_are_none_of_requests() -> None:
    one = selection("p99(latency, request=a, journey=b) <= 1s during fault")
    assert one == selection("p99(latency, journey=b, request=a) <= 1s during fault")
    assert one.filters == (("journey", "b"), ("request", "a"))
    assert (one.subject, one.phase) == ("latency", "fault")
    assert selection("availability >= 1%").subject == "latency"
    assert selection("p99(service_time) <= 1s").subject == "service_time"
    assert selection("budget(99%, 1h, events=1000) <= 1%").filters == ()
