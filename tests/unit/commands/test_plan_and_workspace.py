"""Where files are found, and what a plan says that a scenario needs."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from small_workspace import SmallWorkspace

from faultload.commands.plan import plan_lines, planned_requests, undecidable
from faultload.run.prepare import Prepared, RunOptions, find_scenarios, prepare
from faultload.spec.measures import measure_of
from faultload.spec.objective import parse_objective
from faultload.spec.workspace import find, packs, packs_root, runs_folder, scenario_files, workspace_of
from faultload_analysis.power import power_of_quantile


@pytest.fixture
def prepared(workspace: SmallWorkspace) -> Prepared:
    """20/s for a minute after 10 s of ramp; a fault at 20 s (10 s to recover, 5 s hold), one at 45 s."""
    return prepare(workspace.scenario, RunOptions())


@pytest.mark.parametrize(
    ("objective", "planned"),
    [
        ("p99(latency) <= 1s", 1200),
        ("p99(latency) <= 1s during all", 1300),
        ("p99(latency, journey=Buy) <= 1s", 300),
        ("p99(latency) <= 1s during baseline", 20 * (60 - 15 - 10)),
        ("p99(latency) <= 1s during fault", 20 * 10),
        ("p99(latency) <= 1s during fault:freeze", 20 * 5),
        ("p99(latency) <= 1s during fault:freeze#1", 20 * 5),
        ("p99(latency) <= 1s during recovery", None),
    ],
)
def test_the_requests_that_a_profile_plans(prepared: Prepared, objective: str, planned: float | None) -> None:
    found = planned_requests(prepared, parse_objective(objective))
    assert found == (None if planned is None else pytest.approx(planned))


def test_a_profile_plans_its_own(workspace: SmallWorkspace) -> None:
    gentle = prepare(workspace.scenario, RunOptions(profile="gentle"))
    assert planned_requests(gentle, parse_objective("p99(latency) <= 1s")) == pytest.approx(600)


def test_a_named_stage_plans_its_own(workspace: SmallWorkspace) -> None:
    workspace.replace(workspace.scenario, "{hold: 60s}", "{hold: 50s}\n    - {surge: 3x, for: 10s, phase: rush}")
    rush = prepare(workspace.scenario, RunOptions())
    assert planned_requests(rush, parse_objective("p99(latency) <= 1s during rush")) == pytest.approx(600)
    assert planned_requests(rush, parse_objective("p99(latency) <= 1s during surge")) == pytest.approx(600)
    whole = planned_requests(rush, parse_objective("p99(latency) <= 1s"))
    rest = planned_requests(rush, parse_objective("p99(latency) <= 1s during baseline"))
    assert whole is not None and rest is not None and rest <= whole - 600


def test_users_plan_no_number_of_requests(workspace: SmallWorkspace) -> None:
    workspace.replace(workspace.scenario, "  rate:", "  users:")
    workspace.replace(workspace.scenario, "ramp: 20/s", "ramp: 20")
    closed = prepare(workspace.scenario, RunOptions())
    assert planned_requests(closed, parse_objective("p99(latency) <= 1s")) is None


@pytest.mark.parametrize(
    ("objective", "needed"),
    [
        ("p99(latency) <= 1s", 299),
        ("p99.9(latency) <= 1s", 2995),
        ("p95(latency) <= 1s", 60),
        ("p50(service_time) <= 1s", 60),
        ("median(latency) <= 1s", 60),
        ("max(latency) <= 1s", None),
        ("availability >= 99%", 299),
        ("error_rate <= 1%", 299),
        ("share(latency <= 300ms) >= 99%", 299),
        ("median(latency) <= 1s of run", 5),
        ("p95(latency) <= 1s of run", 59),
        ("availability >= 100%", None),
        ("mean(latency) <= 1s", 60),
        ("lost_writes == 0", None),
    ],
)
def test_the_requests_that_a_pass_needs_at_least(objective: str, needed: int | None) -> None:
    """The smallest n with p^n <= 5 %: ln 0.05 / ln 0.99 = 298.07 (Wilks 1941); 58.4 for P95; 4.3 for P50.

    From fewer than 60 latencies nobody can tell how they depend on each other.
    """
    parsed = parse_objective(objective)
    assert measure_of(parsed.term).requests_needed(parsed) == needed


def test_a_plan_names_what_it_lacks(workspace: SmallWorkspace) -> None:
    workspace.replace(workspace.scenario, "p99(latency)", "p99.9(latency)")
    text = "\n".join(plan_lines(prepare(workspace.scenario, RunOptions()), RunOptions()))
    assert "at least 2995 independent requests; about 700 are planned: TOO FEW" in text
    assert "freeze#1: pause store for 5 s" in text
    assert "slow#1: latency web -> store for 5 s" in text
    assert "no running instance" in text
    assert not workspace.runs.exists()


def test_a_plan_says_what_each_objective_speaks_of(workspace: SmallWorkspace) -> None:
    workspace.replace(workspace.scenario, "p99(latency)", "p99.9(latency)")
    system = "\n".join(plan_lines(prepare(workspace.scenario, RunOptions()), RunOptions()))
    assert "p99.9(latency) <= 500ms during baseline (of the system)" in system
    workspace.replace(workspace.scenario, "objectives:", "statements: run\nobjectives:")
    of_run = "\n".join(plan_lines(prepare(workspace.scenario, RunOptions()), RunOptions()))
    assert "p99.9(latency) <= 500ms during baseline (of this run)" in of_run
    assert "at least 2995 requests; about 700 are planned: TOO FEW, it cannot PASS" in of_run


def test_a_plan_says_how_often_a_true_objective_passes(workspace: SmallWorkspace) -> None:
    """From the table of 600 requests, the largest number below the 700 that are planned."""
    text = "\n".join(plan_lines(prepare(workspace.scenario, RunOptions()), RunOptions()))
    power = power_of_quantile(Fraction("0.99"), 700, of_run=False)
    assert power is not None
    independent, queue = (f"{power.shares[name]:.0%}" for name in ("independent", "M/M/1 at 0.8"))
    assert "if the truth is half the limit, 600 requests pass in this share of runs: " in text
    assert f"independent {independent}, " in text
    assert f"M/M/1 at 0.8 {queue}" in text


@pytest.mark.parametrize(
    ("objective", "of"),
    [
        ("p98(latency) <= 1s", "p99"),
        ("median(service_time) < 1s of run", "p50"),
        ("mean(latency) <= 1s", "mean"),
        ("availability >= 99%", "bad 0.01"),
        ("error_rate <= 5%", "bad 0.05"),
        ("share(latency <= 300ms) >= 99.5%", "bad 0.001"),
        ("slices(p95(latency) <= 500ms, 10s) >= 99%", None),
        ("p99(latency) >= 1s", None),
        ("max(latency) <= 1s", None),
        ("mean(rss) <= 1GB", None),
        ("lost_writes == 0", None),
    ],
)
def test_what_of_the_table_tells_of_an_objective(objective: str, of: str | None) -> None:
    parsed = parse_objective(objective)
    power = measure_of(parsed.term).power(parsed, 5_000)
    assert (power.of if power else None) == of


# -- workspace


def test_files_are_found_beside_then_in_the_workspace_then_in_the_packs(workspace: SmallWorkspace) -> None:
    beside = workspace.scenario.parent
    assert find("journeys.py", beside) == workspace.journeys
    nearer = workspace.write("scenarios/journeys.py", "")
    assert find("journeys.py", beside) == nearer
    assert find("loadtests/memory.py", beside) == packs_root() / "loadtests/memory.py"
    assert find(str(workspace.journeys), Path("/")) == workspace.journeys
    assert find("/none.py", beside) is None
    assert find("none.py", beside) is None
    assert find("experiments", beside) is None, "a folder is no file"


def test_the_workspace_is_the_nearest_folder_with_scenarios(workspace: SmallWorkspace, tmp_path: Path) -> None:
    deep = workspace.folder / "a" / "b"
    deep.mkdir(parents=True)
    assert workspace_of(deep) == workspace.folder
    assert runs_folder(deep) == workspace.folder / "runs"
    assert workspace_of(tmp_path) is None
    assert runs_folder(tmp_path) == tmp_path / "runs"


def test_scenarios_by_file_folder_or_pack(workspace: SmallWorkspace, tmp_path: Path) -> None:
    here = workspace.folder
    assert scenario_files("scenarios/shop.yaml", here) == scenario_files("shop.yaml", here) == [workspace.scenario]
    assert scenario_files("scenarios", here) == [workspace.scenario]
    assert len(scenario_files("memory", tmp_path)) == len(packs(tmp_path)["memory"]) > 3
    own = workspace.write("scenarios/memory/mine.yaml", workspace.scenario.read_text())
    assert scenario_files("memory", here) == packs(here)["memory"] == [own]
    assert scenario_files("nothing", here) == []
    assert find_scenarios(["shop.yaml", "scenarios"], here) == [workspace.scenario], "each once"


# -- what a command imports

HEAVY = ("numpy", "scipy", "locust", "gevent", "pydantic", "matplotlib", "pyarrow", "psutil", "docker", "chaoslib")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "faultload", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("objective", "why"),
    [("capacity >= 9/s", "two or more steps"), ("recovery_after_overload <= 9s", "needs a surge")],
)
def test_what_a_load_cannot_answer_is_said_before_the_run(
    workspace: SmallWorkspace, objective: str, why: str
) -> None:
    workspace.replace(workspace.scenario, "mean(cache_hit) >= 0.9", objective)
    assert any(why in text for text in undecidable(prepare(workspace.scenario, RunOptions())))
    load = "{hold: 60s}\n    - {surge: 3x, for: 10s}\n    - {step: 30/s, for: 9s}"
    workspace.replace(workspace.scenario, "{hold: 60s}", load)
    assert not any(why in text for text in undecidable(prepare(workspace.scenario, RunOptions())))


def test_a_plan_says_what_fires_an_alert_and_what_its_windows_take_for_granted(workspace: SmallWorkspace) -> None:
    rules = (
        "alerts:\n  - {name: Hot, objective: error_rate <= 1%, long: 1h, short: 5s, burn_rate: 1, for: 10s}\nabort:"
    )
    workspace.replace(workspace.scenario, "abort:", rules)
    text = "\n".join(plan_lines(prepare(workspace.scenario, RunOptions()), RunOptions(seed=1)))
    assert "  Hot on error_rate <= 1%: over 1 % bad in 60 min and in 5 s, for 10 s\n" in text
    assert "      a total outage of 46 s fires it\n" in text
    assert "its window of 60 min is longer than the load (70 s): what came before counts as free of bad" in text


def test_a_plan_takes_an_automatic_warm_up_for_as_long_as_it_can_be(workspace: SmallWorkspace) -> None:
    """Half of the ten seconds between the ramp and the first fault."""
    workspace.replace(workspace.scenario, "abort:", "warmup: auto\nabort:")
    found = prepare(workspace.scenario, RunOptions())
    assert planned_requests(found, parse_objective("p99(latency) <= 1s")) == pytest.approx(20 * 55)
    assert "      15.0 s  the warm-up has ended (auto: at the latest)" in list(
        plan_lines(found, RunOptions(seed=1))
    )
