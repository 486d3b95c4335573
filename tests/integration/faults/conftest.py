"""The light system that local faults are made on, and processes that a test starts by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from light_system import LightSystem
from own_processes import Processes


@pytest.fixture(autouse=True)
def state(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What undo notes of a process that it starts again goes with the test."""
    if {"own", "light"} & set(request.fixturenames):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


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
