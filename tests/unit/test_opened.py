"""faultload.open: a run's record as tables, arrays, judged objectives and figures; nothing is written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import write_run

import faultload
from faultload.errors import InvalidInput
from faultload.opened import Run
from faultload.verdict.judge import judge

KEPT = Path(__file__).parents[2] / "notebooks" / "data" / "failover"


@pytest.fixture(scope="module")
def run() -> Run:
    return faultload.open(KEPT)


def test_the_tables_are_whole_and_in_order_of_time(run: Run) -> None:
    assert run.tables == ("samples", "iterations", "observations", "writes", "metrics")
    samples = run.table("samples")
    starts = samples["intended_ns"].to_numpy()
    assert samples.num_rows > 10_000 and (np.diff(starts) >= 0).all()
    assert run.frame("samples").shape == (samples.num_rows, samples.num_columns)
    assert list(run.frame("metrics")["name"].unique())


def test_the_arrays_are_those_that_were_judged(run: Run) -> None:
    requests = run.requests
    assert (requests.latency_s[requests.ok] < np.inf).all() and (requests.latency_s[~requests.ok] == np.inf).all()
    during = run.phases.mask(requests.intended_s, "baseline")
    assert 0 < during.sum() < len(requests)
    assert run.iterations.intended_s.size and run.observations.value.size
    assert run.start_s <= run.warmup_end_s < run.end_s


def test_objectives_faults_and_recoveries_are_those_of_the_verdict(run: Run) -> None:
    verdict = judge(run._directory).verdict
    assert run.verdict == verdict and len(run.objectives) == len(verdict["objectives"]) > 3
    for one, judged in zip(run.objectives, verdict["objectives"], strict=True):
        assert (one.verdict, one.estimate, [one.low, one.high]) == tuple(
            judged[key] for key in ("verdict", "estimate", "interval")
        )
    assert [fault.label for fault in run.faults] == list(run.recoveries)
    assert run.limits.latency_s == 0.5 and run.slice_rule is not None


@pytest.mark.parametrize("name", ["timeline", "recoveries", "quantiles", "budget"])
def test_the_figures_of_the_report_can_be_drawn(run: Run, name: str) -> None:
    assert run.figures[name]().axes
    assert run.fault_spans and run.phase_spans


def test_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(KEPT, folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    opened = faultload.open(str(folder))
    assert opened.verdict["verdict"] == "PASS" and opened.table("writes").num_rows
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("how", [{"killed": True}, {"empty": True}])
def test_a_run_that_died_opens_too(how: dict[str, bool], tmp_path: Path) -> None:
    opened = faultload.open(write_run(tmp_path / "run", **how).path)
    assert opened.verdict["verdict"] != "PASS"
    assert opened.table("samples").num_rows == 0 or how == {"killed": True}
    for name, found in (("iterations", opened.iterations.intended_s), ("observations", opened.observations.value)):
        assert found.size == opened.table(name).num_rows, name


def test_arrays_of_a_record_in_many_chunks_are_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faultload.record.recorded.KEPT_ROWS", 0)
    monkeypatch.setattr("faultload.record.sealed.CHUNK_ROWS", 137)
    chunked = faultload.open(KEPT)
    assert (chunked.iterations.intended_s == run.iterations.intended_s).all()
    assert chunked.observations.name.counts() == run.observations.name.counts()
    assert chunked.requests.outcome.counts() == run.requests.outcome.counts()


def test_mistakes_are_said() -> None:
    with pytest.raises(InvalidInput, match=r"is not a run directory"):
        faultload.open(KEPT.parent)
    with pytest.raises(InvalidInput, match=r"there is no table 'sample'.*samples, iterations"):
        faultload.open(KEPT).table("sample")


def test_importing_faultload_stays_light() -> None:
    code = "import sys, faultload; print(sorted(name for name in sys.modules if name.startswith('faultload')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['faultload']"
