"""What a run showed is judged as what the run showed; beyond it, an objective speaks of the system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn_run import Stretch, Strike, draw

from faultload.report import wording
from faultload.report.markdown import render_summary
from faultload.verdict.judge import judge

FREEZE = Stretch(10, 13, 3.05)
SLOW = Stretch(100, 430, 5.0)


def one(tmp_path: Path, objective: Any, **drawn: Any) -> dict[str, Any]:
    """What became of one objective."""
    (found,) = judge(draw(tmp_path / "run", objective, **drawn)).verdict["objectives"]
    return found  # type: ignore[no-any-return]


# -- of the run


def test_one_burst_does_not_make_availability_during_a_fault_undecidable(tmp_path: Path) -> None:
    """2 of 60 s fail: 96.7 % of these users' requests were good, whatever the next fault will do."""
    strikes = [Strike(30, 90)]
    drawn: dict[str, Any] = {"stages": ({"hold": "120s"},), "stretches": [Stretch(30, 32, 0.01, "http_error")]}
    found = one(tmp_path, "availability >= 50% during fault:cut", strikes=strikes, **drawn)
    assert (found["verdict"], found["statement"]) == ("PASS", "run")
    assert found["estimate"] == pytest.approx(96.67, abs=0.02)
    assert 96 < found["interval"][0] < found["estimate"]
    assert (found["missed"], found["showed"]) == (200, "200 of 6,001 failed")  # one was in flight at the injection
    assert "availability during fault:cut is 96.6672% in this run" in found["why"]


def test_of_the_system_the_same_burst_is_one_event(tmp_path: Path) -> None:
    strikes = [Strike(30, 90)]
    drawn: dict[str, Any] = {"stages": ({"hold": "120s"},), "stretches": [Stretch(30, 32, 0.01, "http_error")]}
    found = one(tmp_path, "availability >= 50% during fault:cut of system", strikes=strikes, **drawn)
    assert (found["verdict"], found["statement"]) == ("INCONCLUSIVE", "system")
    assert found["why"].endswith("; this run showed 200 of 6,001 failed: PASS `of run`")


@pytest.mark.parametrize("objective", ["p50(latency) <= 500ms", "p99(latency) <= 500ms", "p99.9(latency) <= 4s"])
def test_more_than_half_of_the_time_at_five_seconds_misses_a_latency_of_the_run(
    tmp_path: Path, objective: str
) -> None:
    drawn: dict[str, Any] = {"stages": ({"hold": "600s"},), "rate": 10, "stretches": [SLOW]}
    assert one(tmp_path, f"{objective} of run", **drawn)["verdict"] == "FAIL"


def test_of_the_system_that_one_event_is_undecided_and_what_the_run_showed_is_said(tmp_path: Path) -> None:
    drawn: dict[str, Any] = {"stages": ({"hold": "600s"},), "rate": 10, "stretches": [SLOW]}
    found = one(tmp_path, "p50(latency) <= 500ms", **drawn)
    assert (found["verdict"], found["statement"]) == ("INCONCLUSIVE", "system")
    assert found["why"].endswith("; this run showed 3,300 of 6,000 over 500ms: FAIL `of run`")


def test_a_freeze_that_no_request_outlasted_passes_a_longer_limit_of_the_run(tmp_path: Path) -> None:
    drawn: dict[str, Any] = {"stages": ({"hold": "20s"},), "rate": 500, "stretches": [FREEZE]}
    of_run = one(tmp_path / "run", "p99(latency) <= 10s of run", **drawn)
    assert (of_run["verdict"], of_run["showed"], of_run["missed"]) == ("PASS", "0 of 10,000 over 10s", 0)
    of_system = one(tmp_path / "system", "p99(latency) <= 10s", **drawn)
    assert of_system["verdict"] == "INCONCLUSIVE"
    assert "; this run showed 0 of 10,000 over 10s: PASS `of run`" in of_system["why"]


@pytest.mark.parametrize(
    ("objective", "needed"),
    [
        ("p50(latency) <= 1s", 5),
        ("p95(latency) <= 1s", 59),
        ("p99(latency) <= 1s", 299),
        ("availability >= 99%", 299),
        ("error_rate <= 5%", 59),
        ("p99.9(latency) <= 1s", 2995),
        ("availability >= 99.9%", 2995),
    ],
)
def test_a_pass_needs_as_many_requests_as_independent_ones_would(
    tmp_path: Path, objective: str, needed: int
) -> None:
    due = [3.0 + 50.0 * k / needed for k in range(needed)]
    enough = one(tmp_path / "enough", f"{objective} of run", seconds=due)
    assert (enough["verdict"], enough["n"], enough["n_eff"]) == ("PASS", needed, needed)
    few = one(tmp_path / "few", f"{objective} of run", seconds=due[:-1])
    assert (few["verdict"], few["n"]) == ("INCONCLUSIVE", needed - 1)
    what = "failed" if "latency" not in objective else "over 1s"
    assert few["why"].endswith(f"; with 0 {what}, a PASS needs n of at least {needed:,}")


def test_a_fail_needs_no_number_of_requests(tmp_path: Path) -> None:
    due = [3.0, 4.0, 5.0]
    found = one(tmp_path, "availability >= 99%", seconds=due, stretches=[Stretch(3.5, 4.5, 0.01, "http_error")])
    assert found["verdict"] == "FAIL"
    assert found["why"] == "availability is 66.67% in this run (n 3); the target is at least 99%"


def test_two_failures_of_three_thousand_do_not_show_three_nines(tmp_path: Path) -> None:
    """A true 99.8 % has so few in 6 of 100 runs: 99.93 % of 3,000 are no PASS."""
    bad = [Stretch(20, 20.02, 0.01, "http_error")]
    found = one(tmp_path, "availability >= 99.9%", stages=({"hold": "30s"},), stretches=bad)
    assert (found["verdict"], found["missed"], found["n"]) == ("INCONCLUSIVE", 2, 3000)
    assert found["estimate"] == pytest.approx(100 * 2998 / 3000)
    assert found["why"].endswith("; with 2 failed, a PASS needs n of at least 6,294")


def test_what_was_spent_of_a_budget_says_what_a_pass_needs(tmp_path: Path) -> None:
    """A minute in which 0.1 % fail spends as much of 30 days at 99.9 % as it lasts of them: 0.0023148 %."""
    found = one(tmp_path, "burn_rate(99.9%) <= 1", seconds=[3.0 + 0.1 * k for k in range(500)])
    assert (found["verdict"], found["statement"]) == ("INCONCLUSIVE", "run")
    assert found["why"].endswith("; with 0 failed, a PASS needs n of at least 2,995")
    text = "budget(99.9%, 30d) <= 0.0023148%"
    spent = one(tmp_path / "budget", text, seconds=[3.0 + 0.1 * k for k in range(500)])
    assert spent["why"].endswith("; with 0 failed, a PASS needs n of at least 2,995")


def test_a_mean_of_the_run_ignores_that_its_requests_depend(tmp_path: Path) -> None:
    drawn: dict[str, Any] = {"stages": ({"hold": "60s"},), "stretches": [Stretch(20, 40, 0.5)]}
    assert one(tmp_path / "system", "mean(latency) <= 200ms", **drawn)["verdict"] == "INCONCLUSIVE"
    assert one(tmp_path / "run", "mean(latency) <= 200ms of run", **drawn)["verdict"] == "PASS"
    assert one(tmp_path / "missed", "mean(latency) <= 100ms of run", **drawn)["verdict"] == "FAIL"


def test_a_throughput_of_the_run_ignores_that_its_seconds_depend(tmp_path: Path) -> None:
    drawn: dict[str, Any] = {"stages": ({"hold": "60s"},), "stretches": [Stretch(20, 40, 0.01, "http_error")]}
    assert one(tmp_path / "system", "throughput >= 50/s", **drawn)["verdict"] == "INCONCLUSIVE"
    assert one(tmp_path / "run", "throughput >= 50/s of run", **drawn)["verdict"] == "PASS"
    assert one(tmp_path / "missed", "throughput >= 70/s of run", **drawn)["verdict"] == "FAIL"


# -- the scenario's default


def test_statements_run_makes_a_short_run_decide_on_what_it_saw(tmp_path: Path) -> None:
    drawn: dict[str, Any] = {"stages": ({"hold": "20s"},), "rate": 500, "stretches": [FREEZE]}
    run = draw(tmp_path / "run", "p99(latency) <= 10s", scenario={"statements": "run"}, **drawn)
    verdict = judge(run).verdict
    assert (verdict["verdict"], verdict["statements"]) == ("PASS", "run")
    assert verdict["objectives"][0]["statement"] == "run"
    first = "statements: run: what this run showed is judged"
    assert wording.headline(verdict).startswith(first)
    assert first in render_summary([(run.path, verdict)]).splitlines()[2]


def test_an_objective_may_still_speak_of_the_system(tmp_path: Path) -> None:
    drawn: dict[str, Any] = {"stages": ({"hold": "20s"},), "rate": 500, "stretches": [FREEZE]}
    found = one(tmp_path, "p99(latency) <= 10s of system", scenario={"statements": "run"}, **drawn)
    assert (found["verdict"], found["statement"]) == ("INCONCLUSIVE", "system")


def test_without_it_no_report_says_so(tmp_path: Path) -> None:
    verdict = judge(draw(tmp_path / "run", "p50(latency) <= 1s")).verdict
    assert "statements" not in verdict
    assert wording.headline(verdict) == "The one objective was met."
