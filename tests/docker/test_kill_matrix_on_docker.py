"""The kill matrix on containers in CI: a cell of every fifth kind, another one with each commit."""

from __future__ import annotations

import pytest
from kill_matrix import failures, kinds_shown, round_of, run_side_by_side
from parts import round_number

# one cell at a time: its 15 s count beside the tests of the other workers
pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.round]


def test_whoever_is_killed_and_when_the_containers_are_as_before() -> None:
    number = round_number()
    cells = round_of("docker", number)
    results = run_side_by_side(cells, "docker", 1)
    assert len(results) == len(cells) >= len(kinds_shown("docker")) // 5
    assert failures(results) == [], f"again: python tests/kill_matrix.py --platform docker --round {number}"
