"""A target of the user's own: two plain `python -m http.server` processes in a hand-written target file."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from standin import Workspace, listens, states, wait_for

from faultload.host.processes import identify, state_of
from faultload.record.directory import RunDirectory
from faultload.reference.kit.ports import free_ports


class Own:
    """Two declared web servers and one that is not declared, all started by the test."""

    def __init__(self, workspace: Workspace) -> None:
        folder = workspace.folder / "www"
        folder.mkdir()
        (folder / "index.html").write_text("hello")
        (folder / "health").write_text("well")
        self.folder = folder
        self.ports = free_ports(3)
        self.processes = [self.start(port) for port in self.ports]
        for port in self.ports:
            wait_for(lambda port=port: listens(port), 20, f"port {port} listens")
        self.undeclared = identify(self.processes[2].pid)
        self.target = workspace.folder / "target.yaml"
        self.target.write_text(
            f"""
name: own
platform: local
url: http://127.0.0.1:{self.ports[0]}
services:
  web:
    command: [python3, -m, http.server, "{{port}}", --bind, 127.0.0.1]
    ports: [{self.ports[0]}, {self.ports[1]}]
    health: /health
"""
        )

    def start(self, port: int) -> subprocess.Popen[bytes]:
        argv = ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            argv, executable=sys.executable, cwd=self.folder, stdin=quiet, stdout=quiet, stderr=quiet
        )

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for one in psutil.process_iter(["cmdline"]):
            argv = one.info["cmdline"] or []
            if "http.server" in argv and any(str(port) in argv for port in self.ports):
                one.kill()


@pytest.fixture
def own(workspace: Workspace) -> Iterator[Own]:
    own = Own(workspace)
    yield own
    own.end()


def scenario(workspace: Workspace, own: Own, func: str) -> Path:
    return workspace.scenario(
        str(own.target),
        load={
            "journeys": "journeys.py",
            "rate": [{"step": "20/s", "for": "13s"}],
            "arrivals": "even",
            "max_users": 50,
            "timeout": "1s",
        },
        faults=[{"name": "f", "experiment": workspace.experiment("f", func, {"service": "web"}, 4), "at": "5s"}],
        objectives=["error_rate <= 99%"],
    )


@pytest.mark.long
@pytest.mark.parametrize("func", ["kill", "pause"])
def test_kill_and_pause_work_on_what_is_declared_only(workspace: Workspace, own: Own, func: str) -> None:
    file = scenario(workspace, own, func)
    plan = workspace.faultload("plan", file)
    assert plan.returncode == 0, plan.stderr
    assert any(f"pid {process.pid})" in plan.stdout for process in own.processes[:2]), plan.stdout
    assert str(own.processes[2].pid) not in plan.stdout
    run = workspace.folder / "out"
    process = workspace.start("run", file, "--out", run)
    wait_for(lambda: states(run).get("f", [""])[-1] == "ACTIVE" or process.poll() is not None, 60, "active")
    time.sleep(0.5)
    declared = [identify(one.pid) for one in own.processes[:2]]
    touched = [one for one in declared if one is None or state_of(one) == "T"]
    output, _ = process.communicate(timeout=60)
    assert len(touched) == 1, output
    assert process.returncode in (0, 3), output
    assert states(run)["f"] == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"]
    assert identify(own.processes[2].pid) == own.undeclared
    assert own.undeclared is not None
    assert state_of(own.undeclared) != "T"
    assert all(listens(port) for port in own.ports), "a killed server was not started again"
    metrics = RunDirectory(run).path / "metrics.parquet"
    assert metrics.exists()


def test_a_fault_on_an_undeclared_service_is_refused_before_anything_starts(workspace: Workspace, own: Own) -> None:
    file = scenario(workspace, own, "kill")
    workspace.experiment("f", "kill", {"service": "database"}, 4)
    done = workspace.faultload("run", file, "--out", workspace.folder / "out")
    assert done.returncode == 2
    assert "'database'" in done.stderr
    assert "visit.yaml" in done.stderr
    assert not (workspace.folder / "out").exists()
