"""Whole runs on the memory service in containers: a scenario unchanged, and one whose conductor is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dockerref import NAME, built, needed, wait_for

from faultload import reference
from faultload.chaos.journal import open_faults
from faultload.chaos.warden import processes_of
from faultload.record.directory import RunDirectory
from faultload.reference.host import docker_project

pytestmark = pytest.mark.docker
SCENARIO = Path(__file__).parents[2] / "scenarios" / "memory" / "database_failover.yaml"
TARGET = "reference:memory:docker"


@dataclass(frozen=True)
class Place:
    """A folder to run in, with a state folder of its own, and the engine."""

    path: Path
    client: Any

    def run(self, out: Path) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "faultload", "run", str(SCENARIO), "--profile", "smoke"]
        argv += ["--platform", "docker", "--out", str(out)]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=self.path, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def containers(self) -> dict[str, str]:
        """Service by id, of what the project has right now."""
        found = docker_project.containers(self.client, docker_project.project_of(NAME))
        return {str(one.id): one.labels[docker_project.SERVICE] for one in found}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    needed()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    built()
    with docker_project.engine() as client:
        try:
            yield Place(tmp_path, client)
        finally:
            assert reference.stop(NAME, "docker") == []


def test_the_database_failover_passes_and_names_real_containers(place: Place) -> None:
    out = place.path / "out"
    process = place.run(out)
    seen: dict[str, str] = {}

    def watch() -> None:
        while process.poll() is None:
            seen.update(place.containers())
            time.sleep(0.5)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        said, _ = process.communicate(timeout=400)
    finally:
        process.kill()
        watching.join()
    assert process.returncode == 0, said
    verdict = json.loads((out / "verdict.json").read_text())
    assert verdict["verdict"] == "PASS", said
    struck = {fault["fault"]: fault for fault in verdict["faults"]}
    assert set(struck) == {"api-kill", "db-failover"}
    for name, services in (("api-kill", {"api"}), ("db-failover", {"pg1", "pg2"})):
        assert struck[name]["witnessed"], said
        (instance,) = struck[name]["instances"]
        assert seen[instance["id"]] in services, (name, instance, seen)
    assert verdict["writes"]["lost"] == 0 and verdict["writes"]["acknowledged"] > 100
    assert place.containers() == {} and open_faults(TARGET) == []
    kept = {file.stem for file in (out / "logs").iterdir()}
    assert {"compose", "gateway-1", "api-1", "api-2", "api-3", "pg1-1", "pg2-1"} <= kept


def test_a_run_whose_conductor_is_killed_leaves_no_container(place: Place) -> None:
    run = RunDirectory(place.path / "out")
    process = place.run(run.path)
    try:
        wait_for(lambda: run.info().load_start_s is not None or process.poll() is not None, 120)
        assert process.poll() is None, process.communicate()[0]
        assert len(place.containers()) == 9
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: place.containers() == {}, 60)  # the warden's doing
        wait_for(lambda: reference.status(NAME, "docker") is None, 10)
    finally:
        process.kill()
        process.communicate()
    wait_for(lambda: not any(one.alive() for one in processes_of(run).values()), 30)
    assert list((place.path / "state" / "faultload" / "targets").iterdir()) == []
    assert "ready" in (run.path / "logs" / "compose.log").read_text()
