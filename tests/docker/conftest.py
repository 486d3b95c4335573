"""A Docker engine, and on it light projects of a test's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from standin_project import Project

from faultload.errors import FaultloadError
from faultload.platforms.docker import client as docker_client

# a workspace with a scenario in it, as whole runs on local processes have it
sys.path.append(str(Path(__file__).parents[1] / "integration" / "run"))


@cache
def _no_engine() -> str | None:
    try:
        docker_client.client().ping()
    except FaultloadError as error:
        return str(error)
    return None


@pytest.fixture
def project() -> Iterator[Project]:
    """A project with nothing in it yet; all that is in it, and every fault on it, is gone afterwards."""
    reason = _no_engine()
    if reason is not None:
        pytest.skip(reason)
    found = Project()
    try:
        yield found
    finally:
        found.end()
