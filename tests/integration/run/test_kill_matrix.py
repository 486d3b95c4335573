"""The kill matrix in CI: one cell of every kind, another one with each commit, so that all of it comes round."""

from __future__ import annotations

import pytest
from kill_cell import Cell
from kill_matrix import VARIANTS, failures, kinds_shown, round_of, run_cells, run_side_by_side
from parts import round_number

JOBS = 3
"""Cells side by side: most of a cell is waiting."""


@pytest.mark.long
@pytest.mark.round
def test_whoever_is_killed_and_when_the_target_is_as_before() -> None:
    number = round_number()
    cells = round_of("local", number)
    results = run_side_by_side(cells, "local", JOBS)
    assert len(results) == len(cells) == len(kinds_shown("local"))
    assert failures(results) == [], f"again: python tests/kill_matrix.py --round {number}"


@pytest.mark.long
@pytest.mark.parametrize("variant", VARIANTS)
def test_process_trees_and_what_a_supervisor_brings_back_are_as_before_too(variant: str) -> None:
    number = round_number()
    results = run_side_by_side(round_of(variant, number), variant, JOBS)
    again = f"again: python tests/kill_matrix.py --round {number} --platform {variant}"
    assert results and failures(results) == [], again


def test_one_cell_of_the_matrix() -> None:
    (result,) = run_cells([Cell("pause", ("conductor", "chaos"), "active")], "local")
    assert result.ok, result.wrong
