"""The kill matrix in CI: one kind per way of undoing in full, and a seeded sample of the rest."""

from __future__ import annotations

import pytest
from kill_cell import Cell
from kill_matrix import IN_FULL, cells_of, failures, run_cells, run_side_by_side, sample_of

JOBS = 3
"""Cells side by side, beside other tests: most of a cell is waiting."""


@pytest.mark.long
@pytest.mark.parametrize("kind", IN_FULL["local"])
def test_whoever_is_killed_and_when_the_target_is_as_before(kind: str) -> None:
    results = run_side_by_side(cells_of([kind]), "local", JOBS)
    assert len(results) == 18
    assert failures(results) == []


@pytest.mark.long
def test_a_sample_of_the_other_kinds() -> None:
    cells = sample_of("local")
    results = run_side_by_side(cells, "local", JOBS)
    assert len(results) == len(cells) > 0
    assert failures(results) == []


def test_one_cell_of_the_matrix() -> None:
    (result,) = run_cells([Cell("pause", ("conductor", "chaos"), "active")], "local")
    assert result.ok, result.wrong
