"""The fault matrix in CI: two cells with each commit, so that all of it comes round."""

from __future__ import annotations

import pytest
from fault_cell import FaultCell
from fault_matrix import CELLS, ROUNDS, play_cells, round_of
from fault_troubles import TROUBLES, cannot
from kill_matrix import failures
from parts import round_number


@pytest.mark.long
@pytest.mark.round
def test_whatever_is_wrong_with_the_machine_and_when_the_target_is_as_before() -> None:
    number = round_number()
    cells = [cell for cell in round_of(number) if cannot(cell.trouble) is None]
    if not cells:
        pytest.skip("; ".join(sorted({cannot(cell.trouble) or "" for cell in round_of(number)})))
    results = play_cells(cells)
    assert len(results) == len(cells)
    assert failures(results) == [], f"again: python tests/fault_matrix.py --round {number}"


def test_one_cell_of_the_matrix() -> None:
    why = cannot("SIGHUP")
    if why is not None:
        pytest.skip(why)
    (result,) = play_cells([FaultCell("SIGHUP", "undo", "pause")])
    assert result.ok, result.wrong


def test_every_cell_comes_round() -> None:
    rounds = [round_of(number) for number in range(ROUNDS)]
    assert {cell for cells in rounds for cell in cells} == set(CELLS)
    assert len(CELLS) == 3 * len(TROUBLES)
