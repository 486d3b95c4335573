"""Verdicts and exit codes of whole runs against the stand-in system."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from standin import StandIn, Workspace, lying_proxy, short, states

from faultload.host.processes import identify
from faultload.record.directory import RunDirectory
from faultload.record.events import Abort

WORKS_5_MS = """
import time
from locust import task
from faultload.load import Journey

class Visit(Journey):
    @task
    def visit(self):
        end = time.process_time() + 0.005
        while time.process_time() < end:
            pass
        self.client.get("/", name="GET /")
"""


def verdict_of(run: Path) -> dict[str, Any]:
    verdict = RunDirectory(run).verdict()
    assert verdict is not None
    return verdict


def test_a_fault_that_no_witness_sees_makes_the_run_invalid(workspace: Workspace, target: StandIn) -> None:
    with lying_proxy(target.store) as control:
        target.write_target(links={"web -> store": {"proxy": f"http://127.0.0.1:{control}"}})
        scenario = workspace.scenario(
            target,
            load=short(seconds=12),
            faults=[
                {
                    "name": "cut",
                    "experiment": workspace.experiment("cut", "partition", {"link": "web -> store"}, 3),
                    "at": "5s",
                }
            ],
        )
        run = workspace.folder / "out"
        done = workspace.faultload("run", scenario, "--out", run)
    verdict = verdict_of(run)
    assert done.returncode == 4, done.stdout + done.stderr
    assert verdict["verdict"] == "INVALID"
    assert verdict["faults"][0]["witnessed"] is False
    assert any("cut#1 was not witnessed" in reason for reason in verdict["reasons"])
    assert "not witnessed" in done.stdout


def test_more_load_than_the_generator_can_send_is_invalid_and_says_so(
    workspace: Workspace, target: StandIn
) -> None:
    # its own work is what it cannot keep up with: on a crowded machine a fast target may be the slower one
    (workspace.folder / "journeys.py").write_text(WORKS_5_MS)
    scenario = workspace.scenario(target, load=short("2000/s", 5), objectives=["p99(latency) <= 100ms"])
    run = workspace.folder / "out"
    done = workspace.faultload("run", scenario, "--out", run)
    assert done.returncode == 4, done.stdout + done.stderr
    assert verdict_of(run)["verdict"] == "INVALID"
    assert "the load generator was the limit" in done.stdout


def test_report_gives_the_same_verdict_again(workspace: Workspace, target: StandIn) -> None:
    objectives = ["availability >= 90%", "p50(latency) <= 1s", "throughput >= 500/s", "throughput >= 5/s"]
    scenario = workspace.scenario(target, load=short("100/s", 10), objectives=objectives)
    run = workspace.folder / "out"
    done = workspace.faultload("run", scenario, "--out", run, "--seed", "7")
    first = verdict_of(run)
    assert done.returncode == first["exit_code"] == 1, done.stdout + done.stderr
    assert [one["verdict"] for one in first["objectives"]] == ["PASS", "PASS", "FAIL", "PASS"]
    assert "FAIL  throughput >= 500/s" in done.stdout
    for name in ("verdict.json", "report.html", "junit.xml", "summary.md"):
        (run / name).unlink()
    again = workspace.faultload("report", run)
    assert again.returncode == 1
    assert verdict_of(run) == first
    assert all((run / name).exists() for name in ("report.html", "junit.xml", "summary.md"))


def test_a_held_gate_keeps_the_fault_away_and_exits_5(workspace: Workspace, target: StandIn) -> None:
    target.servers[target.cache].signal(9)
    target.processes[[*target.servers].index(target.cache)].wait()
    scenario = workspace.scenario(
        target,
        load=short(seconds=12),
        faults=[
            {"name": "kill", "experiment": workspace.experiment("k", "kill", {"service": "web"}, 3), "at": "5s"}
        ],
    )
    target.start_server(target.cache)
    run = workspace.folder / "out"
    process = workspace.start("run", scenario, "--out", run)
    wait = threading.Event()
    while process.poll() is None and RunDirectory(run).info().load_start_s is None:
        wait.wait(0.05)
    cache = next(p for p in target.processes[::-1] if p.poll() is None)
    cache.kill()
    cache.wait()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 5, output
    assert states(run) == {}
    assert all(identify(target.servers[port].pid) == target.servers[port] for port in target.web)
    verdict = verdict_of(run)
    assert verdict["faults"][0]["gate"]["passed"] is False
    assert "cache" in verdict["faults"][0]["gate"]["why"]


def test_an_abort_condition_ends_the_run_with_5(workspace: Workspace, tmp_path: Path) -> None:
    scenario = workspace.scenario("http://127.0.0.1:9", load=short(seconds=60), abort=["error_rate > 90% for 3s"])
    run = workspace.folder / "out"
    done = workspace.faultload("run", scenario, "--out", run, timeout_s=60)
    assert done.returncode == 5, done.stdout + done.stderr
    stopped = RunDirectory(run).info().stopped
    assert stopped is not None and stopped.by == "abort"
    assert verdict_of(run)["verdict"] == "FAIL"
    assert RunDirectory(run).events_of(Abort)


@pytest.mark.long
def test_an_outage_of_the_target_is_not_held_against_the_generator(workspace: Workspace, target: StandIn) -> None:
    objectives = ["p90(latency) <= 5s", "p99(latency) <= 5s", "error_rate <= 1%"]
    load = short("200/s", 10, max_users=160, timeout="8s")
    scenario = workspace.scenario(target, load=load, objectives=objectives)
    run = workspace.folder / "out"
    process = workspace.start("run", scenario, "--out", run)
    pause = threading.Event()
    while process.poll() is None and RunDirectory(run).info().load_start_s is None:
        pause.wait(0.05)
    pause.wait(3.0)
    web = target.servers[target.web[0]]
    web.signal(signal.SIGSTOP)
    pause.wait(3.0)
    web.signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=90)
    verdict = verdict_of(run)
    assert verdict["verdict"] != "INVALID", output
    p90, p99 = (one["estimate"] for one in verdict["objectives"][:2])
    assert 1.8 <= p90 <= 3.0, output
    assert 2.7 <= p99 <= 3.8, output
    assert verdict["generator"]["waited_max_s"] > 1.0, "nobody waited for a user"
    assert "Locust" in (run / "report.html").read_text()
