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


ONE_OF_EACH_KIND = {
    "test_docker_processes.py": (
        "a_killed_container_crashes",
        "terminate_asks_first",
        "a_restarted_container",
        "a_paused_container_answers",
        "fewer_stops",
    ),
    "test_docker_stress.py": (
        "cpu_stress_is_in",
        "memory_stress_is_charged",
        "io_stress_writes",
        "a_disk_is_filled",
    ),
    "test_docker_network.py": (
        "a_partition_is_silent",
        "latency_is_felt",
        "an_isolated_client",
        "a_reset_ends",
        "http_errors_are_answered",
        "names_are_unknown",
    ),
    "test_docker_database.py": ("a_dead_postmaster",),
    "test_docker_own_system.py": ("an_undeclared_container", "a_whole_run_kills"),
    "test_reference_on_docker.py": (
        "it_is_up_with",
        "its_target_file",
        "every_container_is",
        "memories_are_written",
    ),
    "test_compose_profiles.py": ("every_profile_is",),
    "test_observability.py": ("the_compose_file", "the_dashboard_is_one", "panels_lie"),
}
"""What CI plays in containers with every commit; all other tests here are `long`, so it plays a part of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        names = ONE_OF_EACH_KIND.get(item.path.name, ())
        if item.path.parent == Path(__file__).parent and not item.name.startswith(
            tuple(f"test_{n}" for n in names)
        ):
            item.add_marker(pytest.mark.long)


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
