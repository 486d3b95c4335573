"""The guide's measure works as it stands, from a package of its own: parsed, checked and judged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from synthetic_run import SCENARIO, write_run

from faultload.errors import ExitCode

GUIDE = Path(__file__).parents[3] / "docs" / "adding-a-measure.md"
JUDGE = """
import json, sys
from pathlib import Path
from faultload.record.directory import RunDirectory
from faultload.verdict.judge import judge
print(json.dumps(judge(RunDirectory(Path(sys.argv[1]))).verdict["objectives"]))
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the guide's package is installed."""
    folder = tmp_path_factory.mktemp("team")
    text = GUIDE.read_text()
    ((path, code),) = re.findall(r"^<!-- file: (\S+) -->\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (folder / path).parent.mkdir()
    (folder / path).write_text(code)
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ((group, entries),) = tomllib.loads(toml)["project"]["entry-points"].items()
    info = folder / "team_measures-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: team-measures\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{group}]\n" + "".join(f"{name} = {to}\n" for name, to in entries.items())
    )
    return {**os.environ, "PYTHONPATH": str(folder)}


def python(env: dict[str, str], *arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=True).stdout


def test_a_run_is_judged_by_it_and_misses_and_meets_it(env: dict[str, str], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    objectives = ["impacts(db-failover) <= 0", "impacts(db-failover) <= 1", "impacts(other) <= 1"]
    scenario = {**(run.info().scenario or {}), "objectives": [{"objective": text} for text in objectives]}
    run.update({"scenario": scenario})
    judged = json.loads(python(env, "-c", JUDGE, str(run.path)))
    assert [one["verdict"] for one in judged] == ["FAIL", "PASS", "INCONCLUSIVE"]
    assert judged[0]["estimate"] == 1
    assert "'other' was not injected" in judged[2]["why"]


def test_a_scenario_is_checked_by_it(env: dict[str, str], tmp_path: Path) -> None:
    texts = ["impacts(a, b) <= 1", "impacts <= 1 during baseline", "impact <= 1"]
    scenario = {**SCENARIO, "objectives": texts}
    file = tmp_path / "scenario.yaml"
    file.write_text(yaml.safe_dump(scenario))
    done = subprocess.run(
        [sys.executable, "-m", "faultload", "validate", str(file)], env=env, capture_output=True, text=True
    )
    assert done.returncode == ExitCode.USAGE
    said = " ".join((done.stdout + done.stderr).split())
    assert "impacts takes the name of one fault, or nothing" in said
    assert "impacts is about the whole run" in said
    assert "unknown measure 'impact'; did you mean 'impacts'?" in said
