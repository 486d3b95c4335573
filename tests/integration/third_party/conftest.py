"""Starts systems of other people's programs for a test, and ends whatever is left of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from other_programs import System


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[str], System]]:
    systems: list[System] = []

    def start(name: str) -> System:
        systems.append(System(name, tmp_path))
        systems[-1].start()
        return systems[-1]

    try:
        yield start
    finally:
        for system in systems:
            system.end()
