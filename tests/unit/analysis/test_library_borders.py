"""The library stands alone: numpy and scipy, matplotlib for figures only, nothing of faultload, no files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import faultload_analysis

LIBRARY = Path(faultload_analysis.__file__).parent
STANDARD = sys.stdlib_module_names
FILES = {"pathlib", "os", "io", "shutil", "tempfile", "sqlite3", "subprocess", "socket"}


def imported(file: Path) -> Iterator[str]:
    """The top-level names that a module imports from elsewhere."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def test_it_imports_numpy_and_scipy_and_for_figures_matplotlib() -> None:
    seen = set()
    for file in LIBRARY.rglob("*.py"):
        allowed = {"numpy", "scipy"} | ({"matplotlib"} if file.parent.name == "figures" else set())
        allowed.add("faultload_analysis")
        found = set(imported(file))
        assert found - STANDARD <= allowed, file
        assert not found & FILES, f"{file} reads files"
        seen |= found
    assert {"numpy", "scipy", "matplotlib"} <= seen


def test_everything_but_the_figures_works_without_matplotlib() -> None:
    files = [file.relative_to(LIBRARY.parent) for file in LIBRARY.rglob("*.py") if file.parent.name != "figures"]
    modules = [".".join(file.with_suffix("").parts) for file in files if file.stem != "__init__"]
    assert len(modules) > 20
    load = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code = f"{load}print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    lengths = {file.name: len(file.read_text().splitlines()) for file in LIBRARY.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
