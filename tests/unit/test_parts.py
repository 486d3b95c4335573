"""Every test is in exactly one part, the parts take about as long, and each has its turn."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from kill_matrix import EVERY, PLATFORMS, cells_of, kinds_shown, round_of
from parts import ROUND_ENV, _part, deal

TESTS = Path(__file__).parents[1]


def test_every_test_is_dealt_once_and_the_parts_take_about_as_long() -> None:
    seconds = {f"test_{number}": float(number % 17 + 1) for number in range(200)}
    dealt = deal(seconds, 7)
    assert set(dealt) == set(seconds) and set(dealt.values()) == set(range(1, 8))
    sums = [sum(seconds[name] for name, part in dealt.items() if part == number) for number in range(1, 8)]
    assert max(sums) - min(sums) <= 17


def test_the_longest_of_two_lists_do_not_meet_in_one_part() -> None:
    seconds = {f"test_{number}": 10.0 - number for number in range(4)}
    assert deal(seconds, 6) == {"test_0": 1, "test_1": 2, "test_2": 3, "test_3": 4}
    assert deal(seconds, 6, last_first=True) == {"test_0": 6, "test_1": 5, "test_2": 4, "test_3": 3}


def test_each_part_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []
    for number in range(100, 107):
        monkeypatch.setenv(ROUND_ENV, str(number))
        turns.append(_part("turn/7")[0])
    assert sorted(turns) == list(range(1, 8))


@pytest.mark.parametrize("text", ["8/7", "0/7", "x/7", "3", "1/0"])
def test_a_part_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        _part(text)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_rounds_of_the_kill_matrix_play_every_cell(platform: str) -> None:
    kinds = kinds_shown(platform)
    rounds = [round_of(platform, number) for number in range(18 * EVERY[platform])]
    assert {cell for cells in rounds for cell in cells} == set(cells_of(kinds))
    for cells in rounds if platform == "local" else ():
        assert len({cell.kind for cell in cells}) == len(cells), "each kind at most once a round"
        assert len({cell.victims for cell in cells}) == 6 and len({cell.moment for cell in cells}) == 3


def test_long_tests_are_only_where_their_parts_are_played() -> None:
    """`make test-part` plays the folders that it names: a long test elsewhere would never be played."""
    marked = {
        file.relative_to(TESTS).parts[0]
        for file in TESTS.rglob("test_*.py")
        if "mark.long" in file.read_text() and file.name != Path(__file__).name
    }
    assert marked <= {"integration", "system", "docker", "kubernetes"}
