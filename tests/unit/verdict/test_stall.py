"""`stall=`: the longest event that a team declares, in the grammar, the verdict and the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn_run import Stretch, draw

from faultload.spec.baseline import declared_limits
from faultload.spec.measures import measure_of
from faultload.spec.objective import parse_objective
from faultload.spec.term import ObjectiveError
from faultload.verdict.judge import judge


def one(path: Path, *objectives: str, **drawn: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = judge(draw(path / "run", *objectives, **drawn)).verdict["objectives"]
    return found


def test_it_decides_on_fewer_than_sixty_requests(tmp_path: Path) -> None:
    """One request in 2 s for a minute: no event of 1 s hits two of them."""
    plain, declared = one(tmp_path, "p75(latency) <= 50ms", "p75(latency, stall=1s) <= 50ms", rate=0.5)
    assert (plain["verdict"], plain["n"]) == ("INCONCLUSIVE", 30)
    assert (declared["verdict"], declared["n"]) == ("PASS", 30)
    assert declared["why"].endswith("this holds if no event lasts longer than 1 s, as stall= declares")


def test_it_counts_all_requests_that_an_event_may_hit(tmp_path: Path) -> None:
    """200 requests in 2 s: 60 s hold 30 of such stretches, and P95 needs 59 of them."""
    plain, declared = one(tmp_path, "p95(latency) <= 50ms", "p95(latency, stall=2s) <= 50ms")
    assert (plain["verdict"], declared["verdict"]) == ("PASS", "INCONCLUSIVE")
    (half,) = one(tmp_path / "half", "p95(latency, stall=500ms) <= 50ms")
    assert half["verdict"] == "PASS"


def test_a_run_that_shows_a_longer_event_says_so(tmp_path: Path) -> None:
    slow = [Stretch(20, 23, 0.4)]
    (found,) = one(tmp_path, "p50(latency, stall=500ms) <= 50ms", stretches=slow)
    assert "the run shows a longer event than stall= declares: 300 requests in a row over 2.99 s" in found["why"]
    assert "as stall= declares" not in found["why"]


def test_where_a_profile_makes_it_a_statement_of_the_run_it_says_that_it_plays_no_part(tmp_path: Path) -> None:
    (found,) = one(tmp_path, "p95(latency, stall=2s) <= 50ms", scenario={"statements": "run"})
    assert (found["verdict"], found["statement"]) == ("PASS", "run")
    assert found["why"].endswith("of the run stall= plays no part")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p99(latency, stall=2) <= 1s", "stall: "),
        ("p99(latency, stall=0s) <= 1s", "stall=0s is no time"),
        ("p99(latency, stall=2s) >= 1s", "stall= helps an upper limit only"),
        ("p99(latency, stall=2s) <= 1s of run", "stall= is about the system"),
        ("p99(latency, stall=2s) <= 1s during fault", "end it with `of system`"),
        ("mean(latency, stall=2s) <= 1s", "mean takes no filter 'stall'"),
        ("p99(rss, stall=2s) <= 1MB", "p99 takes no filter 'stall'"),
        ("ratio(p50(latency, stall=2s), p50(latency)) <= 2", "ratio takes no stall"),
        ("slices(p95(latency, stall=2s) <= 500ms, 10s) >= 99%", "slices takes no stall"),
    ],
)
def test_where_it_would_do_nothing_it_is_refused(text: str, says: str) -> None:
    with pytest.raises(ObjectiveError, match=says):
        parse_objective(text)


def test_of_system_during_a_fault_it_is_taken() -> None:
    assert (
        str(parse_objective("p99(latency, stall=2s) <= 1s during fault of system").term) == "p99(latency, stall=2s)"
    )


def test_it_selects_nothing(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", "p99(latency, stall=2s) <= 300ms during baseline")
    assert declared_limits(run.info().as_run(), "full") == (0.3, 0.99, None)


def test_it_says_how_long_a_pass_takes() -> None:
    objective = parse_objective("p99(latency, stall=2s) <= 1s")
    measure = measure_of(objective.term)
    assert (measure.requests_needed(objective), measure.load_needed_s(objective)) == (299, 598.0)
    assert measure.load_needed_s(parse_objective("p99(latency) <= 1s")) is None
    assert measure.requests_needed(parse_objective("p50(latency, stall=2s) <= 1s")) == 5
