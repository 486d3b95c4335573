"""Metrics of several instances: those that lived too short to be estimated are part of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import write_run

from faultload.record import tables
from faultload.record.measured import read_measured
from faultload.spec.measures import measure_of
from faultload.spec.objective import parse_objective
from faultload.verdict.evidence import Evidence
from faultload.verdict.measures.statistic import worst_of
from faultload.verdict.phases import phases_of
from faultload_analysis.evidence.verdict import Decision, Estimate, Verdict, decide

MB, NS = 1e6, 1_000_000_000


def judged(
    folder: Path, objective: str, lives: Mapping[str, tuple[float, float, float]]
) -> tuple[Decision, Estimate]:
    """An objective over instances that live from, until, and grow by so many MB an hour."""
    run = write_run(folder / "run")
    (run.path / "metrics.parquet").unlink()
    writer = tables.TableWriter(run.path, "metrics", None)
    rng = np.random.default_rng(1)
    for name, (start, end, growth) in lives.items():
        t = np.arange(start, end)
        values = 80 * MB + growth * MB / 3600 * (t - start) + 1e3 * rng.normal(size=t.size)
        same = {"service": ["api"] * t.size, "instance": [name] * t.size, "name": ["rss_bytes"] * t.size}
        writer.write({"t_ns": (t * NS).astype(np.int64), "value": values, **same})
    writer.close()
    measured = read_measured(run)
    evidence = Evidence(measured, phases_of(measured, {}), {})
    asked = parse_objective(objective)
    found = evidence.estimate(asked)
    return decide(asked.operator, asked.target.value, found, fmt=str), found


FLAT = (0.0, 67.0, 0.0)
SLOPE = "slope(rss, service=api) <= 100MB/h during all"


def test_a_flat_instance_alone_passes(tmp_path: Path) -> None:
    assert judged(tmp_path, SLOPE, {"api-0": FLAT})[0].verdict is Verdict.PASS


def test_a_slope_that_passes_names_the_steps_that_could_have_gone_unseen(tmp_path: Path) -> None:
    """What comes once in D / ln 20 is missing in 5 % of runs; a step breaks the limit with what 22 s add up to."""
    for limit, shown in (("100MB/h", "0.603MB"), ("0.1GB/h", "0.000603GB")):
        objective = f"slope(rss, service=api) <= {limit} during all"
        decision, _ = judged(tmp_path / shown, objective, {"api-0": FLAT})
        assert decision.verdict is Verdict.PASS
        unseen = f"steps of more than {shown} once in 21.7 s would break the target and could have gone unseen"
        assert decision.why.endswith(unseen)
    leaking = judged(tmp_path / "leak", SLOPE, {"api-0": (0.0, 67.0, 200.0)})[0]
    assert leaking.verdict is Verdict.FAIL and "unseen" not in leaking.why


def test_the_instance_that_leaves_it_open_says_why() -> None:
    flat = Estimate(2.0, 1.0, 3.0, 60, 60.0, "", "")
    steps = Estimate(1.0, 0.0, 9.0, 60, 60.0, "", "it grew in 1 step of up to 4: about 600 s would show 10")
    found = worst_of([flat, steps], upper=True)
    assert (found.value, found.high) == (2.0, 9.0)
    assert found.why == f"the worst of 2 instances; {steps.why}"


def test_two_that_leak_and_live_20_s_each_keep_a_flat_one_from_passing(tmp_path: Path) -> None:
    """So looks what runs out of memory and is started again, over and over."""
    lives = {"api-0": FLAT, "api-1": (5.0, 25.0, 9e5), "api-2": (26.0, 46.0, 9e5)}
    decision, found = judged(tmp_path, SLOPE, lives)
    assert decision.verdict is Verdict.INCONCLUSIVE and found.high is None
    assert "2 of them cannot be estimated (too short to say: 20 points over 19 s)" in decision.why


def test_one_that_leaks_fails_whatever_the_others_are_too_short_for(tmp_path: Path) -> None:
    lives = {"api-0": (0.0, 67.0, 5000.0), "api-1": (5.0, 25.0, 0.0)}
    assert judged(tmp_path, SLOPE, lives)[0].verdict is Verdict.FAIL


def test_a_lower_limit_is_held_against_the_least_of_all(tmp_path: Path) -> None:
    objective = "min(rss, service=api) >= 79MB during all"
    lives = {"api-0": FLAT, "api-1": (5.0, 60.0, -3000.0)}
    assert judged(tmp_path, objective, {"api-0": FLAT})[0].verdict is Verdict.PASS
    assert judged(tmp_path / "less", objective, lives)[0].verdict is Verdict.FAIL


@pytest.mark.parametrize(("seconds", "verdict"), [(9, Verdict.INCONCLUSIVE), (10, Verdict.PASS)])
def test_an_extreme_needs_ten_samples(tmp_path: Path, seconds: int, verdict: Verdict) -> None:
    decision, _ = judged(tmp_path, "max(rss) <= 100MB during all", {"api-0": (5.0, 5.0 + seconds, 0.0)})
    assert decision.verdict is verdict
    assert ("9 samples: 10 are needed" in decision.why) == (verdict is Verdict.INCONCLUSIVE)


def test_fewer_than_ten_samples_can_fail(tmp_path: Path) -> None:
    decision, _ = judged(tmp_path, "max(rss) <= 10MB during all", {"api-0": (5.0, 8.0, 0.0)})
    assert decision.verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("objective", "samples"),
    [
        ("max(rss) <= 1GB", 10),
        ("mean(cpu) <= 50%", 60),
        ("p95(rss) <= 1GB", 60),
        ("slope(rss) <= 100MB/h", 61),
        ("p95(latency) <= 1s", None),
        ("mean(cache_hit) >= 0.9", None),
        ("availability >= 99%", None),
    ],
)
def test_how_many_samples_a_statement_needs_is_declared(objective: str, samples: int | None) -> None:
    asked = parse_objective(objective)
    assert measure_of(asked.term).samples_needed(asked) == samples
