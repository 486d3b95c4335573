"""docker-compose.yml at the top: every profile in order with every compose that is here, and `load` at work."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerref import NAME, built, needed, wait_for

from faultload.reference.host import docker_image, docker_project
from faultload.reference.kit.ports import free_ports
from faultload.reference.systems.memory.containers import COMPOSE_FILE, PORTS, SERVICES

pytestmark = pytest.mark.docker
TOP = COMPOSE_FILE.parent
PROFILES = {
    "": set[str](),
    "observability": {"prometheus", "grafana"},
    "load": {"locust-master", "locust-worker", "faultload"},
}
SHORT = """\
name: short
system: memory
target: {reference: memory}
load:
  journeys: loadtests/memory.py
  rate: [{ramp: 20/s, over: 2s}, {hold: 5s}]
  max_users: 50
objectives: [lost_writes == 0]
"""


def composes() -> dict[str, tuple[str, ...]]:
    """Every compose that is here, by its version: the plugin, the one on the path, the one beside this Python."""
    beside = shutil.which("docker-compose", path=str(Path(sys.executable).parent))
    found = {}
    for command in (("docker", "compose"), ("docker-compose",), (beside,)):
        if command[0] is None or shutil.which(command[0]) is None:
            continue
        done = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), command)
    return found


COMPOSES = composes()
each_compose = pytest.mark.parametrize(
    "compose",
    [pytest.param(command, id=version) for version, command in COMPOSES.items()]
    or [pytest.param((), id="none", marks=pytest.mark.skip(reason="neither docker compose nor docker-compose"))],
)


def published_at(port: Any) -> str:
    """The address that a port of `config` is published at: a text in 1.29, a mapping in later ones."""
    return str(port["host_ip"]) if isinstance(port, dict) else str(port).partition(":")[0]


@each_compose
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_in_order_on_loopback_and_its_images_are_named(
    compose: tuple[str, ...], profile: str
) -> None:
    chosen = ["--profile", profile] if profile else []
    argv = [*compose, "-f", str(COMPOSE_FILE), *chosen, "config"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    started = {name for name, it in services.items() if profile in it.get("profiles", [profile])}
    assert started == {*SERVICES} | PROFILES[profile]
    for name, service in services.items():
        assert ":" in service["image"], name
        assert {published_at(port) for port in service.get("ports", ())} <= {"127.0.0.1"}, name


def contents() -> str:
    """A hash of all that .dockerignore lets into the build context."""
    digest = hashlib.sha256()
    for line in (TOP / ".dockerignore").read_text().splitlines():
        if not line.startswith("!"):
            continue
        top = TOP / line[1:]
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(TOP)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def run(compose: tuple[str, ...], variables: dict[str, str], *words: str) -> None:
    argv = [*compose, "-f", str(COMPOSE_FILE), *words]
    env = {**os.environ, **variables}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    needed()
    with docker_project.engine(timeout_s=900) as engine:
        yield engine


@each_compose
def test_with_load_the_workers_join_the_master_and_faultload_leaves_a_verdict(
    client: Any, compose: tuple[str, ...], tmp_path: Path
) -> None:
    scenario = tmp_path / "scenarios" / "memory" / "short.yaml"
    scenario.parent.mkdir(parents=True)
    scenario.write_text(SHORT)
    (runs := tmp_path / "runs").mkdir()
    names = (*PORTS, "MEMORY_LOCUST_PORT")
    variables = dict(zip(names, map(str, free_ports(len(names))), strict=True)) | {
        "FAULTLOAD_IMAGE": f"faultload:{contents()}",
        "FAULTLOAD_MEMORY_IMAGE": built(),
        "FAULTLOAD_BASE_IMAGE": docker_image.recipe(client, NAME).base,
        "FAULTLOAD_SCENARIOS": str(scenario.parents[1]),
        "FAULTLOAD_SCENARIO": "scenarios/memory/short.yaml",
        "FAULTLOAD_PROFILE": "full",
        "FAULTLOAD_RUNS": str(runs),
        "FAULTLOAD_USER": f"{os.getuid()}:{os.getgid()}",
    }
    project = f"faultload-profiles-{secrets.token_hex(3)}"
    load = ("-p", project, "--profile", "load")

    def containers(service: str) -> list[Any]:
        found = docker_project.containers(client, project)
        return [container for container in found if container.labels[docker_project.SERVICE] == service]

    def workers() -> list[str]:
        url = f"http://127.0.0.1:{variables['MEMORY_LOCUST_PORT']}/stats/requests"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return [worker["state"] for worker in json.load(answer)["workers"]]

    def health(container: Any) -> str:
        container.reload()
        return str(container.attrs["State"]["Health"]["Status"])

    try:
        if not docker_image.is_here(client, variables["FAULTLOAD_IMAGE"]):
            run(compose, variables, *load, "build", "locust-master")
        run(compose, variables, *load, "up", "-d", "--no-build")
        wait_for(lambda: workers() == ["ready", "ready"], 30)
        locust = [*containers("locust-master"), *containers("locust-worker")]
        assert len(locust) == 3
        wait_for(lambda: {health(container) for container in locust} == {"healthy"}, 30)
        (player,) = containers("faultload")
        ended = player.wait(timeout=120)["StatusCode"]
        assert ended == 0, player.logs().decode()
        verdict = json.loads((runs / "latest" / "verdict.json").read_text())
        assert verdict["verdict"] == "PASS"
        assert verdict["writes"]["lost"] == 0 and verdict["writes"]["acknowledged"] > 20
        checks = json.loads((runs / "latest" / "writes.json").read_text())["checks"]
        assert {check["name"] for check in checks if check["error"] is None} == {"database", "api"}
    finally:
        assert docker_project.remove(client, project) == []
