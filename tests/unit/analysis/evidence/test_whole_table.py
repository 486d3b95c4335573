"""The calibration table is played in parts: a call goes on where the last stopped, and its promise is held."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
LENGTHS, RUNS, SEED = (20, 60), 40, 3


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("whole")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A file that holds the truth of one kind, which takes 10 million requests to find."""
    values = {"p50": 0.6931, "p90": 2.3026, "mean": 1.0, "share": 0.01, "ratio of p50": 1.0}
    file = tmp_path / "cells.jsonl"
    file.write_text(json.dumps({"kind": "exponential", "truth": values, "over": 4.6052}) + "\n")
    return file


def tallies(kept: Any) -> dict[tuple[str, int], Any]:
    return {key: cell.as_json() for key, cell in kept.cells().items()}


def test_a_second_call_plays_what_the_first_did_not(whole: Any, results: Path) -> None:
    wanted = list(whole.parts(["exponential"], LENGTHS, RUNS))
    whole.play(wanted[:3], SEED, results)
    lines = results.read_text().splitlines()
    resumed = whole.play(wanted, SEED, results)
    assert results.read_text().splitlines()[:4] == lines, "what was played stays as it was"
    assert len(results.read_text().splitlines()) == 1 + len(wanted)
    assert {key: cell.runs for key, cell in resumed.cells().items()} == {("exponential", n): RUNS for n in LENGTHS}
    assert tallies(whole.Kept.read(results)) == tallies(resumed)


def test_a_line_that_was_cut_off_is_played_again(whole: Any, results: Path) -> None:
    wanted = list(whole.parts(["exponential"], LENGTHS, RUNS))[:2]
    uncut = tallies(whole.play(wanted, SEED, results))
    text = results.read_text()
    results.write_text(text[:-30])
    assert tallies(whole.play(wanted, SEED, results)) == uncut
    assert results.read_text() == text


def test_runs_of_other_statistics_are_not_mixed(whole: Any, results: Path) -> None:
    wanted = list(whole.parts(["exponential"], LENGTHS, RUNS))[:2]
    whole.play(wanted[:1], SEED, results, ["p50", "mean"])
    resumed = whole.play(wanted, SEED, results, ["p50", "mean"])
    assert [set(cell.tallies) for cell in resumed.parts.values()] == [{"p50", "mean"}] * 2
    with pytest.raises(ValueError, match="holds other statistics"):
        whole.play(wanted, SEED, results)


def test_runs_of_two_seeds_are_not_mixed(whole: Any, results: Path) -> None:
    wanted = list(whole.parts(["exponential"], LENGTHS, RUNS))[:1]
    whole.play(wanted, SEED, results)
    with pytest.raises(ValueError, match="holds runs of seed 3, not 4"):
        whole.play(wanted, 4, results)


def test_every_cell_gets_a_part_before_any_gets_the_next(whole: Any) -> None:
    order = [part.part for part in whole.parts(["exponential", "mmpp"], whole.LENGTHS, 2_000)]
    assert order == sorted(order)
    runs: dict[int, int] = {}
    for part in whole.parts(["mmpp"], whole.LENGTHS, 2_000):
        runs[part.n] = runs.get(part.n, 0) + part.runs
    assert runs == {20: 2_000, 60: 2_000, 200: 2_000, 2_000: 2_000, 20_000: 2_000, 200_000: 400}


def cell(whole: Any, *, enough: int, passed: int, failed: int = 0) -> Any:
    """2,000 runs whose P99 passed and failed at the truth so often among those with ten events."""
    tally = whole.Tally(passed=passed, failed=failed, passed_with_events=passed, failed_with_events=failed)
    return whole.Cell("mmpp", 20_000, 2_000, enough, 0, {"p99": tally})


@pytest.mark.parametrize(
    ("enough", "passed", "failed", "above"),
    [
        (2_000, 130, 0, []),
        (2_000, 132, 0, ["PASS in 6.6% of 2000 runs"]),
        (2_000, 0, 140, ["FAIL in 7.0% of 2000 runs"]),
        (400, 33, 0, []),
        (400, 34, 0, ["PASS in 8.5% of 400 runs"]),
        (40, 40, 0, []),
        (1_100, 0, 120, ["FAIL in 10.9% of 1100 runs"]),
        (900, 0, 120, []),
        (900, 0, 140, ["FAIL in 7.0% of 2000 runs"]),
    ],
)
def test_a_cell_is_above_its_promise_beyond_the_noise(
    whole: Any, enough: int, passed: int, failed: int, above: list[str]
) -> None:
    """6.5 % of 2,000 runs, 8.4 % of 400; of fewer than 50 runs with events nothing is said.

    Where most runs hold fewer than ten, the others hold more than usual, and FAIL counts of all.
    """
    kept = whole.Kept()
    kept.parts[whole.Part("mmpp", 20_000, 0, 2_000)] = cell(whole, enough=enough, passed=passed, failed=failed)
    assert whole.broken(kept) == [f"mmpp, p99, n 20000: {what}" for what in above]


def test_a_cell_that_the_promise_names_is_not_reported(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = whole.Kept()
    kept.parts[whole.Part("mmpp", 20_000, 0, 2_000)] = cell(whole, enough=2_000, passed=500)
    assert whole.broken(kept)
    monkeypatch.setitem(whole.NAMED, ("mmpp", "p99"), "a reason")
    assert not whole.broken(kept)


def test_the_promise_names_every_kind_that_it_leaves_out(whole: Any) -> None:
    promise = (ROOT / "docs" / "calibration.md").read_text().partition("## How a quantile is bounded")[0]
    for kind, statistic in whole.NAMED:
        assert kind in import_module("kinds").KINDS and statistic in whole.STATISTICS
        assert f"`{kind}`" in promise


def test_the_page_of_the_table_has_its_marks(whole: Any, tmp_path: Path) -> None:
    page = import_module("page")
    copy = tmp_path / "calibration.md"
    copy.write_text((ROOT / "docs" / "calibration.md").read_text())
    for what in ("the limits", "the kinds of traffic", "the power"):
        page.keep(copy, what, ["a table"])
    assert copy.read_text().count("generated in benchmarks/ -->\n\na table\n\n<!-- end of") == 3
    with pytest.raises(ValueError, match="no marks"):
        page.keep(copy, "another", ["a table"])
