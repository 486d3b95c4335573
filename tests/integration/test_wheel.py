"""The wheel holds everything: unpacked into an empty folder, it works from any other folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("faultload-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def faultload(unpacked: Path, here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys, faultload; assert faultload.__file__.startswith(sys.argv.pop(1)); faultload.cli.main()"
    return subprocess.run(
        [sys.executable, "-c", f"import faultload.cli\n{code}", str(unpacked), *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(unpacked), "XDG_STATE_HOME": str(here / "state")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_packs_are_inside_and_in_order(unpacked: Path, tmp_path: Path) -> None:
    listed = faultload(unpacked, tmp_path, "list")
    assert listed.returncode == 0, listed.stderr
    assert "database_failover" in listed.stdout
    checked = faultload(unpacked, tmp_path, "validate", "memory")
    assert checked.returncode == 0, checked.stderr
    assert "8 files in order" in checked.stdout
    planned = faultload(unpacked, tmp_path, "plan", "memory", "--profile", "standard")
    assert planned.returncode == 0, planned.stderr
    assert "kill api" in planned.stdout


def test_templates_and_type_marks_are_inside(unpacked: Path) -> None:
    assert list((unpacked / "faultload" / "report" / "templates").glob("*.j2"))
    assert (unpacked / "faultload" / "py.typed").exists()
    assert (unpacked / "faultload_analysis" / "py.typed").exists()
    assert not list(unpacked.glob("tests"))


def test_the_reference_system_for_docker_is_inside(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "from faultload.reference.host.docker_image import Recipe; "
        "from faultload.reference.systems.memory import containers; "
        "print(len(Recipe('memory', 'debian:12').context()), containers.COMPOSE_FILE)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    size, compose_file = done.stdout.split()
    assert int(size) > 50_000 and compose_file.startswith(str(unpacked))
    folder = Path(compose_file).parent
    deploy = folder / "deploy" / "memory"
    assert {"Dockerfile", "prometheus.yml", "grafana", "kubernetes"} <= {path.name for path in deploy.iterdir()}
    assert (deploy / "grafana" / "dashboards" / "memory.json").is_file()
