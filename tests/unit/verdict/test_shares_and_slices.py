"""Shares of requests within a time, budgets over them, and shares of good slices of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn_run import Stretch, Strike, draw

from faultload.spec.baseline import declared_limits
from faultload.verdict.judge import judge

SLOW = [Stretch(20, 22, 0.4)]
"""200 of 6,000 requests take 400 ms, the others 10 ms."""
OUT = [Stretch(30, 33, 5.0, "timeout")]


def one(tmp_path: Path, objective: Any, **drawn: Any) -> dict[str, Any]:
    """What became of one objective."""
    (found,) = judge(draw(tmp_path / "run", objective, **drawn)).verdict["objectives"]
    return found  # type: ignore[no-any-return]


def test_a_share_within_a_time_counts_what_took_longer_or_failed(tmp_path: Path) -> None:
    found = one(tmp_path, "share(latency <= 300ms) >= 90% of run", stretches=[*SLOW, *OUT])
    assert (found["verdict"], found["missed"], found["n"]) == ("PASS", 500, 6000)
    assert found["estimate"] == pytest.approx(100 * 5500 / 6000)
    assert found["showed"] == "500 of 6,000 over 300ms"


@pytest.mark.parametrize(("limit", "missed"), [("<= 400ms", 0), ("< 400ms", 200), ("<= 399ms", 200)])
def test_a_limit_is_met_by_what_took_just_as_long_or_not(tmp_path: Path, limit: str, missed: int) -> None:
    assert one(tmp_path, f"share(latency {limit}) >= 90%", stretches=SLOW)["missed"] == missed


def test_a_share_is_of_the_system_unless_it_says_otherwise(tmp_path: Path) -> None:
    """Two slow seconds are one event: too little to say that the system is better than 90 %."""
    found = one(tmp_path / "system", "share(latency <= 300ms) >= 96%", stretches=SLOW)
    assert (found["verdict"], found["statement"]) == ("INCONCLUSIVE", "system")
    assert found["why"].endswith("; this run showed 200 of 6,000 over 300ms: PASS `of run`")
    assert one(tmp_path / "run", "share(latency <= 300ms) >= 96% of run", stretches=SLOW)["verdict"] == "PASS"


def test_a_share_says_what_it_needs_as_the_quantile_does_that_it_is(tmp_path: Path) -> None:
    due = [3.0 + 0.1 * k for k in range(298)]
    found = one(tmp_path, "share(latency <= 300ms) >= 99% of run", seconds=due)
    assert found["verdict"] == "INCONCLUSIVE"
    assert found["why"].endswith("; with 0 over 300ms, a PASS needs n of at least 299")


def test_a_share_reads_its_filters_and_its_subject(tmp_path: Path) -> None:
    stretches = [Stretch(20, 22, 0.4, request="GET /slow"), Stretch(40, 42, 0.01, waited_s=0.5)]
    drawn: dict[str, Any] = {"stretches": stretches}
    slow = one(tmp_path / "slow", 'share(latency <= 300ms, request="GET /slow") >= 90%', **drawn)
    assert (slow["n"], slow["missed"]) == (200, 200)
    service = one(tmp_path / "service", "share(service_time <= 300ms) >= 90%", **drawn)
    assert (service["n"], service["missed"]) == (6000, 200)
    assert one(tmp_path / "all", "share(latency <= 300ms) >= 90%", **drawn)["missed"] == 400


def test_a_share_declares_the_latency_of_a_healthy_baseline(tmp_path: Path) -> None:
    run = draw(tmp_path / "run", "share(latency <= 300ms) >= 99% during baseline")
    assert declared_limits(run.info().as_run(), "full") == (0.3, 0.99, None)


def test_a_budget_is_spent_by_requests_that_took_too_long(tmp_path: Path) -> None:
    """1/30 bad of 1 % allowed: 3.33 times as fast as the budget, for a minute of 30 days."""
    verdict = judge(
        draw(
            tmp_path / "run",
            "burn_rate(99%, latency <= 300ms) <= 3",
            "budget(99%, 30d, latency <= 300ms) <= 1%",
            "budget(99%, 30d) <= 1%",
            stretches=SLOW,
        )
    ).verdict
    burn, slow, failed = verdict["objectives"]
    assert burn["estimate"] == pytest.approx(10 / 3)
    assert (burn["verdict"], burn["showed"]) == ("FAIL", "200 of 6,000 over 300ms")
    assert slow["estimate"] == pytest.approx(100 * 10 / 3 / (30 * 24 * 60), rel=0.01)
    assert [one["consumed"] for one in verdict["budgets"]] == [pytest.approx(slow["estimate"] / 100), 0.0]
    assert failed["estimate"] == 0.0


def test_slices_are_good_by_their_own_requests(tmp_path: Path) -> None:
    """60 s from 2 s on, in slices of 10 s: two slow seconds are in the second of six."""
    found = one(tmp_path, "slices(p95(latency) <= 300ms, 10s) >= 80% of run", stretches=SLOW)
    assert (found["n"], found["missed"]) == (6, 1)
    assert found["estimate"] == pytest.approx(100 * 5 / 6)
    assert found["showed"] == "1 of 6 missed p95(latency) <= 300ms"
    assert found["verdict"] == "INCONCLUSIVE"
    assert found["why"].endswith("; with 1 missed p95(latency) <= 300ms, a PASS needs n of at least 22")


def test_a_fifth_of_a_slice_does_not_miss_its_median(tmp_path: Path) -> None:
    drawn: dict[str, Any] = {"stretches": SLOW}
    assert one(tmp_path / "p50", "slices(p50(latency) <= 300ms, 10s) >= 50%", **drawn)["missed"] == 0
    assert one(tmp_path / "p80", "slices(p80(latency) <= 300ms, 10s) >= 50%", **drawn)["missed"] == 0
    assert one(tmp_path / "p81", "slices(p81(latency) <= 300ms, 10s) >= 50%", **drawn)["missed"] == 1
    assert one(tmp_path / "share", "slices(share(latency <= 300ms) >= 81%, 10s) >= 50%", **drawn)["missed"] == 1


def test_slices_of_availability(tmp_path: Path) -> None:
    found = one(tmp_path, "slices(availability >= 99%, 1s) >= 90% of run", stretches=OUT)
    assert (found["n"], found["missed"], found["verdict"]) == (60, 3, "INCONCLUSIVE")
    assert one(tmp_path / "error", "slices(error_rate <= 1%, 1s) >= 99% of run", stretches=OUT)["verdict"] == "FAIL"


def test_a_slice_without_requests_is_bad_where_there_should_have_been_some(tmp_path: Path) -> None:
    """No request for 3 s at 10/s: less likely than 1 in 1000 by chance, and nobody was served."""
    due = [2.0 + 0.1 * k + 0.05 for k in range(600) if not 180 <= k < 210]
    found = one(tmp_path, "slices(p95(latency) <= 300ms, 1s) >= 90% of run", seconds=due)
    assert (found["n"], found["missed"]) == (60, 3)
    assert "3 of them without any request" in found["why"]
    seldom = [2.5 + 2.0 * k for k in range(30)]
    rare = one(tmp_path / "rare", "slices(p95(latency) <= 300ms, 1s) >= 90% of run", seconds=seldom)
    assert (rare["n"], rare["missed"]) == (30, 0)


def test_a_quantile_of_the_times_to_recover(tmp_path: Path) -> None:
    """Three strikes of 1, 2 and 3 s: the median is 2 s, and three repeats bound none."""
    strikes = [Strike(at, at + lasted, k=k) for k, (at, lasted) in enumerate(((20, 1), (40, 2), (60, 3)), 1)]
    stretches = [Stretch(one.injected_s, one.undone_s or 0.0, 0.01, "http_error") for one in strikes]
    drawn: dict[str, Any] = {"strikes": strikes, "stretches": stretches, "stages": ({"hold": "90s"},)}
    found = one(tmp_path, "median(ttr(cut)) <= 5s", **drawn)
    assert (found["verdict"], found["n"], found["statement"]) == ("INCONCLUSIVE", 3, "system")
    assert found["estimate"] == pytest.approx(2.0, abs=0.05)
    assert found["why"].endswith("; this run showed 0 of 3 over 5s: INCONCLUSIVE `of run`")
    assert one(tmp_path / "all", "p50(ttr) <= 1.5s of run", **drawn)["verdict"] == "FAIL"
    assert one(tmp_path / "p90", "p90(ttr) <= 5s of run", **drawn)["why"].endswith("n of at least 29")
