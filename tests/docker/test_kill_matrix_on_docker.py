"""The kill matrix on containers in CI: what agents in their networks undo, in full."""

from __future__ import annotations

import pytest
from kill_matrix import IN_FULL, cells_of, failures, run_side_by_side

# one cell at a time: its 15 s count beside the tests of the other workers
pytestmark = pytest.mark.docker


@pytest.mark.parametrize("kind", IN_FULL["docker"])
def test_whoever_is_killed_and_when_the_containers_are_as_before(kind: str) -> None:
    results = run_side_by_side(cells_of([kind]), "docker", 1)
    assert len(results) == 18
    assert failures(results) == []
