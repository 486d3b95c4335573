"""Runs to report on: a whole one, one that was killed, one that never began."""

from __future__ import annotations

from pathlib import Path

import pytest
from judged import Judged
from synthetic_run import write_run

from faultload.record.directory import RunDirectory
from faultload.verdict.judge import judge


def _judged(run: RunDirectory) -> Judged:
    return run, judge(run)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """A run that went to its end and missed one objective."""
    return _judged(write_run(tmp_path_factory.mktemp("runs") / "database-failover-20260101-000000"))


@pytest.fixture
def killed(tmp_path: Path) -> Judged:
    """A run that was killed shortly after an outage, its fault still open."""
    return _judged(write_run(tmp_path / "killed", killed=True))


@pytest.fixture
def empty(tmp_path: Path) -> Judged:
    """A run whose load process could not begin."""
    return _judged(write_run(tmp_path / "empty", empty=True))
