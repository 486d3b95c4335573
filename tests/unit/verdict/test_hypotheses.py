"""Chaos Toolkit's own verdicts reach the run's: a hypothesis is an objective, a failed activity no PASS."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from synthetic_run import SCENARIO, write_run

from faultload.errors import ExitCode
from faultload.record.directory import RunDirectory
from faultload.spec.scenario import Scenario
from faultload.verdict.judge import judge

PLANNED = {"fault": "db-failover", "k": 1, "process": "chaos-db-failover-1"}
ASKED = {"hypothesis": "the shop answers", "looks": ["before", "after"]}
OWN = {"activities": ["orders"]}
HELD = {"when": "after", "met": True}
DEVIATED = {"when": "after", "met": False, "why": "probe 'answers' gave status 503, wanted 200"}


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of one fault that passes."""
    run = write_run(tmp_path_factory.mktemp("runs") / "passing")
    scenario = Scenario.model_validate({**SCENARIO, "objectives": ["lost_writes == 0", "mean(cache_hit) >= 0.5"]})
    run.update({"scenario": scenario.to_json(), "injections": [PLANNED]})
    events = [event.to_json() for event in run.events() if getattr(event, "k", 1) != 2]
    run.events_path.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert judge(run).exit_code is ExitCode.PASS
    return run


@pytest.fixture
def run(passing: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(passing.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def ended(run: RunDirectory, k: int = 1, **fields: Any) -> None:
    run.event("note", what="experiment_ended", text="", fault="db-failover", k=k, status="completed", **fields)


def hypothesis_of(run: RunDirectory) -> dict[str, Any]:
    (one,) = [one for one in judge(run).verdict["objectives"] if one["objective"].startswith("hypothesis")]
    return dict(one)


def test_a_hypothesis_that_held_is_an_objective_that_passes(run: RunDirectory) -> None:
    run.update({"injections": [{**PLANNED, **ASKED}]})
    ended(run, looks=[{"when": "before", "met": True}, HELD])
    one = hypothesis_of(run)
    assert (one["objective"], one["name"]) == ("hypothesis(db-failover) == holds", "the shop answers")
    assert (one["verdict"], one["estimate"], one["interval"], one["n"]) == ("PASS", 100.0, [100.0, 100.0], 1)
    assert judge(run).exit_code is ExitCode.PASS


def test_a_hypothesis_that_deviates_after_the_method_is_a_fail(run: RunDirectory) -> None:
    run.update({"injections": [{**PLANNED, **ASKED}]})
    ended(run, looks=[{"when": "before", "met": True}, DEVIATED])
    one = hypothesis_of(run)
    assert (one["verdict"], one["estimate"], one["n"]) == ("FAIL", 0.0, 1)
    assert one["why"] == (
        "the hypothesis deviated, db-failover#1 after the method: probe 'answers' gave status 503, wanted 200"
    )
    assert judge(run).exit_code is ExitCode.FAIL


def test_one_deviation_among_many_looks_is_a_fail(run: RunDirectory) -> None:
    looks = {**ASKED, "looks": ["before", "during", "after"]}
    run.update({"injections": [{**PLANNED, **looks}]})
    ended(run, looks=[{"when": "during", "met": False, "why": "slow"}, HELD])
    one = hypothesis_of(run)
    assert (one["verdict"], one["estimate"], one["n"]) == ("FAIL", 50.0, 2)
    assert "db-failover#1 during the method: slow" in one["why"]


@pytest.mark.parametrize("looks", [None, [{"when": "before", "met": True}]])
def test_a_look_that_is_missing_never_passes(run: RunDirectory, looks: list[dict[str, Any]] | None) -> None:
    """The process was killed, or the load ended before the probes had answered."""
    run.update({"injections": [{**PLANNED, **ASKED}]})
    if looks is not None:
        ended(run, looks=looks)
    one = hypothesis_of(run)
    assert (one["verdict"], one["estimate"], one["n"]) == ("INCONCLUSIVE", None, 0)
    assert one["why"] == "not looked at: db-failover#1 after the method"
    assert judge(run).exit_code is ExitCode.INCONCLUSIVE


def test_a_hypothesis_of_a_fault_that_never_came_was_not_looked_at(run: RunDirectory) -> None:
    run.update({"injections": [PLANNED, {**PLANNED, **ASKED, "fault": "never"}]})
    one = hypothesis_of(run)
    assert (one["verdict"], one["why"]) == ("INCONCLUSIVE", "the fault was not injected")


def test_a_hypothesis_that_is_looked_at_before_only_is_no_objective(run: RunDirectory) -> None:
    run.update({"injections": [{**PLANNED, **ASKED, "looks": ["before"]}]})
    ended(run, looks=[{"when": "before", "met": True}])
    assert len(judge(run).verdict["objectives"]) == 2


def test_a_hypothesis_that_deviates_before_the_method_is_a_held_fault(run: RunDirectory) -> None:
    """As the gate holds one: exit code 5, with the reason."""
    run.update({"injections": [PLANNED, {**PLANNED, **ASKED, "fault": "second"}]})
    run.event("gate", fault="second", k=1, passed=False, why="the hypothesis 'the shop answers' deviates: slow")
    judged = judge(run)
    assert judged.exit_code is ExitCode.REFUSED
    assert judged.verdict["reasons"] == ["not injected: second#1"]


def test_a_failed_activity_of_the_teams_turns_a_pass_into_inconclusive(run: RunDirectory) -> None:
    run.update({"injections": [{**PLANNED, **OWN}]})
    ended(run, failed=["probe 'orders' failed: connection refused"])
    judged = judge(run)
    assert judged.exit_code is ExitCode.INCONCLUSIVE
    assert judged.verdict["reasons"] == ["db-failover#1: probe 'orders' failed: connection refused"]


def test_activities_of_the_teams_that_nothing_is_known_of_are_no_pass(run: RunDirectory) -> None:
    run.update({"injections": [{**PLANNED, **OWN}]})
    judged = judge(run)
    assert judged.exit_code is ExitCode.INCONCLUSIVE
    (reason,) = judged.verdict["reasons"]
    assert "db-failover#1" in reason and "orders" in reason


def test_activities_of_a_fault_that_was_held_are_no_reason_of_their_own(run: RunDirectory) -> None:
    run.update({"injections": [PLANNED, {**PLANNED, **OWN, "fault": "second"}]})
    run.event("gate", fault="second", k=1, passed=False, why="fault db-failover#1 is still open")
    run.event(
        "note", what="experiment_ended", fault="second", k=1, text="", failed=["probe 'orders' was not played"]
    )
    assert judge(run).verdict["reasons"] == ["not injected: second#1"]


def test_a_failed_activity_hides_no_fail(run: RunDirectory) -> None:
    run.update({"injections": [{**PLANNED, **ASKED, **OWN}]})
    ended(run, looks=[DEVIATED], failed=["probe 'orders' failed: connection refused"])
    assert judge(run).exit_code is ExitCode.FAIL


def test_a_record_that_promises_nothing_is_judged_as_before(run: RunDirectory) -> None:
    """Older records name neither hypotheses nor activities; a plain experiment leaves no note."""
    assert [one["objective"] for one in judge(run).verdict["objectives"]] == [
        "lost_writes == 0",
        "mean(cache_hit) >= 0.5",
    ]
    assert judge(run).verdict["reasons"] == []
