"""Open and closed model, one worker and several, and several scenarios in one command."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from standin import StandIn, Workspace

from faultload.record import tables as record_tables
from faultload.record.directory import RunDirectory
from faultload.record.events import Health

CLOSED = """
from locust import HttpUser, constant, task

class Visit(HttpUser):
    wait_time = constant(0.2)

    @task
    def visit(self):
        self.client.get("/", name="GET /")
"""


def samples(run: Path) -> int:
    return int(record_tables.read(run, "samples").num_rows)


def test_two_workers_share_one_schedule(workspace: Workspace, target: StandIn) -> None:
    load = {
        "journeys": "journeys.py",
        "rate": [{"step": "60/s", "for": "10s"}],
        "arrivals": "even",
        "max_users": 40,
    }
    scenario = workspace.scenario(target, load=load, objectives=["throughput >= 10/s", "error_rate <= 5%"])
    run = workspace.folder / "out"
    done = workspace.faultload("run", scenario, "--workers", "2", "--out", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert samples(run) == 600
    assert sorted(path.name for path in run.glob("samples-*")) == ["samples-0.parquet", "samples-1.parquet"]
    assert {event.worker for event in RunDirectory(run).events_of(Health)} == {0, 1}


@pytest.mark.long
def test_the_closed_model_runs_a_plain_locustfile(workspace: Workspace, target: StandIn) -> None:
    (workspace.folder / "journeys.py").write_text(CLOSED)
    load = {"journeys": "journeys.py", "users": [{"step": 4, "for": "5s"}], "timeout": "2s"}
    scenario = workspace.scenario(target, load=load, objectives=["error_rate <= 10%", "iterations(failed) == 0"])
    run = workspace.folder / "out"
    done = workspace.faultload("run", scenario, "--out", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 50 <= samples(run) <= 100, "4 users with 0.2 s of think time make about 20 requests a second"


def test_several_scenarios_give_the_worst_code_and_one_summary(workspace: Workspace, target: StandIn) -> None:
    load = {"journeys": "journeys.py", "rate": [{"step": "30/s", "for": "3s"}], "arrivals": "even", "timeout": "2s"}
    first = workspace.scenario(target, load=load, objectives=["error_rate <= 10%"])
    content = yaml.safe_load(first.read_text())
    second = workspace.folder / "scenarios" / "wrong.yaml"
    second.write_text(yaml.safe_dump({**content, "name": "wrong", "objectives": ["throughput >= 500/s"]}))
    out = workspace.folder / "both"
    done = workspace.faultload("run", workspace.folder / "scenarios", "--out", out)
    assert done.returncode == 1, done.stdout + done.stderr
    suites = ET.parse(out / "junit.xml").getroot().findall("testsuite")
    assert [suite.get("failures") for suite in suites] == ["0", "1"]
    assert [str(suite.get("name")).rpartition(".")[2] for suite in suites] == ["visit", "wrong"]
    assert "wrong" in (out / "summary.md").read_text()
