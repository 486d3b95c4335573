"""The wheel holds everything: installed into an empty folder, it works from any other folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed import faultload, install_wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_packs_are_inside_and_in_order(installed: Path, tmp_path: Path) -> None:
    listed = faultload(installed, tmp_path, "list")
    assert listed.returncode == 0, listed.stderr
    assert "database_failover" in listed.stdout
    checked = faultload(installed, tmp_path, "validate", "memory")
    assert checked.returncode == 0, checked.stderr
    assert "8 files in order" in checked.stdout
    planned = faultload(installed, tmp_path, "plan", "memory", "--profile", "standard")
    assert planned.returncode == 0, planned.stderr
    assert "kill api" in planned.stdout


def test_templates_and_type_marks_are_inside(installed: Path) -> None:
    assert list((installed / "faultload" / "report" / "templates").glob("*.j2"))
    assert (installed / "faultload" / "py.typed").exists()
    assert (installed / "faultload_analysis" / "py.typed").exists()
    assert (installed / "faultload_analysis" / "power.json").exists()
    assert not list(installed.glob("tests"))


def test_the_reference_system_for_docker_is_inside(installed: Path, tmp_path: Path) -> None:
    code = (
        "from faultload.reference.host.docker_image import Recipe; "
        "from faultload.reference.systems.memory import containers; "
        "print(len(Recipe('memory', 'debian:12').context()), containers.COMPOSE_FILE)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    size, compose_file = done.stdout.split()
    assert int(size) > 50_000 and compose_file.startswith(str(installed))
    folder = Path(compose_file).parent
    deploy = folder / "deploy" / "memory"
    assert {"Dockerfile", "target.yaml", "prometheus.yml", "grafana", "kubernetes"} <= {
        path.name for path in deploy.iterdir()
    }
    assert (deploy / "grafana" / "dashboards" / "memory.json").is_file()
