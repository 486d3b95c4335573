"""Fixtures: a workspace with a state folder of its own, and a stand-in system; both ended by their pids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from standin import StandIn, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path)
    yield workspace
    workspace.end()


@pytest.fixture
def target(tmp_path: Path, workspace: Workspace) -> Iterator[StandIn]:
    target = StandIn(tmp_path, {})
    yield target
    target.end()
