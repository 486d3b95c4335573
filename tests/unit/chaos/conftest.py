"""The run that most tests of the chaos side write into."""

from __future__ import annotations

from pathlib import Path

import pytest

from faultload.record.directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run under way, with nothing in it."""
    run = RunDirectory.create(tmp_path / "run")
    run.begin({})
    return run
