"""What an objective reads: the requests of its filters and its phase, without spoiled seconds, in one pass."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from drawn_run import Stretch, Strike, draw

from faultload.record.measured import FaultTimes, Measured, read_measured
from faultload.record.rows import Samples
from faultload.spec.objective import parse_objective
from faultload.verdict.evidence import Evidence
from faultload.verdict.phases import phases_of
from faultload_analysis.latency.generator import Spoiled
from faultload_analysis.latency.population import Population


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
    spoiled = Spoiled(2.0, mask, None, None, None, None, (), mask)
    return Evidence(counted, phases_of(counted, {}), {}, spoiled), passes


def population(evidence: Evidence, text: str) -> Population:
    """The requests that an objective reads; the one in flight at the injection is one of the fault."""
    one = parse_objective(text)
    return (
        evidence.values_of(one.term, one.phase) if one.term.subject else evidence.requests_of(one.term, one.phase)
    )


@pytest.mark.parametrize(
    ("text", "n", "least", "greatest"),
    [
        ("p99(latency) <= 1s", 6000, 0.01, math.inf),
        ("p99(latency) <= 1s during baseline", 2799, 0.01, 0.2),
        ("p99(latency) <= 1s during fault", 301, 0.01, math.inf),
        ('p99(latency, request="POST /b") <= 1s', 1000, 0.05, 0.2),
        ('p99(service_time, request="POST /b") <= 1s', 1000, 0.03, 0.2),
        ('p99(latency, request="POST /b", journey=Visit) <= 1s', 1000, 0.05, 0.2),
        ('availability(request="POST /b") >= 1%', 1000, 0.05, 0.2),
        ("error_rate <= 1% during fault:cut#1", 301, 0.01, math.inf),
    ],
)
def test_the_requests_of_a_filter_and_a_phase(
    measured: Measured, text: str, n: int, least: float, greatest: float
) -> None:
    found = population(evidence(measured)[0], text)
    assert (found.n, found.minimum, found.maximum) == (n, pytest.approx(least), pytest.approx(greatest))


def test_of_spoiled_seconds_the_failures_are_read_and_not_how_long_an_ok_request_took(measured: Measured) -> None:
    """All requests of the second from 31 on fail, none of the one from 12 on."""
    found, _ = evidence(measured, 12, 31)
    assert population(found, "p99(latency) <= 1s").n == 5900
    assert population(found, "p99(latency) <= 1s during fault").n_failed == 300
    assert population(found, 'p99(latency, request="POST /b") <= 1s').n == 900
    assert (found.requests(None), found.requests("fault"), found.requests("recovery")) == (5900, 301, 2900)


def test_outcomes_are_read_of_spoiled_seconds_too(measured: Measured) -> None:
    found, _ = evidence(measured, 12, 31)
    one = parse_objective("availability >= 1%")
    assert (found.requests_of(one.term, None).n, found.requests_of(one.term, None).n_failed) == (6000, 300)
    assert found.estimate(one).value == pytest.approx(0.95)


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

    def see(part: Samples, moments: npt.NDArray[np.float64]) -> None:
        assert len(moments) == len(part)
        seen.append(len(part))

    found.gather([parse_objective(text) for text in texts], readers=[see])
    assert (passes.count, sum(seen)) == (1, 6000)
    for text in texts:
        found.estimate(parse_objective(text))
    assert passes.count == 1


def test_who_sees_the_requests_sees_them_in_order_and_is_heard_when_it_fails(measured: Measured) -> None:
    found, _ = evidence(measured)
    seen: list[float] = []
    found.gather([parse_objective("p99(latency) <= 1s")], readers=[lambda part, _: seen.extend(part.intended_s)])
    assert len(seen) == 6000
    assert seen == sorted(seen)

    def fail(part: Samples, _: npt.NDArray[np.float64]) -> None:
        raise ValueError(f"{part.intended_s[0]} is not liked")

    with pytest.raises(ValueError, match="is not liked"):
        evidence(measured)[0].gather([parse_objective("p99(latency) <= 1s")], readers=[fail])


def test_what_was_not_gathered_is_gathered_once_when_it_is_asked_for(measured: Measured) -> None:
    found, passes = evidence(measured)
    for _ in range(3):
        population(found, "p99(latency) <= 1s during fault")
    assert passes.count == 1
    for _ in range(3):
        rate(found, "throughput >= 1/s")
    assert passes.count == 2


def test_a_second_gathering_keeps_what_is_there(measured: Measured) -> None:
    found, _ = evidence(measured)
    objective = parse_objective("p99(latency) <= 1s")
    found.gather([objective])
    before = population(found, "p99(latency) <= 1s")
    found.gather([objective, parse_objective("p99(latency) <= 1s during fault")])
    assert population(found, "p99(latency) <= 1s") is before
    assert population(found, "p99(latency) <= 1s during fault").n == 301


@pytest.mark.parametrize("gathered", [True, False])
def test_folded_latencies_are_counted_exactly_above_every_target_that_reads_them(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, gathered: bool
) -> None:
    """Two bounds on one selection; between them lies less than a bin of the histogram."""
    monkeypatch.setattr("faultload.verdict.evidence.KEEP", 100)
    found, _ = evidence(measured)
    bounds = [parse_objective(f"p99(latency) <= {ms}ms") for ms in ("49.99", "50.00", "50.01", "200")]
    term = bounds[0].term
    if gathered:
        found.gather(bounds)
        whole = found.requests_of(term, None)
        assert not whole.exact
        assert [whole.count_above(one.target.value) for one in bounds] == [1300, 800, 800, 300]
    else:
        assert found.requests_of(term, None, 0.05).count_above(0.05) == 800


def rate(evidence: Evidence, text: str) -> float:
    """The requests a second that an objective on throughput reads."""
    one = parse_objective(text)
    counter = evidence.completions(one.term, one.phase)
    assert counter is not None
    value = counter.estimate().value
    assert value is not None
    return value


def test_throughput_is_of_what_ended_well_in_the_longest_stretch(measured: Measured) -> None:
    """Of 28 seconds before the fault and none after it, as the recovery lasts until the end."""
    found, _ = evidence(measured)
    assert rate(found, "throughput >= 1/s") == pytest.approx(5700 / 60, abs=0.1)
    assert rate(found, "throughput >= 1/s during baseline") == pytest.approx(100, abs=0.2)
    assert rate(found, "throughput >= 1/s during recovery") == pytest.approx(100, abs=0.2)
    assert rate(found, 'throughput(request="POST /b") >= 1/s during baseline') == pytest.approx(1000 / 28, abs=0.1)


def test_spoiled_seconds_count_in_the_bounds_of_a_throughput_alone(measured: Measured) -> None:
    """Of the two, that from 31 on had no request that ended well."""
    one = parse_objective("throughput >= 1/s of run")
    trusted, clean = (evidence(measured, *spoiled)[0].estimate(one) for spoiled in ((12, 31), ()))
    assert trusted.value == pytest.approx(5600 / 58, abs=0.1)
    assert trusted.low == pytest.approx(clean.low)
    assert trusted.why == "the 2 s that the generator spoiled count in the bounds alone"


def test_a_phase_that_did_not_happen_has_no_throughput(measured: Measured) -> None:
    one = parse_objective("throughput >= 1/s during cooldown")
    assert evidence(measured)[0].completions(one.term, one.phase) is None


def test_filters_select_the_same_in_any_order_and_are_read_once(measured: Measured) -> None:
    found, passes = evidence(measured)
    for filters in ('request="POST /b", journey=Visit', 'journey=Visit, request="POST /b"'):
        assert population(found, f"p99(latency, {filters}) <= 1s").n == 1000
    assert passes.count == 1
    assert population(found, "budget(99%, 1h, events=1000) <= 1%").n == 6000, "events are none of requests"


def test_iterations_are_counted_by_when_they_were_due_and_by_journey(measured: Measured) -> None:
    found, _ = evidence(measured)
    assert found.iterations({}, None) == (6000, 5700)
    assert found.iterations({}, "fault") == (300, 0)
    assert found.iterations({"journey": "Visit"}, "baseline") == (2800, 2800)
    assert found.iterations({"journey": "Nobody"}, None) == (0, 0)
    assert found.iterations({"variant": "blue"}, None) == (0, 0)


def test_why_a_fault_has_no_recovery(measured: Measured) -> None:
    held = FaultTimes("kill", 2, "kill", gate=False, gate_why="not ready")
    passed = FaultTimes("cut", 1, "pause", gate=True)
    found = replace(evidence(measured)[0], measured=replace(measured, faults=[passed, held]))
    assert found.why_not_injected("kill") == "kill#2 was not injected: not ready"
    assert found.why_not_injected("") == "kill#2 was not injected: not ready"
    assert found.why_not_injected("cut") == "fault 'cut' was not injected"
    none = replace(found, measured=replace(measured, faults=[]))
    assert none.why_not_injected("") == "no fault was injected"
