"""A fault that somebody else ended early: INVALID, or judged on the time that it had; older records as before."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from synthetic_run import INJECTED_S, OUTAGE_S, SCENARIO, START_S, write_run

from faultload.record.directory import RunDirectory
from faultload.record.lines import append_line
from faultload.report import wording
from faultload.report.html import render_html
from faultload.spec.profile import scale
from faultload.spec.scenario import Scenario
from faultload.verdict.judge import Judgement, judge

SEEN_UNTIL_S = INJECTED_S + 1.4
LINE: dict[str, Any] = {
    "t": INJECTED_S + 2.4,
    "fault": "db-failover",
    "k": 1,
    "state": "ENDED",
    "kind": "partition",
    "one_shot": False,
    "seen_until": SEEN_UNTIL_S,
    "what": "somebody ended it",
    "max_duration_s": 20.0,
    "by": "chaos",
}


def judged(folder: Path, line: dict[str, Any] | None, **fault: Any) -> Judgement:
    scenario = copy.deepcopy(SCENARIO)
    scenario["faults"][0] |= fault
    as_run = scale(Scenario.model_validate(scenario), "full").scenario.to_json()
    run = write_run(folder / "run", scenario=as_run)
    if line is not None:
        *before, undoing, undone = run.faults_path.read_text().splitlines()
        run.faults_path.write_text("\n".join([*before, ""]))
        append_line(run.faults_path, line)
        with run.faults_path.open("a") as file:
            file.write(f"{undoing}\n{undone}\n")
    return judge(run)


def fault_span(judgement: Judgement) -> tuple[float, float]:
    (span,) = judgement.phases.spans_of("fault:db-failover#1")
    return span.start, span.end


@pytest.mark.parametrize("given", [{}, {"on_ended_early": "invalid"}])
def test_a_fault_that_ended_early_makes_the_run_invalid(tmp_path: Path, given: dict[str, str]) -> None:
    verdict = judged(tmp_path, LINE, **given).verdict
    (reason,) = [one for one in verdict["reasons"] if "ended early" in one]
    assert verdict["verdict"] == "INVALID"
    at_s = SEEN_UNTIL_S - START_S
    assert reason == (
        f"db-failover#1 ended early, at {at_s:.1f} s: it was there for 1.3 s of the 20 s that were asked for: "
        "somebody ended it (`on_ended_early: judge` judges it on that time)"
    )


def test_a_scenario_may_have_it_judged_on_the_time_that_it_had(tmp_path: Path) -> None:
    judgement = judged(tmp_path, LINE, on_ended_early="judge")
    assert judgement.verdict["verdict"] != "INVALID"
    assert fault_span(judgement) == (INJECTED_S, SEEN_UNTIL_S)
    (recovering,) = judgement.phases.spans_of("recovery:db-failover#1")
    assert recovering.start == SEEN_UNTIL_S, "what users felt after it is no part of the baseline"
    first, _ = judgement.verdict["faults"]
    assert (first["ended_at"], first["ended"], first["state"]) == (SEEN_UNTIL_S, "somebody ended it", "UNDONE")
    assert wording.witnessed(first) == "until 33.4 s: ended early"
    report = render_html(RunDirectory(tmp_path / "run"), judgement)
    assert "ended early: somebody ended it" in report


def test_a_record_of_before_faults_were_looked_at_again_is_judged_as_before(tmp_path: Path) -> None:
    judgement = judged(tmp_path, None)
    assert not any("ended early" in reason for reason in judgement.verdict["reasons"])
    assert fault_span(judgement) == (INJECTED_S, INJECTED_S + OUTAGE_S)
    first, _ = judgement.verdict["faults"]
    assert "ended_at" not in first and wording.witnessed(first) == "yes"


def test_a_fault_that_ended_early_and_was_never_undone_is_still_open(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", killed=True)
    append_line(run.faults_path, LINE)
    verdict = judge(RunDirectory(run.path)).verdict
    assert "db-failover#1 was never undone" in verdict["reasons"]
    assert verdict["exit_code"] == 6
