"""Capacity of the real reference system: a load in steps is bracketed, and a slow system keeps no rate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from folder import Folder

SCENARIO = Path(__file__).parents[2] / "scenarios" / "memory" / "capacity.yaml"

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    folder.clean()


def test_the_memory_service_keeps_its_promise_up_to_a_rate(folder: Folder) -> None:
    """A rate that a slow machine keeps too: how much a machine can do is no property of what is tested here."""
    out = folder.path / "out"
    steps = "load.rate=[{step: 30/s, for: 50s}, {step: 60/s, for: 50s}, {step: 120/s, for: 50s}]"
    asked = "objectives=[{objective: capacity >= 100/s, slo: [p95(latency) <= 250ms, error_rate <= 1%]}]"
    options = ("--profile", "smoke", "--out", out, "--set", steps, "--set", asked)
    done = folder.faultload("run", SCENARIO, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((out / "verdict.json").read_text())["capacity"]
    assert [step["offered"] for step in found["steps"]] == [30, 60, 120]
    assert found["bracket"][0] >= 100
    assert all(step["achieved"] == pytest.approx(step["offered"], rel=0.25) for step in found["steps"])
    assert 'id="capacity"' in (out / "report.html").read_text()


def test_slow_searches_leave_no_rate_that_is_sustained(folder: Folder) -> None:
    out = folder.path / "out"
    steps = "load.rate=[{step: 30/s, for: 25s}, {step: 60/s, for: 25s}]"
    options = ("--profile", "smoke", "--defect", "slow-search", "--out", out, "--set", steps)
    done = folder.faultload("run", SCENARIO, *options)
    verdict = json.loads((out / "verdict.json").read_text())
    assert (done.returncode, verdict["verdict"]) == (1, "FAIL"), done.stdout + done.stderr
    assert verdict["capacity"]["bracket"][0] is None
    assert verdict["capacity"]["bracket"][1] == 30
