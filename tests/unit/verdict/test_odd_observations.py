"""Observations that are no number, or infinite: counted, shown, and never the end of the verdict."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import write_run

from faultload.record import tables
from faultload.record.measured import read_measured
from faultload.spec.objective import parse_objective
from faultload.verdict.evidence import Evidence
from faultload.verdict.phases import phases_of
from faultload_analysis.evidence.verdict import Decision, Verdict, decide

NS = 1_000_000_000


def judged(folder: Path, objective: str, odd: list[float]) -> Decision:
    """An objective on 600 values of about 0.9, a few of them odd."""
    run = write_run(folder / "run")
    (run.path / "observations-0.parquet").unlink()
    values = 0.9 + 0.02 * np.random.default_rng(1).normal(size=600)
    values[np.arange(len(odd)) * 7] = odd
    writer = tables.TableWriter(run.path, "observations")
    t_ns = (np.linspace(8, 60, 600) * NS).astype(np.int64)
    names = {"name": ["cache_hit"] * 600, "journey": ["Visit"] * 600, "variant": [None] * 600}
    writer.write({"t_ns": t_ns, "value": values, **names})
    writer.close()
    measured = read_measured(run)
    asked = parse_objective(objective)
    found = Evidence(measured, phases_of(measured, {}), {}).estimate(asked)
    return decide(asked.operator, asked.target.value, found, fmt=str)


@pytest.mark.parametrize(
    ("objective", "odd", "verdict", "said"),
    [
        ("mean(cache_hit) >= 0.8", [], Verdict.PASS, ""),
        ("mean(cache_hit) >= 0.8", [math.nan] * 3, Verdict.PASS, "3 of the values observed: no number, left out"),
        ("mean(cache_hit) >= 0.8", [-math.inf], Verdict.INCONCLUSIVE, "1 of the values observed: -infinity"),
        ("mean(cache_hit) <= 0.95", [math.inf], Verdict.FAIL, "1 of the values observed: infinity"),
        ("max(cache_hit) <= 2", [math.inf, math.nan], Verdict.FAIL, "1 of the values observed: infinity"),
        ("p50(cache_hit) <= 0.95", [math.inf] * 2, Verdict.PASS, "2 of the values observed: infinity"),
        ("slope(cache_hit) <= 1/s during all", [math.nan, math.inf], None, "2 points without a number left out"),
        ("ratio(mean(cache_hit), mean(cache_hit)) >= 0.5", [math.nan], None, "1 of the values observed: no number"),
        ("mean(cache_hit) >= 0.8", [math.nan] * 80, None, "80 of the values observed: no number"),
    ],
)
def test_odd_values_are_counted_and_shown(
    tmp_path: Path, objective: str, odd: list[float], verdict: Verdict | None, said: str
) -> None:
    decision = judged(tmp_path, objective, odd)
    assert said in decision.why
    assert verdict is None or decision.verdict is verdict
