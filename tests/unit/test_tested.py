"""docs/tested.md: what was played last, with counts and reasons; what was not played again keeps its date."""

from __future__ import annotations

from pathlib import Path

import pytest
import tested

ROOT = Path(__file__).parents[2]


def session(where: str, **counts: int) -> dict[str, object]:
    zero = {"passed": 0, "failed": 0, "error": 0}
    return {"where": [str(ROOT / where)], "of": "long", **zero, "skipped": {}, **counts}


def test_a_session_has_a_row_and_failures_and_errors_count_together() -> None:
    page = tested.page("", [session("tests/unit", passed=7, failed=1, error=2)], "2026-01-02", "abc")
    assert "| `tests/unit`: long | 7 | 3 | 0 | 2026-01-02 | abc |\n" in page


def test_what_was_not_played_again_keeps_its_date() -> None:
    first = [session("tests/unit", passed=7), session("tests/docker", passed=3)]
    page = tested.page(
        tested.page("", first, "2026-01-02", "abc"), [session("tests/unit", passed=8)], "2026-01-03", "def"
    )
    assert "| `tests/docker`: long | 3 | 0 | 0 | 2026-01-02 | abc |\n" in page
    assert "| `tests/unit`: long | 8 | 0 | 0 | 2026-01-03 | def |\n" in page
    assert page.count("`tests/unit`") == 1


@pytest.mark.parametrize(("again", "still_there"), [("tests/unit", False), ("tests/docker", True)])
def test_reasons_for_what_was_skipped_go_when_it_is_played_again(again: str, still_there: bool) -> None:
    skipped = {**session("tests/unit", passed=7), "skipped": {"no nftables: 12 left out": 12}}
    page = tested.page("", [skipped], "2026-01-02", "abc")
    assert "| 7 | 0 | 12 |" in page and "no nftables: 12 left out (12)" in page
    later = tested.page(page, [session(again, passed=1)], "2026-01-03", "def")
    assert ("no nftables" in later) == still_there
