"""Fixtures: a small workspace with a scenario in order, and a state folder of its own for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_workspace import SmallWorkspace


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder; nothing of the environment reaches a test."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    for name in ("RUN", "ORDER", "SECRETS", "KILL_SWITCH", "TARGET"):
        monkeypatch.delenv(f"FAULTLOAD_{name}", raising=False)
    return folder / "faultload"


@pytest.fixture
def workspace(tmp_path: Path) -> SmallWorkspace:
    return SmallWorkspace(tmp_path / "work")
