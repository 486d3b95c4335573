"""Slopes of every kind of metric in benchmarks/series.py: an objective at the truth rarely passes or fails."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from repeats import most, rounds

from faultload_analysis.latency import slope_estimate

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"
SEED = 17

LENGTH_S = {
    "flat": 60,
    "line": 120,
    "line-heavy": 120,
    "line-buffers-4s": 120,
    "line-buffers-20s": 600,
    "line-cache-5s": 120,
    "line-cache-30s": 600,
    "pages": 120,
    "pages-slow": 120,
    "megabytes": 120,
    "megabytes-noise": 120,
    "steps": 2400,
    "steps-noise": 2400,
    "steps-drowned": 2400,
    "steps-random": 2400,
    "steps-unlike": 600,
    "teeth-8s": 120,
    "teeth-23s": 300,
    "teeth-90s": 1200,
    "teeth-random-15s": 300,
    "teeth-random-50s": 900,
    "collections-12s": 240,
    "collections-40s": 900,
    "collections-slow": 900,
    "generations": 1200,
}
"""Long enough for ten steps or collections."""


@pytest.fixture
def series(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("series")


def test_every_kind_is_played(series: Any) -> None:
    assert set(LENGTH_S) == set(series.SERIES)


@pytest.mark.parametrize("name", LENGTH_S)
def test_an_objective_at_the_true_slope_rarely_passes_or_fails(series: Any, name: str) -> None:
    found = series.tally(series.SERIES[name], LENGTH_S[name], rounds(200), SEED)
    assert found.enough >= 0.5 * found.runs
    limit = most(found.enough, 0.05, chance=0.001)
    assert max(found.passed_with_events, found.failed_with_events) <= limit


@pytest.mark.parametrize("name", ["steps", "steps-noise", "steps-random", "teeth-90s", "collections-40s"])
@pytest.mark.parametrize("seconds", [60, 120, 300])
def test_a_few_steps_or_collections_decide_nothing_wrongly(series: Any, name: str, seconds: int) -> None:
    """What holds none looks like a line, whose rises are growth and whose level is none."""
    one, rng = series.SERIES[name], np.random.default_rng(SEED)
    times, drawn = np.arange(seconds + 1.0), [one.draw(rng, seconds + 1) for _ in range(rounds(80))]
    some = [slope_estimate(times, values) for values, events in drawn if events]
    wrong = [found for found in some if found.low is None or not found.low <= one.slope <= (found.high or 0.0)]
    assert some and len(wrong) <= most(len(some), 0.1, chance=0.001)


@pytest.mark.parametrize(("name", "events"), [("steps", "it grew in"), ("teeth-90s", "it fell back")])
def test_too_few_of_them_name_the_length_that_shows_ten(series: Any, name: str, events: str) -> None:
    values, _ = series.SERIES[name].draw(np.random.default_rng(SEED), 401)
    why = slope_estimate(np.arange(401.0), values).why
    assert events in why and why.endswith("s would show 10")


@pytest.mark.parametrize("name", ["line", "line-heavy", "pages", "megabytes-noise", "teeth-8s", "teeth-23s"])
def test_a_slope_is_told_from_one_of_100_mb_an_hour_less_or_more_in_ten_minutes(series: Any, name: str) -> None:
    found = series.tally(series.SERIES[name], 600, rounds(80), SEED)
    assert min(found.passed_above, found.failed_below) >= 0.9 * found.runs
