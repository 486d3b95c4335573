"""The light system that local faults are made on, and processes that a test starts by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from light_system import LightSystem
from own_processes import Processes


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightSystem]:
    system = LightSystem(tmp_path_factory.mktemp("light"))
    yield system
    system.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    processes.end()
