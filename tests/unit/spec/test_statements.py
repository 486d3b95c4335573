"""Which kind of statement an objective is: as written, by the scenario's default, or by its phase and measure."""

from __future__ import annotations

import pytest

from faultload.spec.measures import measures
from faultload.spec.objective import parse_abort, parse_objective
from faultload.spec.profile import scale
from faultload.spec.scenario import ObjectiveSpec, Scenario
from faultload.spec.statements import resolved
from faultload.spec.term import ObjectiveError, Statement


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("p99(latency) <= 500ms", "system"),
        ("p99(latency) <= 500ms during baseline", "system"),
        ("p99(latency) <= 500ms during all", "system"),
        ("p99(latency) <= 500ms during fault", "run"),
        ("p99(latency) <= 500ms during fault:cut#2", "run"),
        ("p99(latency) <= 500ms during recovery:cut", "run"),
        ("p99(latency) <= 500ms during rush", "run"),
        ("p99(latency) <= 500ms of run", "run"),
        ("p99(latency) <= 500ms during fault of system", "system"),
        ("availability >= 99%", "run"),
        ("error_rate <= 1% during baseline", "run"),
        ("availability >= 99% of system", "system"),
        ("budget(99.9%, 30d) <= 1%", "run"),
        ("burn_rate(99.9%) <= 1 of system", "system"),
        ("mean(cache_hit) >= 0.9", "system"),
        ("mean(cache_hit) >= 0.9 during fault", "run"),
        ("max(rss) <= 1GB", "run"),
        ("throughput >= 1/s", "system"),
        ("slope(rss) <= 1MB/h", "system"),
        ("ttr <= 5s", "run"),
        ("mttr <= 5s", "system"),
        ("mtbf >= 1h", "system"),
        ("capacity >= 1/s", "system"),
        ("lost_writes == 0", "run"),
    ],
)
def test_the_kind_of_a_statement(text: str, statement: Statement) -> None:
    assert resolved(parse_objective(text)).statement == statement


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("p99(latency) <= 500ms", "run"),
        ("p99(latency) <= 500ms of system", "system"),
        ("mttr <= 5s", "system"),
        ("capacity >= 1/s", "system"),
    ],
)
def test_statements_run_is_the_default_of_what_can_speak_of_a_run(text: str, statement: Statement) -> None:
    assert resolved(parse_objective(text), "run").statement == statement


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max(rss) <= 1GB of system", "max always speaks of the run: leave out `of system`"),
        ("ttr <= 5s of system", "ttr always speaks of the run"),
        ("mttr <= 5s of run", "mttr always speaks of the system: leave out `of run`"),
        ("availability >= 99% of users", r"wanted `of run` or `of system`, found 'of users' \(column 24\)"),
        ("availability >= 99% of", "wanted run or system"),
        ("availability >= 99% of run during fault", "'during' is unexpected"),
    ],
)
def test_what_is_no_statement_is_refused(text: str, says: str) -> None:
    with pytest.raises(ObjectiveError, match=says):
        parse_objective(text)


def test_an_abort_condition_watches_and_makes_no_statement() -> None:
    with pytest.raises(ObjectiveError, match="'of' is unexpected"):
        parse_abort("error_rate > 90% of run for 20s")


def test_an_slo_keeps_its_own_kinds_whatever_the_scenario_says() -> None:
    slo = ["p95(latency) <= 50ms", "availability >= 99%"]
    objective = resolved(ObjectiveSpec(objective="capacity >= 100/s", slo=slo).parsed, "run")
    assert [one.statement for one in objective.slo] == ["system", "run"]


def test_every_measure_says_what_it_can_speak_of_and_its_examples_do() -> None:
    for measure in measures():
        for text, _ in measure.examples:
            objective = resolved(parse_objective(text))
            assert objective.statement in measure.statements_of(objective.term)
            assert parse_objective(str(objective)) == objective


def test_a_profile_sets_the_default_of_its_own_runs_only() -> None:
    declared = {
        "name": "x",
        "target": {"url": "http://127.0.0.1:1"},
        "load": {"journeys": "j.py", "rate": [{"step": "1/s", "for": "10s"}]},
        "objectives": ["p99(latency) <= 1s"],
        "profiles": {"smoke": {"time": 0.5, "statements": "run"}, "full": {}},
    }
    scenario = Scenario.model_validate(declared)
    assert scale(scenario, "smoke").scenario.statements == "run"
    assert scale(scenario, "full").scenario.statements is None
