"""What the gate asks of the last seconds of a running load."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from synthetic_run import INJECTED_S, OUTAGE_S, write_run

from faultload.record.directory import Clock, RunDirectory
from faultload.verdict.live_baseline import baseline_problems, live_objectives

END_S = INJECTED_S + OUTAGE_S + 5.0


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run whose load goes on until 5 s after its outage, and whose record was not sealed."""
    run = write_run(tmp_path / "run", killed=True)
    objectives = ["p99(latency) <= 500ms during baseline", "availability >= 99.9% during baseline", "ttr <= 20s"]
    run.update({"scenario": {**(run.info().scenario or {}), "objectives": objectives}})
    return run


def problems(run: RunDirectory, window_s: float, monkeypatch: pytest.MonkeyPatch, at_s: float = END_S) -> list[str]:
    """What it says of the last seconds when it is so late on the run's clock."""
    monkeypatch.setattr(RunDirectory, "clock", Clock(time.monotonic_ns() - int(at_s * 1e9)))
    return baseline_problems(run, run.info().as_run(), window_s)


def test_a_healthy_window_holds_nothing_back(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(run, 2.0, monkeypatch) == []


def test_an_outage_in_the_window_names_the_objective_that_it_surely_misses(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = problems(run, 7.0, monkeypatch)
    assert [problem.partition(": ")[0] for problem in found] == ["availability >= 99.9% during baseline"]
    assert "80 % confidence" in found[0]


def test_a_load_that_has_stopped_is_no_baseline(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(run, 2.0, monkeypatch, at_s=500.0) == ["no request ended in the last 2 s"]


def test_only_latency_and_failures_during_baseline_can_be_seen_live(run: RunDirectory) -> None:
    asked = [spec.objective for spec in live_objectives(run.info().as_run(), "full")]
    assert asked == ["p99(latency) <= 500ms during baseline", "availability >= 99.9% during baseline"]


@pytest.mark.parametrize(
    ("objective", "imported"), [("p99(latency) <= 1s during baseline", True), ("ttr <= 20s", False)]
)
def test_statistics_are_imported_before_a_fault_is_due_and_only_where_they_are_needed(
    run: RunDirectory, objective: str, imported: bool
) -> None:
    run.update({"scenario": {**(run.info().scenario or {}), "objectives": [objective]}})
    code = (
        "import pathlib, sys; from faultload.verdict.live_baseline import preload; "
        "from faultload.record.directory import RunDirectory; "
        f"preload(RunDirectory(pathlib.Path({str(run.path)!r}))); "
        "print('faultload_analysis.latency.quantiles' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(imported)


def test_judging_imports_neither_pandas_nor_scipy_stats_nor_scipy_optimize(run: RunDirectory) -> None:
    """Two seconds of processor time that every run would pay at its end, and the gate before its first fault."""
    code = (
        "import pathlib, sys; from faultload.verdict.judge import judge; "
        "from faultload.record.directory import RunDirectory; "
        f"judge(RunDirectory(pathlib.Path({str(run.path)!r}))); "
        "print({'pandas', 'scipy.stats', 'scipy.optimize'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
