"""`warmup: auto`: where MSER-5 ends the warm-up, and what is said where it does not, or cannot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from drawn_run import Stretch, Strike, draw

from faultload.report.html import render_html
from faultload.report.markdown import render_summary
from faultload.report.terminal import print_verdict
from faultload.verdict.judge import Judgement, judge
from faultload.verdict.phases import Span

COLD = [Stretch(2, 6, 0.4), Stretch(6, 10, 0.08)]
"""The first eight of sixty seconds of constant load, on the run's clock; 10 ms from then on."""
DRIFT = [Stretch(2 + 3 * k, 5 + 3 * k, 0.4 - 0.02 * k) for k in range(20)]
"""Faster with each three seconds until the end: no steady state."""
LIMIT = "p99(latency) <= 100ms during baseline"


def judgement(path: Path, *objectives: str, auto: bool = True, **drawn: Any) -> Judgement:
    return judge(draw(path / "run", *objectives, scenario={"warmup": "auto"} if auto else {}, **drawn))


def test_the_warm_up_ends_where_the_series_settles(tmp_path: Path) -> None:
    found = judgement(
        tmp_path, LIMIT, "availability >= 99%", "p99(latency) <= 100ms during warmup of run", stretches=COLD
    )
    assert found.verdict["warmup"] == {
        "ends_at": pytest.approx(10.005),
        "by": "MSER-5",
        "why": "MSER-5 leaves out the first 8 s of constant load as warm-up (800 of 6,000 requests)",
    }
    assert [(one["verdict"], one["n"]) for one in found.verdict["objectives"]] == [
        ("PASS", 5200),
        ("PASS", 5200),
        ("FAIL", 800),
    ]
    assert found.phases.spans[0] == Span("warmup", 2.0, pytest.approx(10.005))


def test_a_run_without_it_is_judged_whole_and_told_what_it_would_leave_out(tmp_path: Path) -> None:
    found = judgement(tmp_path, f"{LIMIT} of run", auto=False, stretches=COLD).verdict
    assert [(one["verdict"], one["n"]) for one in found["objectives"]] == [("FAIL", 6000)]
    assert found["warmup"] == {
        "ends_at": 2.0,
        "by": "ramps",
        "proposed_at": pytest.approx(10.005),
        "why": "MSER-5 would leave out the first 8 s of constant load as warm-up (800 of 6,000 requests): "
        "`warmup: auto` does",
    }


@pytest.mark.parametrize("stretches", [[], [Stretch(2, 2.5, 0.4)], DRIFT], ids=["none", "half a second", "drift"])
def test_nothing_is_proposed_where_it_is_not_worth_a_sentence(tmp_path: Path, stretches: list[Stretch]) -> None:
    assert "warmup" not in judgement(tmp_path, auto=False, stretches=stretches).verdict


def test_a_load_that_is_steady_from_its_start_loses_nothing(tmp_path: Path) -> None:
    found = judgement(tmp_path, LIMIT).verdict
    assert found["objectives"][0]["n"] == 6000
    assert found["warmup"]["why"] == "MSER-5 sees no warm-up in 6,000 requests of constant load"


def test_it_begins_where_the_ramps_end_and_reaches_to_the_first_change_of_the_load(tmp_path: Path) -> None:
    """Ten seconds of ramp, then slow until 20, then constant until the step at 42: nobody asks what is after it."""
    stages = [{"ramp": "100/s", "over": "10s"}, {"hold": "30s"}, {"step": "50/s", "for": "20s"}]
    slow = [Stretch(2, 12, 3.0), Stretch(12, 20, 0.4), Stretch(42, 62, 0.5)]
    found = judgement(tmp_path, stages=stages, stretches=slow).verdict["warmup"]
    assert found["ends_at"] == pytest.approx(20.005)
    assert "(800 of 3,000 requests)" in found["why"]


def test_what_it_leaves_out_is_counted_where_it_failed(tmp_path: Path) -> None:
    found = judgement(tmp_path, stretches=[Stretch(2, 6, 0.4, "http_error", every=2), *COLD[1:]]).verdict
    assert found["objectives"][0]["estimate"] == 100.0
    assert "(800 of 6,000 requests, 200 of them failed)" in found["warmup"]["why"]


def test_a_fault_ends_what_it_looks_at_and_what_was_in_flight_then_is_not_in_it(tmp_path: Path) -> None:
    """28 s of constant load before the fault, whose last second hangs until it is undone."""
    hang = [*COLD, Stretch(29, 33, 4.0)]
    found = judgement(tmp_path, "ttr <= 20s", stretches=hang, strikes=[Strike(30, 33)]).verdict
    assert found["warmup"]["ends_at"] == pytest.approx(10.005)
    assert (
        "(800 of 2,699 requests)" in found["warmup"]["why"] or "(800 of 2,700 requests)" in found["warmup"]["why"]
    )


def test_without_a_steady_state_nothing_that_reads_the_baseline_passes(tmp_path: Path) -> None:
    found = judgement(
        tmp_path,
        "p99(latency) <= 1s during baseline",
        "p50(latency) <= 10ms during baseline",
        "availability >= 99%",
        "availability >= 99% during fault",
        "ttr <= 20s",
        "throughput >= 1/s during all",
        stretches=DRIFT,
        strikes=[Strike(50, 55)],
    ).verdict
    verdicts = [one["verdict"] for one in found["objectives"]]
    assert verdicts == ["INCONCLUSIVE", "INCONCLUSIVE", "INCONCLUSIVE", "PASS", "INCONCLUSIVE", "PASS"]
    why = found["warmup"]["why"]
    assert why.startswith("no steady state was seen: after ")
    assert (found["warmup"]["by"], found["warmup"]["ends_at"]) == ("ramps", 2.0)
    assert all(one["why"].startswith(why) for one in found["objectives"][:3])
    assert why in found["objectives"][4]["why"]


def test_without_a_steady_state_harm_that_the_run_showed_still_fails(tmp_path: Path) -> None:
    """One request in twenty fails, from the first to the last."""
    failing = Stretch(2, 62, 0.01, "http_error", every=20)
    found = judgement(tmp_path, "availability >= 99%", stretches=[*DRIFT, failing]).verdict
    assert found["warmup"]["why"].startswith("no steady state")
    assert found["verdict"] == "FAIL"


def test_too_few_requests_show_no_steady_state(tmp_path: Path) -> None:
    found = judgement(tmp_path, seconds=[3.0 + k for k in range(49)]).verdict
    assert found["warmup"]["why"] == (
        "no steady state was seen: 49 observations are too few to see a warm-up: at least 50 are needed"
    )
    assert found["objectives"][0]["verdict"] == "INCONCLUSIVE"


def test_the_same_record_gives_the_same_warm_up(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", LIMIT, scenario={"warmup": "auto"}, stretches=COLD)
    assert judge(run).verdict == judge(run).verdict


def test_every_report_has_the_sentence(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", LIMIT, scenario={"warmup": "auto"}, stretches=COLD)
    found, printed = judge(run), io.StringIO()
    print_verdict(found.verdict, run.path, printed)
    for text in (printed.getvalue(), render_summary([(run.path, found.verdict)]), render_html(run, found)):
        assert "MSER-5 leaves out the first 8 s of constant load as warm-up" in text
