"""Figures are drawn from what a run can hold, the odd cases too, and quickly."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from faultload_analysis.figures import (
    FaultSpan,
    MetricSeries,
    PhaseSpan,
    QuantileSeries,
    RecoveryCurve,
    latency_by_quantile,
    metrics,
    recovery_curves,
    timeline,
)
from faultload_analysis.latency.generator import slips, spoiled_seconds
from faultload_analysis.latency.timeline import TimelineBuilder, timeline_of

NAMES = ["ok", "timeout", "dropped"]
FAULTS = [FaultSpan("kill#1", 20.0, 21.0, 24.0), FaultSpan("slow", 40.0, None)]


def run(n: int = 5000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 60, n))
    outcome = np.where((times > 20) & (times < 24), rng.integers(0, 3, n), 0)
    return times, np.where(outcome == 0, rng.exponential(0.02, n), np.inf), outcome


def drawn(figure: Figure) -> int:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return len(png.getvalue())


def test_the_timeline_has_three_panels_and_names_what_is_in_it() -> None:
    times, latency, outcome = run()
    health = spoiled_seconds(slips([], [], start_s=0, end_s=60), [0.5], [0.0], [1.0], limit_s=0.01)
    phases = [PhaseSpan("warmup", 0, 10), PhaseSpan("baseline", 10, 20)]
    builder = TimelineBuilder(0, 60, NAMES)
    builder.add(times, latency, outcome)
    builder.add_iterations(times, times)
    figure = timeline(builder.finish(), faults=FAULTS, phases=phases, spoiled=health, limit_s=0.5, title="a run")
    _, rate, quantiles, errors = figure.axes
    assert [ax.get_ylabel() for ax in (rate, quantiles, errors)] == ["rate (1/s)", "latency", "errors (1/s)"]
    labels = {text.get_text() for ax in figure.axes if (box := ax.get_legend()) for text in box.get_texts()}
    assert {"offered", "achieved", "P50 of ok", "P99 of ok", "timeout", "dropped", "spoiled", "undone"} <= labels
    assert quantiles.get_ylim()[1] < 100, "a failure is never a number"
    assert drawn(figure) > 20_000


def test_the_quantiles_drawn_are_order_statistics() -> None:
    times = np.linspace(0, 0.99, 100)
    figure = timeline(timeline_of(times, np.arange(1.0, 101.0), np.zeros(100), NAMES, end_s=1.0))
    p99, p50 = (line.get_ydata() for line in figure.axes[2].get_lines()[:2])
    assert (p99[0], p50[0]) == (99.0, 50.0)


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_samples_still_draw(n: int) -> None:
    drawn(timeline(timeline_of(np.zeros(n), np.full(n, np.inf), np.ones(n), NAMES, end_s=5.0)))
    drawn(timeline(timeline_of(np.zeros(n), np.full(n, 0.1), np.zeros(n), NAMES, end_s=5000.0)))
    drawn(latency_by_quantile([QuantileSeries("baseline", np.full(n, np.inf))], limit_s=0.5))
    drawn(recovery_curves([RecoveryCurve("f", np.zeros(n), np.full(n, 0.1), 0.0)]))
    drawn(metrics([MetricSeries("a", np.zeros(n), np.zeros(n))], [], end_s=5.0))


def test_every_figure_draws() -> None:
    times, latency, _ = run()
    drawn(latency_by_quantile([QuantileSeries("all", latency)], limit_s=0.5, limit_quantile=0.99))
    drawn(recovery_curves([RecoveryCurve("kill#1", times, latency, 20.0, 24.0)], limit_s=0.5))
    t = np.arange(60.0)
    drawn(metrics([MetricSeries("api-0", t, 1e8 + t)], [MetricSeries("api-0", t, t)], end_s=60, faults=FAULTS))


def points_drawn(samples: int) -> int:
    """Of the lines and images of a minute of so many samples."""
    times, latency, outcome = run(samples)
    figure = timeline(timeline_of(times, latency, outcome, NAMES, end_s=60), faults=FAULTS, limit_s=0.5)
    drawn(figure)
    lines = sum(len(line.get_xdata()) for axes in figure.axes for line in axes.get_lines())
    return lines + sum(image.get_size()[0] * image.get_size()[1] for axes in figure.axes for image in axes.images)


def test_a_hundred_thousand_samples_draw_no_more_points_than_ten_thousand() -> None:
    assert 0 < points_drawn(100_000) <= points_drawn(10_000)
