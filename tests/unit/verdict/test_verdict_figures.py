"""The figures of a verdict and why it is what it is: offered, achieved, latencies, budgets, reasons, exit code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from drawn_run import Stretch, Strike, draw
from run_files import faults

from faultload.errors import ExitCode
from faultload.record.directory import RunDirectory, append_line
from faultload.verdict.judge import judge

LIMIT = "p99(latency) <= 500ms during baseline"
OUT = Stretch(30, 33, 5.0, "timeout")
CUT = Strike(30, 33)


def verdict(tmp_path: Path, *objectives: Any, **drawn: Any) -> dict[str, Any]:
    return judge(draw(tmp_path / "run", *objectives, **drawn)).verdict


def one(tmp_path: Path, objective: Any, **drawn: Any) -> dict[str, Any]:
    """What became of one objective."""
    (found,) = verdict(tmp_path, objective, **drawn)["objectives"]
    return found  # type: ignore[no-any-return]


# -- the generator


def test_offered_is_what_was_due_and_achieved_what_began_each_second(tmp_path: Path) -> None:
    """60 s at 100/s; what was dropped was due and did not begin, and what failed did begin."""
    stretches = [Stretch(20, 26, 0.0, "dropped"), Stretch(40, 41, 5.0, "timeout")]
    found = verdict(tmp_path, stretches=stretches)["generator"]
    assert (found["offered"], found["achieved"], found["dropped"]) == (100.0, 90.0, 600)


def test_the_generators_figures_are_in_milliseconds_percent_and_seconds(tmp_path: Path) -> None:
    stretches = [Stretch(20, 22, 0.1, slip_s=0.04, waited_s=0.025)]
    ill = {30.0: {"loop_lag_p99_ms": 7.25, "cpu_percent": 61.0}}
    found = verdict(tmp_path, "p99(latency) <= 20ms", stretches=stretches, ill=ill)["generator"]
    assert found["slip_p99_ms"] == pytest.approx(40.0)
    assert found["loop_lag_p99_ms"] == pytest.approx(7.25)
    assert (found["cpu_percent"], found["waited_max_s"], found["spoiled_s"]) == (61.0, 0.025, 2)
    assert found["reasons"] == ["slip P99 over 10 ms in 2 s"]


def test_without_any_health_the_generators_figures_are_open(tmp_path: Path) -> None:
    ill = {float(second): {"loop_lag_p99_ms": None, "cpu_percent": None} for second in range(3, 63)}
    found = verdict(tmp_path, ill=ill)["generator"]
    assert (found["loop_lag_p99_ms"], found["cpu_percent"], found["spoiled_s"]) == (None, None, 60)


# -- latencies by request


def test_requests_are_told_by_name_and_together_without_warm_up(tmp_path: Path) -> None:
    stages = [{"ramp": "100/s", "over": "10s"}, {"hold": "50s"}]
    stretches = [
        Stretch(0, 12, 9.0),
        Stretch(20, 30, 0.2, request="POST /b"),
        Stretch(30, 31, 0.3, "http_error", request="POST /b"),
    ]
    all_, get, post = verdict(tmp_path, stages=stages, stretches=stretches)["requests"]
    assert [row["request"] for row in (all_, get, post)] == ["all", "GET /", "POST /b"]
    assert [(row["n"], row["failed"]) for row in (all_, get, post)] == [(5000, 100), (3900, 0), (1100, 100)]
    assert (get["p50"], get["p99_9"], get["max"], get["mean"]) == pytest.approx((10, 10, 10, 10))
    assert (post["p50"], post["ok_max"], post["mean"]) == pytest.approx((200, 200, 200))
    assert (post["p95"], all_["max"]) == (float("inf"), float("inf"))


def test_what_nobody_asked_for_after_the_warm_up_has_no_row(tmp_path: Path) -> None:
    stages = [{"ramp": "100/s", "over": "10s"}, {"hold": "50s"}]
    rows = verdict(tmp_path, stages=stages, stretches=[Stretch(0, 12, request="GET /warm")])["requests"]
    assert [row["request"] for row in rows] == ["all", "GET /"]


def test_where_everything_failed_there_is_no_mean(tmp_path: Path) -> None:
    (row, _) = verdict(tmp_path, stretches=[Stretch(0, 99, 5.0, "timeout")])["requests"]
    assert (row["mean"], row["ok_p50"], row["failed"]) == (None, None, 6000)


# -- objectives


def test_an_objective_keeps_what_the_scenario_says_of_it(tmp_path: Path) -> None:
    said = {
        "objective": LIMIT,
        "name": "Fast",
        "critical": True,
        "weight": 2.5,
        "dimension": "performance",
    }
    found = one(tmp_path, said)
    kept = ("name", "critical", "weight", "dimension")
    assert [found[key] for key in kept] == ["Fast", True, 2.5, "performance"]
    shown = ("operator", "target", "unit", "estimate", "phase")
    assert [found[key] for key in shown] == ["<=", 500.0, "ms", 10.0, "baseline"]
    assert found["n_eff"] == 6000.0


def test_effective_requests_are_told_to_a_tenth(tmp_path: Path) -> None:
    outages = [Stretch(at, at + lasted, 5.0, "timeout") for at, lasted in ((20, 1), (41, 2), (55, 0.5))]
    assert one(tmp_path, "availability >= 99% of system", stretches=outages)["n_eff"] == 28.3


@pytest.mark.parametrize(
    ("objective", "unseen"),
    [
        ("p99(latency) <= 500ms", "pauses longer than 0.2 s once in 20 s"),
        ("p95(service_time) < 500ms", "pauses longer than 1 s once in 20 s"),
    ],
)
def test_a_quantile_that_passes_names_the_pauses_that_could_have_gone_unseen(
    tmp_path: Path, objective: str, unseen: str
) -> None:
    """60 s: what comes once in D / ln 20 is missing in 5 % of runs; longer than (1 - p) of that, it is too much."""
    found = one(tmp_path, objective)
    assert found["verdict"] == "PASS"
    assert f"{unseen} would break the target and could have gone unseen" in found["why"]


def test_a_quantile_that_does_not_pass_names_no_pauses(tmp_path: Path) -> None:
    for objective in ("p99(latency) <= 5ms", "p99.99(latency) <= 500ms", "p99(latency) >= 5ms"):
        assert "unseen" not in one(tmp_path / objective.partition(" ")[2], objective)["why"]


@pytest.mark.parametrize(
    ("objective", "subject"),
    [
        ("p99(latency) <= 500ms during baseline", "P99 of latency during baseline is 10ms"),
        ('p95(latency, request="GET /") <= 99ms', 'P95 of latency, request="GET /" is 10ms'),
        ("p99.9(service_time) <= 99ms", "P99.9 of service_time is 10ms"),
        ("availability >= 99%", "availability is 100%"),
        ("mean(latency) <= 99ms", "mean(latency) is 10ms"),
    ],
)
def test_a_reason_names_the_measure_as_a_person_would(tmp_path: Path, objective: str, subject: str) -> None:
    assert one(tmp_path, objective)["why"].startswith(subject)


def test_an_infinite_bound_is_told_and_a_missing_one_is_not(tmp_path: Path) -> None:
    found = one(tmp_path, "p50(latency) <= 1s during fault", stretches=[OUT], strikes=[CUT])
    assert (found["estimate"], found["verdict"]) == (float("inf"), "FAIL")
    nothing = one(tmp_path / "none", "p50(latency, journey=Nobody) <= 1s")
    assert (nothing["estimate"], nothing["interval"], nothing["n_eff"]) == (None, [None, None], None)


def test_a_run_whose_load_never_ran_judges_nothing_of_the_load(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", LIMIT, "lost_writes == 0", seconds=[])
    (run.path / "events.jsonl").write_text("")
    latency, writes = judge(run).verdict["objectives"]
    assert (latency["verdict"], writes["verdict"]) == ("INVALID", "INCONCLUSIVE")
    assert latency["why"].startswith("the load did not run")


def test_a_mean_that_passes_names_the_requests_that_could_have_gone_unseen(tmp_path: Path) -> None:
    """6,000 requests of 10 ms: one in 6,000 / ln 20 may be missing, and adds a 2003rd of its time."""
    found = one(tmp_path, "mean(latency) <= 60ms")
    assert found["verdict"] == "PASS"
    rare = "requests that take longer than 100000ms, one in 2003,"
    assert f"{rare} would break the target and could have gone unseen" in found["why"]
    for objective in ("mean(latency) <= 5ms", "mean(latency) >= 5ms", "mean(latency) <= 60ms of run"):
        assert "unseen" not in one(tmp_path / str(hash(objective)), objective)["why"]


def test_a_load_that_was_up_but_had_no_slot_did_run(tmp_path: Path) -> None:
    found = one(tmp_path, LIMIT, seconds=[])
    assert (found["verdict"], found["why"]) == ("INCONCLUSIVE", "no requests to judge") or "nothing" in found["why"]


def test_an_open_verdict_says_how_many_more_requests_would_decide(tmp_path: Path) -> None:
    """Two failures in a minute at 100/s: 99.95 % is met by the look of it, and not proven by so short a run."""
    stretches = [Stretch(20, 20.01, 5.0, "timeout"), Stretch(41, 41.01, 5.0, "timeout")]
    found = one(tmp_path, "availability >= 99.95% of system", stretches=stretches)
    assert found["verdict"] == "INCONCLUSIVE"
    assert re.search(r"; about \d+ more requests like these would decide; this run showed", found["why"])
    assert "would decide" not in one(tmp_path / "decided", "availability >= 99%", stretches=stretches)["why"]


def test_a_clean_run_says_which_outages_could_have_gone_unseen(tmp_path: Path) -> None:
    """Three arrivals, and a twentieth of the chance that one of three intervals of 20 s saw it."""
    found = one(tmp_path, "availability >= 99.9%")
    assert "less often than once in 20 s, or last under 0.03 s, could have gone unseen" in found["why"]
    assert "break the target when longer than 0.02 s" in found["why"]


# -- where the generator was the limit


LAGGING = {"loop_lag_p99_ms": 600.0}
"""Too late for anything, a time-out of ten seconds included."""


@pytest.mark.parametrize(
    ("second", "verdict"),
    [(29, "PASS"), (30, "PASS"), (31, "INVALID"), (33, "INVALID"), (34, "INVALID"), (36, "PASS")],
)
def test_a_recovery_time_is_not_trusted_where_the_generator_lagged_during_the_impact(
    tmp_path: Path, second: int, verdict: str
) -> None:
    """Impact from 30 to 33; a lag of 0.6 s reaches from its half second into the one before, or not."""
    found = one(tmp_path, "ttr <= 9s", stretches=[OUT], strikes=[CUT], ill={float(second): LAGGING})
    assert found["verdict"] == verdict
    if verdict == "INVALID":
        assert found["why"].startswith("the load generator was the limit while cut#1 had its impact (loop lag over")


def test_another_faults_bad_seconds_do_not_spoil_a_fault_that_is_named(tmp_path: Path) -> None:
    drawn: dict[str, Any] = {
        "stretches": [Stretch(20, 23, 5.0, "timeout"), Stretch(45, 48, 5.0, "timeout")],
        "strikes": [Strike(20, 23), Strike(45, 48, name="kill")],
        "ill": {47.0: LAGGING},
    }
    objectives = ("ttr(cut) <= 9s", "ttr(kill) <= 9s", "ttr <= 9s", "mttr(cut) <= 9s", "ttd(kill) <= 9s")
    found = [each["verdict"] for each in verdict(tmp_path, *objectives, **drawn)["objectives"]]
    assert found[:3] == ["PASS", "INVALID", "INVALID"]
    assert (found[3] == "INVALID", found[4]) == (False, "INVALID")


def test_a_fault_that_never_recovered_is_not_trusted_where_the_generator_lagged_in_its_watch(
    tmp_path: Path,
) -> None:
    drawn: dict[str, Any] = {"stretches": [Stretch(30, 70, 5.0, "timeout")], "strikes": [CUT]}
    assert one(tmp_path / "fine", "ttr <= 9s", **drawn)["verdict"] == "FAIL"
    assert one(tmp_path / "late", "ttr <= 9s", **drawn, ill={60.0: LAGGING})["verdict"] == "INVALID"


def test_a_fault_without_impact_has_no_time_that_could_be_spoiled(tmp_path: Path) -> None:
    found = one(tmp_path, "ttr <= 9s", strikes=[CUT], ill={32.0: LAGGING})
    assert found["verdict"] != "INVALID"


def test_a_phase_with_one_bad_second_in_twenty_can_still_be_judged(tmp_path: Path) -> None:
    for bad, expected in ((3, "PASS"), (4, "INVALID")):
        ill = {float(second): LAGGING for second in range(20, 20 + 2 * bad, 2)}
        ill = {at: {**value, "loop_lag_p99_ms": 510.0} for at, value in ill.items()}
        spoiled = judge(draw(tmp_path / str(bad), "availability >= 1%", ill=ill)).verdict
        share = spoiled["generator"]["spoiled_s"] / 60
        assert (spoiled["objectives"][0]["verdict"] == "INVALID") == (share > 0.05), expected


# -- budgets, rates of failure in production


def test_budgets_are_told_for_those_objectives_alone(tmp_path: Path) -> None:
    out = [Stretch(30, 30.6, 5.0, "timeout")]
    found = verdict(tmp_path, LIMIT, "budget(99%, 1h) <= 50%", stretches=out)["budgets"]
    (budget,) = found
    assert (budget["objective"], budget["window"]) == ("budget(99%, 1h) <= 50%", "1h")
    assert budget["burn_rate"] == pytest.approx(1.0)
    assert budget["consumed"] == pytest.approx(60 / 3600)


@pytest.mark.parametrize("declared", [True, False])
def test_availability_in_production_is_told_where_failure_rates_are_declared(
    tmp_path: Path, declared: bool
) -> None:
    rate = {"failure_rate": "1/30d"} if declared else {}
    fault = {"name": "cut", "experiment": "e.yaml", "at": "30s", **rate}
    found = verdict(tmp_path, LIMIT, stretches=[OUT], strikes=[CUT], scenario={"faults": [fault]})
    assert ("production" in found) == declared
    if declared:
        production = found["production"]
        assert production["failure_rates_per_s"] == {"cut": pytest.approx(1 / (30 * 86400))}
        assert production["mtbf_s"][0] == pytest.approx(30 * 86400)
        assert 0.99999 < production["availability"][0] < 1


def test_a_load_without_steps_says_why_it_has_no_capacity(tmp_path: Path) -> None:
    found = verdict(tmp_path, {"objective": "capacity >= 90/s", "slo": ["p99(latency) <= 1s"]})
    assert "capacity" not in found
    assert found["objectives"][0]["why"] == "capacity needs at least two steps of constant load without faults"


def test_each_step_of_a_capacity_is_trusted_or_not_by_itself(tmp_path: Path) -> None:
    """A generator that lagged in most of one step: the objective is still judged, by the others."""
    stages = [{"step": "100/s", "for": "30s"}, {"step": "99/s", "for": "30s"}]
    ill = {float(second): LAGGING for second in range(40, 60)}
    capacity = {"objective": "capacity >= 1/s", "slo": ["p99(latency) <= 1s"]}
    found = verdict(tmp_path, capacity, stages=stages, ill=ill)
    assert found["objectives"][0]["verdict"] != "INVALID"
    assert {step["verdict"] for step in found["capacity"]["steps"]} == {"PASS", "INVALID"}


# -- reasons and exit codes


def reasons(run: RunDirectory) -> list[str]:
    found: list[str] = judge(run).verdict["reasons"]
    return found


@pytest.mark.parametrize(
    ("witnessed", "reason"),
    [
        (True, []),
        (False, ["cut#1 was not witnessed: looked"]),
        (None, ["cut#1 was not witnessed: no witness looked"]),
    ],
)
def test_a_fault_that_nobody_saw_makes_a_run_invalid(
    tmp_path: Path, witnessed: bool | None, reason: list[str]
) -> None:
    assert reasons(draw(tmp_path / "run", strikes=[Strike(30, 33, witnessed=witnessed)])) == reason


def test_a_fault_that_was_planned_but_held_needs_no_witness(tmp_path: Path) -> None:
    run = draw(tmp_path / "run")
    run.event("gate", t=30.0, fault="cut", k=1, passed=False, why="not ready")
    assert reasons(run) == ["not injected: cut#1"]
    assert judge(run).exit_code is ExitCode.REFUSED


def test_a_fault_that_could_not_be_undone_says_what_is_still_there(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", strikes=[Strike(30)])
    assert reasons(run) == ["cut#1 was never undone"]
    run.event("witness", t=34.0, fault="cut", k=1, of="gone", seen=False, what="the rule is still there")
    append_line(run.faults_path, {**faults(run)[-1], "state": "UNDO_FAILED", "t": 34.0})
    assert reasons(run) == ["cut#1 could not be undone: the rule is still there"]
    assert judge(run).exit_code is ExitCode.NOT_UNDONE


def slots(run: RunDirectory, *offered: int) -> list[str]:
    for worker, count in enumerate(offered):
        run.event("note", what="slots", worker=worker, offered=count, started=count, dropped=0)
    return reasons(run)


def test_offered_slots_that_left_no_trace_are_counted(tmp_path: Path) -> None:
    drop = [Stretch(30, 31, 0.0, "dropped")]
    assert slots(draw(tmp_path / "whole", stretches=drop), 6000) == []
    assert slots(draw(tmp_path / "more", stretches=drop), 5990) == [], "the record may hold more than is needed"
    lost = slots(draw(tmp_path / "lost", stretches=drop), 6001)
    assert lost == ["1 of 6001 offered slots are missing from the record"]


def test_slots_are_missed_where_every_worker_said_how_many_it_offered(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", load={"workers": 2})
    assert not any("missing" in reason for reason in slots(run, 7000))
    two = draw(tmp_path / "two", load={"workers": 2})
    assert "1000 of 7000 offered slots are missing from the record" in slots(two, 3000, 4000)


def test_a_closed_load_offers_no_slots(tmp_path: Path) -> None:
    assert slots(draw(tmp_path / "run", load={"model": "closed"}), 7000) == []


@pytest.mark.parametrize("why", ["killed by the kernel", None])
def test_a_process_that_failed_makes_a_run_invalid(tmp_path: Path, why: str | None) -> None:
    run = draw(tmp_path / "run")
    said = {} if why is None else {"why": why}
    run.event("process", process="load-0", state="ended", pid=1)
    run.event("process", process="load-1", state="failed", pid=2, **said)
    assert reasons(run) == [f"load-1 failed: {why or 'see its log'}"]


@pytest.mark.parametrize(
    ("stopped", "code"),
    [
        ({"by": "person", "why": "Ctrl-C"}, ExitCode.INTERRUPTED),
        ({"by": "abort", "why": "too many errors"}, ExitCode.REFUSED),
        ({"by": "kill_switch", "why": "a file"}, ExitCode.REFUSED),
        ({"by": "guard", "why": "nothing to undo with"}, ExitCode.REFUSED),
        ({"by": "load", "why": "load-0 ended"}, ExitCode.INCONCLUSIVE),
    ],
)
def test_a_run_that_was_stopped_never_passes_and_says_who_stopped_it(
    tmp_path: Path, stopped: dict[str, str], code: ExitCode
) -> None:
    run = draw(tmp_path / "run", stopped=stopped)
    judgement = judge(run)
    assert judgement.verdict["reasons"] == [f"the run was stopped early: {stopped['why']}"]
    assert (judgement.verdict["verdict"], judgement.exit_code) == ("INCONCLUSIVE", code)


def test_a_fault_left_in_place_goes_before_who_stopped_the_run(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", strikes=[Strike(30)], stopped={"by": "person", "why": "Ctrl-C"})
    assert judge(run).exit_code is ExitCode.NOT_UNDONE


def test_whatever_makes_a_run_invalid_stands_before_why_it_was_cut_short(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", strikes=[Strike(30, 33, witnessed=False)], stopped={"by": "abort", "why": "bad"})
    verdict = judge(run).verdict
    assert verdict["reasons"] == ["cut#1 was not witnessed: looked", "the run was stopped early: bad"]
    assert (verdict["verdict"], verdict["exit_code"]) == ("INVALID", ExitCode.REFUSED)


# -- faults


def test_a_fault_tells_its_times_and_what_the_users_saw(tmp_path: Path) -> None:
    (fault,) = verdict(tmp_path, LIMIT, stretches=[OUT], strikes=[CUT])["faults"]
    assert (fault["injected_at"], fault["undone_at"], fault["worst_bad_share"]) == (30, 33, 1.0)
    assert (fault["absorbed"], fault["recovered"], fault["state"]) == (False, True, "UNDONE")
    assert fault["recover_s"] == pytest.approx(3, abs=0.02)
    low, high = fault["recover_between_s"]
    assert low <= fault["recover_s"] <= high
    assert fault["impact_s"] == pytest.approx(0, abs=0.011)


def test_a_fault_that_never_came_has_no_figures(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", LIMIT)
    run.event("gate", t=30.0, fault="cut", k=1, passed=False, why="not ready")
    (fault,) = judge(run).verdict["faults"]
    assert fault["gate"] == {"passed": False, "why": "not ready"}
    figures = ("impact_s", "detect_s", "recover_s", "recover_between_s", "censored_s", "rpo_s", "worst_bad_share")
    assert [fault[name] for name in figures] == [None] * 7
    assert (fault["absorbed"], fault["recovered"], fault["why"]) == (False, False, "")


def test_without_a_read_back_nothing_is_said_of_lost_writes(tmp_path: Path) -> None:
    found = verdict(tmp_path)["writes"]
    assert found == {"acknowledged": 0, "lost": None, "indeterminate": 0, "verified": False}
    assert found["verified"] is False
