"""Every promise of docs/safety.md names tests that hold it, and each of them is in the tree."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "safety.md").read_text()
ROWS = [row for row in re.findall(r"^\|(.*)\|$", PAGE, re.M) if not re.match(r"[-| ]+$| who could be hit", row)]


@cache
def functions_of(file: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef))


def named(row: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[0].strip()[:60])
def test_a_promise_names_tests_that_exist(row: str) -> None:
    who, looks_at, held_by = (cell.strip() for cell in row.split("|"))
    assert who and looks_at and named(held_by)
    assert re.sub(r"`tests/[\w/]+\.py::test_\w+`(, )?", "", held_by) == ""
    assert [test for file, test in named(held_by) if test not in functions_of(ROOT / file)] == []


def test_no_promise_stands_twice_and_the_page_says_what_it_cannot_promise() -> None:
    assert len(ROWS) > 40 and len(set(ROWS)) == len(ROWS)
    assert PAGE.index("## What it does not protect against") > PAGE.index(ROWS[-1])


def test_the_page_is_where_a_reader_looks() -> None:
    assert "safety.md" in (ROOT / "mkdocs.yml").read_text()
    for page in ("README.md", "SECURITY.md", "docs/faults.md"):
        assert "safety.md" in (ROOT / page).read_text(), page
