"""The guide's fault is executed as it stands: its test, its experiment, its entry point in a package of its own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from faultload.host.processes import identify
from faultload.record.directory import RunDirectory
from faultload.record.events import Witness

GUIDE = Path(__file__).parents[3] / "docs" / "adding-a-fault.md"
FAULT, TEST, EXPERIMENT = (
    "team_faults/exhaust_descriptors.py",
    "test_exhaust_descriptors.py",
    "exhaust_descriptors.yaml",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's files, and its package as if it were installed."""
    folder = tmp_path_factory.mktemp("team")
    text = GUIDE.read_text()
    blocks = dict(re.findall(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert set(blocks) == {FAULT, TEST, EXPERIMENT}
    for path, content in blocks.items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    (folder / "team_faults" / "__init__.py").touch()
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    groups = tomllib.loads(toml)["project"]["entry-points"]
    info = folder / "team_faults-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: team-faults\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {to}" for name, to in these.items())
        for group, these in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def env(package: Path, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(package), "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A web server of its own, and a target file that declares it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    file = tmp_path / "target.yaml"
    web = {"command": argv, "port": port, "health": "/"}
    file.write_text(yaml.safe_dump({"id": "web", "name": "web", "platform": "local", "services": {"web": web}}))
    try:
        yield file
    finally:
        process.kill()
        process.wait()


def run(env: dict[str, str], folder: Path, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *argv], env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def helpers(package: Path) -> list[int]:
    """The processes that the guide's fault left."""
    wanted = str(package / FAULT).encode()
    found = []
    for pid in (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in argv and identify(pid) is not None:
            found.append(pid)
    return found


def test_the_guides_test_passes(package: Path, env: dict[str, str]) -> None:
    said = run(env, package, "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(package), TEST)
    assert "3 passed" in said


def test_the_guides_experiment_runs_alone_and_leaves_nothing(
    package: Path, env: dict[str, str], target: Path, tmp_path: Path
) -> None:
    env["FAULTLOAD_TARGET"] = str(target)
    argv = ["chaostoolkit", "--no-version-check", "--no-log-file", "run", str(package / EXPERIMENT)]
    run(env, tmp_path, *argv)
    assert json.loads((tmp_path / "journal.json").read_text())["status"] == "completed"
    (journal,) = (tmp_path / "state" / "faultload" / "chaos").iterdir()
    record = RunDirectory(journal)
    assert [line.state for line in record.faults()] == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"]
    assert [(one.of, one.seen) for one in record.events_of(Witness)] == [("there", True), ("gone", True)]
    deadline = time.monotonic() + 10
    while helpers(package):
        assert time.monotonic() < deadline, "its helper ends as soon as somebody undid the fault"
        time.sleep(0.1)


def test_the_word_is_refused_where_nothing_makes_it(package: Path, env: dict[str, str], tmp_path: Path) -> None:
    code = (
        "from faultload.faults import cannot, faults_of, words\n"
        "assert words()['exhaust_descriptors'].selects\n"
        "assert 'exhaust_descriptors' in faults_of('local')\n"
        "assert \"cannot do 'exhaust_descriptors'\" in str(cannot('docker', 'exhaust_descriptors'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_guides_code_is_as_clean_as_our_own(package: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(GUIDE.parents[1] / "pyproject.toml")]
    done = subprocess.run([*ruff, "check", *config, str(package)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
