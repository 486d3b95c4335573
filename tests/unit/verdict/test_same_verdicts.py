"""Recorded runs are judged as they were when their verdicts were stored.

The stored verdicts in `tests/data/verdicts/` were first written by the code of before the folders were drawn anew.
A commit that changes a rule renews them and gives the reason:
`python -m tests.unit.verdict.test_same_verdicts`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from faultload.record.directory import RunDirectory
from faultload.verdict.judge import judge
from tests.helpers.synthetic_run import write_run

ROOT = Path(__file__).parents[3]
RECORDS = ROOT / "tests" / "data" / "records"
NOTEBOOKS = ROOT / "notebooks" / "data"
STORED = ROOT / "tests" / "data" / "verdicts"
KEPT = {
    path.parent.name: path.parent
    for folder in (RECORDS, NOTEBOOKS, NOTEBOOKS / "builds")
    for path in sorted(folder.glob("*/run.json"))
}
WRITTEN = ("synthetic", "synthetic-killed", "synthetic-empty")
WITHOUT_PLATFORMS = """
import sys
for name in ("docker", "kubernetes"):
    sys.modules[name] = None
from pathlib import Path
from faultload.record.directory import RunDirectory
from faultload.verdict.judge import judge
run = RunDirectory(Path(sys.argv[1]))
run.write_verdict(judge(run).verdict)
"""


def a_run(name: str, folder: Path) -> RunDirectory:
    """A copy of a kept run, or a written one."""
    if name in KEPT:
        return RunDirectory(Path(shutil.copytree(KEPT[name], folder / name)))
    return write_run(folder / name, killed=name.endswith("killed"), empty=name.endswith("empty"))


def verdict_of(run: RunDirectory) -> str:
    """The text of verdict.json after the run was judged."""
    run.write_verdict(judge(run).verdict)
    return run.verdict_path.read_text()


@pytest.mark.parametrize("name", [*KEPT, *WRITTEN])
def test_a_recorded_run_gives_the_stored_verdict(name: str, tmp_path: Path) -> None:
    assert verdict_of(a_run(name, tmp_path)) == (STORED / f"{name}.json").read_text()


@pytest.mark.parametrize("name", ["failover", "second-dip-in-the-fault"])
def test_the_verdict_is_the_same_without_the_docker_and_kubernetes_parts(name: str, tmp_path: Path) -> None:
    run = a_run(name, tmp_path)
    subprocess.run([sys.executable, "-c", WITHOUT_PLATFORMS, str(run.path)], cwd=ROOT, check=True, timeout=60)
    assert run.verdict_path.read_text() == (STORED / f"{name}.json").read_text()


def renew() -> None:
    """Judge every run and store what is said of it now."""
    for name in [*KEPT, *WRITTEN]:
        with tempfile.TemporaryDirectory() as folder:
            (STORED / f"{name}.json").write_text(verdict_of(a_run(name, Path(folder))))


if __name__ == "__main__":
    renew()
