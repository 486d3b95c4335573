"""Spoiled seconds: those in which the generator was late, busy or silent, where an objective minds; no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_run import Stretch, Strike, draw
from run_files import info

from faultload.record.measured import read_measured
from faultload.spec.objective import parse_objective
from faultload.verdict.judge import Judgement, judge
from faultload.verdict.phases import phases_of
from faultload.verdict.spoilage import spoilage
from faultload_analysis.latency.generator import Slips

LAG = {"loop_lag_p99_ms": 12.0}
"""More than the 10 ms that the generator may be late under a tight bound, less than 5 % of half a second."""


def spoiled(judgement: Judgement) -> list[float]:
    """The seconds of the run's clock that are spoiled, by when each begins."""
    found = judgement.spoiled
    return [found.start_s + at for at in np.flatnonzero(found.mask).tolist()]


def judged(tmp_path: Path, *objectives: str, **drawn: Any) -> list[float]:
    return spoiled(judge(draw(tmp_path / "run", *objectives, **drawn)))


@pytest.mark.parametrize("start_s", [2.0, 7.0, 2.4])
def test_a_second_is_spoiled_by_a_bound_of_its_own_phase_wherever_the_load_began(
    tmp_path: Path, start_s: float
) -> None:
    """A fault from 30 to 33 has the only tight bound; a health event speaks of the second before it."""
    found = judged(
        tmp_path,
        "p99(latency) <= 20ms during fault",
        start_s=start_s,
        strikes=[Strike(30, 33)],
        ill={float(second): LAG for second in range(25, 40)},
    )
    assert found == [30, 31, 32]


def test_a_named_stage_has_its_own_bound(tmp_path: Path) -> None:
    stages = [{"step": "100/s", "for": "20s"}, {"step": "100/s", "for": "20s", "phase": "rush"}]
    found = judged(
        tmp_path,
        "p99(latency) <= 20ms during rush",
        stages=stages,
        start_s=2.0,
        ill=dict.fromkeys(np.arange(3.0, 43.0), LAG),
    )
    assert found == list(range(22, 42))


def test_the_tightest_of_several_bounds_counts_whichever_is_written_first(tmp_path: Path) -> None:
    bounds = ["p99(latency) <= 20ms", "p99(latency) <= 2s"]
    for number, ordered in enumerate((bounds, bounds[::-1])):
        assert judged(tmp_path / str(number), *ordered, ill={20.0: LAG}) == [19]


@pytest.mark.parametrize(
    ("objective", "lag_ms", "expected"),
    [
        ("availability >= 1%", 500.0, []),
        ("availability >= 1%", 501.0, [19]),
        ("p99(service_time) <= 20ms", 12.0, [19]),
        ("mean(latency) <= 20ms", 12.0, [19]),
        ("p99(latency) <= 0ms", 12.0, []),
        ("p99(latency) <= 20s", 501.0, [19]),
    ],
)
def test_failures_are_read_by_the_time_out_and_latencies_by_their_bound(
    tmp_path: Path, objective: str, lag_ms: float, expected: list[float]
) -> None:
    """The generator may be late by 5 % of the bound: half a second of a time-out of ten; a lag reaches back."""
    found = judged(tmp_path, objective, ill={20.5: {}, 20.0: {"loop_lag_p99_ms": lag_ms}})
    assert [one for one in found if one >= 19] in (expected, [*expected, 20.0] if expected else expected)


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        (["p99(latency) <= 100ms during baseline"], []),
        (["p99(latency) <= 100ms during baseline", "ttr <= 9s"], [31]),
        (["p99(latency) <= 100ms during baseline", "ttd <= 9s"], [31]),
        (["p99(latency) <= 100ms during baseline", "mttr <= 9s"], [31]),
        (["ttr <= 9s"], []),
        (["p99(latency) <= 100ms during baseline", "throughput >= 1/s"], []),
    ],
    ids=["none asks", "ttr", "ttd", "mttr", "no limit is declared", "another asks"],
)
def test_recovery_is_read_by_the_latency_limit_of_the_baseline_where_an_objective_asks_for_it(
    tmp_path: Path, objectives: list[str], expected: list[float]
) -> None:
    """A lag of 12 ms during a fault: more than 5 % of 100 ms, which during baseline alone no one minds there."""
    assert judged(tmp_path, *objectives, strikes=[Strike(30, 33)], ill={32.0: LAG}) == expected


def test_a_record_without_a_time_out_is_of_one_of_ten_seconds(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", ill={20.0: {"loop_lag_p99_ms": 480.0}, 40.0: {"loop_lag_p99_ms": 520.0}})
    known = info(run)
    del known["load"]["timeout_s"]
    (run.path / "run.json").write_text(json.dumps(known))
    assert 39 in spoiled(judge(run))
    assert 19 not in spoiled(judge(run))


def test_only_the_seconds_that_the_slips_are_of_are_judged(tmp_path: Path) -> None:
    measured = read_measured(draw(tmp_path / "run", ill={20.0: LAG, 50.0: LAG}))
    bound = [parse_objective("p99(latency) <= 20ms")]
    for first, seconds, expected in ((2.0, 30, [17]), (10.0, 30, [9]), (40.0, 22, [9])):
        slips = Slips(first, np.zeros(seconds), None)
        found = spoilage(measured, slips, bound, phases_of(measured, {}), None)
        assert (found.start_s, found.mask.size, np.flatnonzero(found.mask).tolist()) == (first, seconds, expected)


def test_late_slots_spoil_their_own_second(tmp_path: Path) -> None:
    found = judged(tmp_path, "p99(latency) <= 20ms", stretches=[Stretch(25, 26, latency_s=0.1, slip_s=0.05)])
    assert found == [25]


def test_a_wait_that_the_target_caused_spoils_nothing(tmp_path: Path) -> None:
    found = judged(tmp_path, "p99(latency) <= 20ms", stretches=[Stretch(25, 26, latency_s=0.1, waited_s=0.05)])
    assert found == []


@pytest.mark.parametrize(
    "ill",
    [{"cpu_percent": None}, {"loop_lag_p99_ms": None}, {"cpu_percent": "high"}, {"cpu_percent": 99.0}],
    ids=["no cpu", "no lag", "not a number", "busy"],
)
def test_a_second_without_health_is_spoiled_as_a_busy_one(tmp_path: Path, ill: dict[str, Any]) -> None:
    """Three in a row: a health event counts for the half seconds around it too."""
    found = judged(tmp_path, "p99(latency) <= 1s", ill=dict.fromkeys((20.0, 21.0, 22.0), ill))
    assert 20.0 in found
    assert set(found) <= {19.0, 20.0, 21.0}


def test_slow_answers_excuse_a_tenth_of_themselves(tmp_path: Path) -> None:
    slow = {"loop_lag_p99_ms": 90.0, "p50_ms": 1000.0}
    assert judged(tmp_path / "slow", "p99(latency) <= 100ms", ill={20.0: slow}) == []
    assert 19.0 in judged(tmp_path / "fast", "p99(latency) <= 100ms", ill={20.0: {**slow, "p50_ms": 800.0}})
    assert 19.0 in judged(tmp_path / "none", "p99(latency) <= 100ms", ill={20.0: {**slow, "p50_ms": None}})


def test_every_worker_is_judged_and_one_is_enough_to_spoil_a_second(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", "p99(latency) <= 100ms", load={"workers": 2})
    for second in np.arange(3.0, 63.0):
        lag = 30.0 if second == 41.0 else 1.0
        run.event("health", t=float(second), worker=1, loop_lag_p99_ms=lag, cpu_percent=30.0, p50_ms=10.0)
    assert spoiled(judge(run)) == [40]


def test_a_worker_that_left_no_health_spoils_every_second(tmp_path: Path) -> None:
    judgement = judge(draw(tmp_path / "run", "p99(latency) <= 100ms", load={"workers": 2}))
    assert judgement.spoiled.mask.all()
    assert judgement.verdict["generator"]["spoiled_s"] == 60
    assert judgement.verdict["generator"]["reasons"] == ["health not measured in 60 s"]


def test_the_reasons_are_those_of_the_strictest_bound(tmp_path: Path) -> None:
    judgement = judge(
        draw(tmp_path / "run", "p99(latency) <= 20ms during fault", strikes=[Strike(30, 33)], ill={32.0: LAG})
    )
    assert judgement.verdict["generator"]["reasons"] == ["loop lag over 10 ms in 1 s"]


def test_the_first_and_the_last_second_are_judged_as_any_other(tmp_path: Path) -> None:
    assert judged(tmp_path, "p99(latency) <= 20ms", ill={3.0: LAG, 62.0: LAG}) == [2, 61]


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ({"loop_lag_p99_ms": 25.0}, []),
        ({"loop_lag_p99_ms": 25.01}, [19]),
        ({"loop_lag_p99_ms": 99.95, "p50_ms": 1000.0}, []),
        ({"loop_lag_p99_ms": 100.05, "p50_ms": 1000.0}, [19]),
    ],
)
def test_a_lag_is_one_from_its_limit_on_to_a_hundredth_of_a_millisecond(
    tmp_path: Path, health: dict[str, Any], expected: list[float]
) -> None:
    """5 % of a bound of half a second; a tenth of what requests take, where that is more."""
    found = judged(tmp_path, "p99(latency) <= 500ms", ill={20.0: health})
    assert [one for one in found if one <= 19] == expected


FAILING = Stretch(20, 23, outcome="http_error")
"""Three seconds in which every request fails."""
ILL = {end: {"loop_lag_p99_ms": 60.0} for end in (21.0, 22.0, 23.0)}


def test_an_outage_that_explains_the_lag_spoils_nothing(tmp_path: Path) -> None:
    judgement = judge(draw(tmp_path / "run", "p99(latency) <= 100ms", stretches=[FAILING], ill=ILL))
    assert 20 not in spoiled(judgement) and 21 not in spoiled(judgement) and 22 not in spoiled(judgement)
    assert judgement.verdict["generator"]["reasons"][-1] == "3 s of it were an outage of the target, and count"


def test_a_busy_processor_is_explained_by_an_outage_as_a_lag_is(tmp_path: Path) -> None:
    ill = {end: {"cpu_percent": 99.0} for end in (21.0, 22.0, 23.0)}
    assert judged(tmp_path / "outage", "p99(latency) <= 100ms", stretches=[FAILING], ill=ill) == []
    assert judged(tmp_path / "none", "p99(latency) <= 100ms", ill=ill) == [20, 21, 22]


@pytest.mark.parametrize(
    "ill",
    [{"loop_lag_p99_ms": 600.0}, {"loop_lag_p99_ms": None}, {"cpu_percent": None}],
    ids=["so late that requests may have run into their time-out", "no lag", "no cpu"],
)
def test_an_outage_does_not_explain_what_may_have_caused_it(tmp_path: Path, ill: dict[str, Any]) -> None:
    found = judged(
        tmp_path,
        "p99(latency) <= 100ms",
        stretches=[FAILING],
        ill=dict.fromkeys((20.0, 21.0, 22.0, 23.0, 24.0), ill),
    )
    assert {20, 21, 22} <= set(found)


def test_requests_that_fail_when_they_end_explain_the_second_in_which_they_end(tmp_path: Path) -> None:
    """All users hang from 20 on and fail together at 28, which keeps the generator busy for a moment."""
    late = [20 + at / 100 for at in range(400)]
    hang = [Stretch(at, at + 0.01, latency_s=28.2 - at, outcome="timeout") for at in late]
    quiet = [second for second in np.arange(2.005, 62, 0.01) if not 24 <= second < 28.5]
    run = draw(tmp_path / "run", "p99(latency) <= 100ms", stretches=hang, seconds=quiet)
    run.event("health", t=28.6, worker=0, loop_lag_p99_ms=60.0, cpu_percent=30.0, p50_ms=10.0)
    assert 28 not in spoiled(judge(run))


def test_failures_in_spoiled_seconds_count_for_every_objective(tmp_path: Path) -> None:
    """A third of the requests of 2 of 60 seconds fail: no outage, so the ok ones are left out of latencies."""
    run = draw(
        tmp_path / "run",
        "p99(latency) <= 20ms",
        "availability >= 99.9%",
        "budget(99.9%, 30d) <= 0.001%",
        "burn_rate(99.9%) <= 1",
        stretches=[Stretch(20 + at / 100, 20 + (at + 1) / 100, outcome="http_error") for at in range(0, 200, 3)],
        ill={21.0: LAG, 22.0: LAG},
    )
    judgement = judge(run)
    assert spoiled(judgement) == [20, 21]
    latency, availability, budget, burn = judgement.verdict["objectives"]
    assert latency["n"] == 5800 + 67
    assert availability["estimate"] == pytest.approx(100 * (1 - 67 / 6000))
    assert {one["verdict"] for one in (availability, budget, burn)} == {"FAIL"}


@pytest.mark.parametrize("lag_ms", [1.0, 12.0, 60.0, 600.0, 5000.0])
@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_whatever_the_generators_health_an_outage_never_passes(tmp_path: Path, lag_ms: float, share: float) -> None:
    every = round(1 / share)
    run = draw(
        tmp_path / "run",
        "availability >= 99.9%",
        stretches=[
            Stretch(20 + at / 100, 20 + (at + 1) / 100, outcome="http_error") for at in range(0, 200, every)
        ],
        ill={end: {"loop_lag_p99_ms": lag_ms} for end in (21.0, 22.0)},
    )
    assert judge(run).verdict["verdict"] in ("FAIL", "INVALID")
