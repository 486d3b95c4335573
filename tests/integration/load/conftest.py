"""Fixtures: loopback servers and load processes, each ended by its own pid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from load_process import Load, Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


@pytest.fixture
def other_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., Load]]:
    """Makes a load process for a journey file's text and the fields of run.json's `load`."""
    made: list[Load] = []

    def make(journeys: str, *, env: dict[str, str] | None = None, **fields: Any) -> Load:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Load(folder, journeys, fields, env or {}))
        return made[-1]

    yield make
    for one in made:
        one.end()
