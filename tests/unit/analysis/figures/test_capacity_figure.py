"""The capacity figure draws what there is, the odd cases too."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from faultload_analysis.capacity.bracket import Step, capacity_bracket
from faultload_analysis.capacity.knee import find_knee, kneedle
from faultload_analysis.capacity.usl import usl_fit
from faultload_analysis.evidence.verdict import Estimate, Verdict
from faultload_analysis.figures import capacity

PASS, FAIL = Verdict.PASS, Verdict.FAIL
RATES = np.array([50.0, 100, 150, 200, 250, 300, 350, 400])


def steps() -> list[Step]:
    done = []
    for rate in RATES:
        p99 = 0.01 * math.exp(rate / 100.0)
        latency = Estimate(p99, 0.9 * p99, 1.2 * p99, 5000, 900.0, "test")
        verdict = PASS if rate < 200 else FAIL if rate > 200 else Verdict.INCONCLUSIVE
        done.append(Step(float(rate), min(float(rate), 300.0), verdict, latency=latency, healthy=rate != 350.0))
    done.append(Step(450.0, 290.0, FAIL, latency=Estimate(math.inf, 1.0, None, 5000, 900.0, "test")))
    return done


def labels(figure: Figure) -> set[str]:
    return {text.get_text() for ax in figure.axes if (box := ax.get_legend()) for text in box.get_texts()}


def drawn(figure: Figure) -> int:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return len(png.getvalue())


def test_everything_at_once_is_named() -> None:
    achieved = np.minimum(RATES, 300.0) * (1 + 0.005 * np.random.default_rng(0).standard_normal(RATES.size))
    knee = find_knee(RATES, achieved)
    assert knee.found
    fit = usl_fit([1, 18, 36, 72, 108, 144, 216], [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
    figure = capacity(
        capacity_bracket(steps()),
        limit_s=0.06,
        usl=fit,
        knee=knee,
        kneedle_per_s=kneedle(RATES, achieved),
        title="a run",
    )
    assert [ax.get_ylabel() for ax in figure.axes] == ["achieved (1/s)", "P99 of latency", "throughput (1/s)"]
    wanted = {"pass", "fail", "undecided", "invalid", "offered", "target", "capacity 150 to 250/s", "USL", "peak"}
    assert wanted <= labels(figure)
    written = {text.get_text() for ax in figure.axes for text in ax.texts}
    assert any(text.startswith("knee 30") for text in written)
    assert "Kneedle, for the eye only" in written
    assert any("peak 1884/s at 96.5 users" in text for text in written)
    assert drawn(figure) > 20_000


@pytest.mark.parametrize(
    ("sweep", "label"),
    [
        ([Step(50, 50, PASS), Step(100, 100, PASS)], "capacity 100/s or more, not reached"),
        ([Step(50, 50, FAIL), Step(100, 100, FAIL)], "capacity below 50/s"),
    ],
)
def test_an_open_bracket_says_on_which_side(sweep: list[Step], label: str) -> None:
    figure = capacity(capacity_bracket(sweep))
    assert label in labels(figure)
    drawn(figure)


def test_a_curve_without_a_peak_or_with_one_far_out_draws() -> None:
    n = np.array([1.0, 2, 4, 8, 16, 32])
    for x in (10.0 * n, 10 * n / (1 + 0.02 * (n - 1) + 1e-4 * n * (n - 1))):
        drawn(capacity(capacity_bracket(steps()[:1]), usl=usl_fit(n, x)))


def test_no_steps_at_all_still_draw() -> None:
    figure = capacity(capacity_bracket([]), limit_s=0.1)
    assert "no steps" in {text.get_text() for text in figure.axes[0].texts}
    drawn(figure)


def test_a_failed_quantile_is_a_mark_at_the_edge_and_never_a_number() -> None:
    latency_axis = capacity(capacity_bracket(steps()), limit_s=0.06).axes[1]
    assert latency_axis.get_ylim()[1] < 10.0
