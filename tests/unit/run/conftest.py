"""Fixtures: a conductor's world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conducted import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    yield made
    made.close()
