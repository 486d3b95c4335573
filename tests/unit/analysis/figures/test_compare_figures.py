"""Figures of comparisons and trends: what is drawn, and what is refused."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from faultload_analysis.compare.builds import compare_runs, quantile_difference, quantile_ratio
from faultload_analysis.compare.changepoints import change_points
from faultload_analysis.evidence.verdict import no_data
from faultload_analysis.figures import Build, history, quantile_changes, runs_by_build, trend
from faultload_analysis.latency.trend import slope_estimate

RNG = np.random.default_rng(51)
BASE = 0.2 + 0.01 * RNG.normal(size=6)


def drawn(figure: Figure) -> int:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return len(png.getvalue())


def texts(figure: Figure) -> set[str]:
    return {t.get_text() for ax in figure.axes if (box := ax.get_legend()) for t in box.get_texts()}


def test_every_build_is_a_column_with_its_runs_and_its_state() -> None:
    builds = [
        Build("v2", compare_runs(BASE, BASE * 1.3, margin=0.05, relative=True)),
        Build("v3", compare_runs(BASE, [*BASE[:5], math.inf], margin=0.05, relative=True)),
        Build("v4", compare_runs(BASE, [], margin=0.05, relative=True)),
    ]
    figure = runs_by_build("v1", builds, label="P99")
    labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert labels[0] == "v1\n6 runs\nbase" and labels[1] == "v2\n6 runs\nworse"
    assert labels[3] == "v4\n0 runs\ntoo few runs"
    assert {"margin", "a run", "median", "shift from base, 95%"} <= texts(figure)
    assert figure.axes[0].get_ylim()[1] < 1.0, "an infinite run is never a number"
    assert drawn(figure) > 5000
    with pytest.raises(ValueError, match="no builds"):
        runs_by_build("v1", [], label="P99")
    with pytest.raises(ValueError, match="different base"):
        runs_by_build("v1", [builds[0], Build("v5", compare_runs(BASE + 1, BASE))], label="P99")


def test_quantile_changes_show_bounds_and_open_ends() -> None:
    a, b = RNG.exponential(0.05, 5000), RNG.exponential(0.06, 5000)
    levels = (0.5, 0.9, 0.99, 0.999)
    figure = quantile_changes([(p, quantile_ratio(a, b, p)) for p in levels], margin=0.05)
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["P50", "P90", "P99", "P99.9"]
    assert sum(line.get_marker() in "v^" and len(line.get_xdata()) == 1 for line in ax.lines) == 0
    open_ended = quantile_changes([(p, quantile_ratio(a, b, p)) for p in (0.5, 0.9999)])
    assert sum(line.get_marker() in ("v", "^") for line in open_ended.axes[0].lines) == 2
    assert drawn(quantile_changes([(p, quantile_difference(a, b, p)) for p in levels], ratio=False)) > 5000
    with pytest.raises(ValueError, match="finite value"):
        quantile_changes([(0.5, no_data("none"))])
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_changes([(1.0, quantile_ratio(a, b, 0.5))])


def test_a_trend_shows_its_slope_its_target_or_why_there_is_none() -> None:
    t = np.arange(300.0)
    v = 300 + 0.05 * t + RNG.normal(size=300)
    slope = slope_estimate(t, v)
    figure = trend(t, v, slope, label="memory (MB)", target_slope=0.03)
    assert any(text.startswith(f"{slope.value:.3g}/s [") for text in texts(figure))
    assert "target 0.03/s" in texts(figure)
    assert drawn(figure) > 5000
    short = trend(t[:9], v[:9], slope_estimate(t[:9], v[:9]), label="memory")
    assert any("too short to say" in text.get_text() for text in short.axes[0].texts)
    with pytest.raises(ValueError, match="no points"):
        trend([math.nan], [1.0], slope, label="x")
    with pytest.raises(ValueError, match="one shape"):
        trend([1.0, 2.0], [1.0], slope, label="x")


def test_a_history_marks_its_changes() -> None:
    values = np.r_[0.2 + 0.005 * RNG.normal(size=15), 0.3 + 0.005 * RNG.normal(size=12)]
    values[20] = math.inf
    found = change_points(values)
    figure = history(values, found, label="P99", names=[f"#{i}" for i in range(27)])
    assert {"a run", "infinite", "median of a level", "change"} <= texts(figure)
    assert any(text.get_text().startswith("+") for text in figure.axes[0].texts)
    assert drawn(figure) > 5000
    calm = history(values[:15], change_points(values[:15]), label="P99")
    assert any("no change in 15 runs" in text.get_text() for text in calm.axes[0].texts)
    assert drawn(history([], change_points([]), label="P99")) > 1000
    with pytest.raises(ValueError, match="do not fit"):
        history(values[:3], found, label="P99")
