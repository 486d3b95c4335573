"""The memory service in containers, started by an installed wheel from a folder that has nothing in it."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest
from dockerref import built, needed
from installed import faultload, install_wheel

from faultload.reference.host import docker_project

pytestmark = pytest.mark.docker


def test_an_installed_wheel_starts_the_memory_service_from_its_own_compose_file(tmp_path: Path) -> None:
    needed()
    image = built()  # of the checkout; the wheel holds the same, so it builds no other
    site = install_wheel(tmp_path)
    here = tmp_path / "elsewhere"
    here.mkdir()
    try:
        up = faultload(site, here, "target", "up", "memory", "--platform", "docker", timeout_s=180)
        assert up.returncode == 0, up.stdout + up.stderr
        url = re.search(r"http://127\.0\.0\.1:\d+", up.stdout)
        assert url is not None, up.stdout
        with urllib.request.urlopen(f"{url[0]}/health/deep", timeout=10) as answer:
            assert json.load(answer)["status"] == "ok"
        (target_file,) = here.glob("state/**/target.yaml")
        variables = (target_file.parent / "compose.env").read_text()
        assert f"FAULTLOAD_MEMORY_IMAGE={image}\n" in variables
        project = re.search(r"^project: (\S+)$", target_file.read_text(), re.MULTILINE)
        assert project is not None
        with docker_project.engine() as client:
            running = docker_project.containers(client, project[1])
            files = {c.labels["com.docker.compose.project.config_files"] for c in running}
        assert files == {str(site / "faultload" / "packs" / "docker-compose.yml")}
    finally:
        down = faultload(site, here, "target", "down", "memory", "--platform", "docker", timeout_s=90)
    assert down.returncode == 0 and "memory is down" in down.stdout, down.stdout + down.stderr
    assert not list(here.glob("state/**/target.yaml"))
