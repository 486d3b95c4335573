"""Every top folder greets: what is here, one command to try it by hand, how to add one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faultload.commands.validate import validate_files

ROOT = Path(__file__).parents[3]
FOLDERS = ("loadtests", "experiments", "scenarios", "analysis", "notebooks")


@pytest.mark.parametrize("folder", FOLDERS)
def test_it_says_how_to_try_and_how_to_add(folder: str) -> None:
    text = (ROOT / folder / "README.md").read_text()
    assert re.search(r"^```(sh|python)$", text, re.MULTILINE), "one command to try"
    assert re.search(r"\b[Tt]o add\b", text), "how to add one"
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / folder / path).exists(), path


def test_the_lines_on_the_csv_run_to_the_letter() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "analysis" / "README.md").read_text(), re.M | re.S)
    assert len([line for line in code.splitlines() if line]) == 5
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.match(r"P99 0\.0\d+ s, between 0\.0\d+ and 0\.\d+ s with 95 % confidence \(n 4000\)", done.stdout)


def test_a_notebook_is_executed_by_the_command(tmp_path: Path) -> None:
    (line,) = re.findall(r"^```sh\n(.*?)\n```$", (ROOT / "notebooks" / "README.md").read_text(), re.M | re.S)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    program, *arguments = line.split()
    argv = [str(Path(sys.executable).parent / program), *arguments]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_the_files_that_they_name_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for folder in ("experiments", "scenarios"):
        named = re.findall(rf"\b{folder}/memory/\w+\.yaml", (ROOT / folder / "README.md").read_text())
        assert named and validate_files(tuple(named), ROOT).mistakes == []
