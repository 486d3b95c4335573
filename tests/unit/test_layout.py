"""The house: imports go down only, no two files import each other, and every folder keeps its rule.

The table of floors is the one of docs/whats-here.md; a new folder needs a place in it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"faultload": ROOT / "faultload", "faultload_analysis": ROOT / "analysis" / "faultload_analysis"}

FLOORS = (
    {"__main__"},
    {"cli"},
    {"commands"},
    {"run", "opened"},
    {"chaos", "report", "imports"},
    {"reference", "faults", "telemetry", "load", "verdict"},
    {"platforms", "record"},
    {"agents", "spec"},
    {"host"},
    {"errors", "__init__"},
)
"""Folders and files of `faultload/`, from the top; each imports from lower floors only."""
INSIDE = {
    "reference": ("__init__", "host", "systems", "kit", "catalogue"),
    "platforms": ("__init__", "where", "kubernetes", "docker", "local", "databases", "base", "linkproxy"),
    "agents": ("network", "link", "stress", "container", "restart", "probes", "when_told", "lifeline"),
}
"""The floors within a folder."""
ANALYSIS = ("figures", "compare", "capacity", "recovery", "slo", "latency", "evidence")
"""The folders of `faultload_analysis`, from the top."""
ONLY_IN = {
    "locust": {"load"},
    "gevent": {"load"},
    "geventhttpclient": {"load"},
    "chaoslib": {"chaos", "platforms"},
    "chaosk8s": {"platforms"},
    "docker": {"platforms", "faults", "chaos", "reference", "telemetry"},
    "kubernetes": {"platforms", "faults", "chaos", "reference", "telemetry"},
    "numpy": {"record", "verdict", "report", "load", "imports"},
    "pyarrow": {"record", "verdict", "report", "load", "imports", "opened"},
    "scipy": set[str](),
    "matplotlib": {"report", "opened"},
}
"""Heavy or single-purpose libraries and the folders that may import them."""
ON_DEMAND = {("faultload", "faultload.opened")}
"""The one arrow up: the package's front door, `faultload.open`, opened when it is asked for and not before.

`spec/measures.py` finds what is in `verdict/measures/` by listing it, as it finds the measures of other packages.
"""
GUARDED = {("faultload/agents/link/proxy.py", "uvloop")}
"""What an agent imports beside the standard library: used where it is there, done without where it is not."""


@cache
def modules() -> Mapping[str, Path]:
    found = {}
    for package, folder in PACKAGES.items():
        for file in folder.rglob("*.py"):
            parts = [package, *file.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imported(file: Path, name: str) -> tuple[str, ...]:
    """Every module that a file imports, also within functions and for type checking."""
    return tuple(_imported(file, name))


def _imported(file: Path, name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            inside = [f"{module}.{alias.name}" for alias in node.names]
            yield from (one if one in modules() else module for one in inside)


@cache
def arrows() -> Mapping[str, frozenset[str]]:
    """Which of our modules each of our modules imports."""
    return {
        name: frozenset(
            one for one in imported(file, name) if one in modules() and one != name and (name, one) not in ON_DEMAND
        )
        for name, file in modules().items()
    }


def place(name: str, depth: int) -> str:
    """The folder or file of a module at a depth: `run` of faultload.run.watch at 1."""
    parts = name.split(".")
    return parts[depth] if len(parts) > depth else "__init__"


def test_every_folder_has_its_floor() -> None:
    known = set().union(*FLOORS)
    assert {place(name, 1) for name in modules() if name.startswith("faultload.")} <= known
    folders = {file.parent.name for file in PACKAGES["faultload_analysis"].glob("*/__init__.py")}
    assert folders == set(ANALYSIS)


def test_imports_go_down_only() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    up = [
        f"{name} -> {other}"
        for name, others in arrows().items()
        for other in others
        if name.split(".")[0] == other.split(".")[0] == "faultload"
        and place(name, 1) != place(other, 1)
        and floor[place(name, 1)] >= floor[place(other, 1)]
    ]
    assert up == []


@pytest.mark.parametrize("folder", INSIDE)
def test_imports_go_down_only_within_a_folder(folder: str) -> None:
    floor = {name: number for number, name in enumerate(INSIDE[folder])}
    here = [name for name in modules() if name.split(".")[1:2] == [folder]]
    assert {place(name, 2) for name in here} - {"__init__"} <= set(floor)
    up = [
        f"{name} -> {other}"
        for name in here
        for other in arrows()[name]
        if other.split(".")[1:2] == [folder] and place(name, 2) != "__init__" != place(other, 2)
        if floor[place(name, 2)] > floor[place(other, 2)]
    ]
    assert up == []


def test_the_analysis_imports_in_one_direction_and_nothing_of_faultload() -> None:
    floor = {name: number for number, name in enumerate((*ANALYSIS, "needed", "on_demand"))}
    for name in (name for name in modules() if name.startswith("faultload_analysis.")):
        for other in arrows()[name]:
            assert other.startswith("faultload_analysis"), f"{name} -> {other}"
            if len(other.split(".")) > 1 and place(name, 1) != place(other, 1):
                assert floor[place(name, 1)] < floor[place(other, 1)], f"{name} -> {other}"


def test_no_files_import_each_other() -> None:
    left = {name: set(others) for name, others in arrows().items()}
    while True:  # whoever imports nothing that is left is in no circle
        done = {name for name, others in left.items() if not others}
        if not done:
            break
        left = {name: others - done for name, others in left.items() if name not in done}
    assert left == {}


def test_agents_need_the_standard_library_alone() -> None:
    agents = {name: file for name, file in modules().items() if name.startswith("faultload.agents")}
    assert len(agents) > 20
    other = {
        (file.relative_to(ROOT).as_posix(), top)
        for name, file in agents.items()
        for module in imported(file, name)
        if (top := module.split(".")[0]) not in sys.stdlib_module_names
        and not module.startswith("faultload.agents")
    }
    assert other == GUARDED


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    where = {
        place(name, 1)
        for name, file in modules().items()
        if name.startswith("faultload.") and library in {module.split(".")[0] for module in imported(file, name)}
    }
    assert where <= ONLY_IN[library]


def test_every_module_that_is_named_in_a_string_is_there() -> None:
    """As `python -m` is told them, here, in containers and in manifests."""
    files = [*modules().values(), ROOT / "docker-compose.yml", *ROOT.glob("deploy/**/*.yaml")]
    named = {
        word
        for file in files
        for word in re.findall(r"(?<![\w.])faultload(?:\.[a-z_0-9]+){2,}(?![\w.{])", file.read_text())
        if (ROOT / "faultload" / word.split(".")[1]).is_dir()
    }
    assert len(named) > 50
    known = modules()
    assert {word for word in named if word not in known and word.rpartition(".")[0] not in known} == set()


def test_the_tests_mirror_the_folders() -> None:
    """Every folder of unit tests is a folder of the code, or of what stands beside it."""
    folders = {file.parent.name for file in (ROOT / "tests" / "unit").glob("*/test_*.py")}
    beside = {"analysis", "docs", "notebooks"}
    assert folders - beside <= {path.name for path in PACKAGES["faultload"].iterdir() if path.is_dir()}
    analysis = {file.parent.name for file in (ROOT / "tests" / "unit" / "analysis").glob("*/test_*.py")}
    assert analysis <= set(ANALYSIS)
