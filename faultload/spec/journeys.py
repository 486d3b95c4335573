"""What a journey file says without being imported: its syntax, its classes, what it observes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from faultload.errors import InvalidInput, Mistake


@dataclass(frozen=True, slots=True)
class JourneyFile:
    """Names found in a journey file. `observations` is None when some are not plain texts.

    `requests`: by class, how many places in it make a request through `self.client`, which is about how many
    an iteration makes; 1 at least.
    """

    classes: frozenset[str]
    requests: Mapping[str, int]
    observations: frozenset[str] | None
    acknowledges: bool


def read_journeys(file: Path) -> JourneyFile:
    """Parse a journey file. Raises InvalidInput with the line of a syntax error."""
    try:
        return _parsed(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise InvalidInput(Mistake(f"syntax error: {error.msg}", file, error.lineno)) from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(Mistake(f"cannot be read: {error}", file)) from None


@lru_cache(maxsize=16)
def _parsed(text: str) -> JourneyFile:
    """What a journey file says; the scenarios of a pack share one. Raises SyntaxError, ValueError."""
    tree = ast.parse(text)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    classes = frozenset(node.name for node in found)
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    observed: set[str] = set()
    plain = True
    acknowledges = False
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        acknowledges |= name == "acknowledge"
        if name == "observe" and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                observed.add(first.value)
            else:
                plain = False
    requests = {node.name: max(1, sum(map(_makes_request, ast.walk(node)))) for node in found}
    return JourneyFile(classes | imported, requests, frozenset(observed) if plain else None, acknowledges)


def _makes_request(node: ast.AST) -> bool:
    """Whether a node is a call such as `self.client.get(...)`."""
    called = node.func if isinstance(node, ast.Call) else None
    return (
        isinstance(called, ast.Attribute)
        and isinstance(called.value, ast.Attribute)
        and called.value.attr == "client"
    )
