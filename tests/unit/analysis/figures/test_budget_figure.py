"""The burn-down of a budget as a figure."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from faultload_analysis.figures import FaultSpan, budget_burn_down
from faultload_analysis.slo.alerts import Alert
from faultload_analysis.slo.budget import burn_down

PAGE = Alert(130.0, "page", 3600.0, 300.0, 14.4, 260.0)
TICKET = Alert(150.0, "ticket", 86400.0, 7200.0, 3.0, None)


def drawn(figure: Figure) -> list[str]:
    """Every word on the figure; drawing it must not fail."""
    figure.savefig(io.BytesIO(), format="png")
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    labels = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    legends = [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    return [*texts, *labels, *legends]


def test_it_shows_the_line_the_faults_and_the_alerts() -> None:
    bad = np.zeros(600)
    bad[120:180] = 50
    line = burn_down(np.full(600, 100), bad, 0.99, 7200.0)
    figure = budget_burn_down(
        line, faults=[FaultSpan("kill", 120.0, 200.0)], alerts=[PAGE, TICKET], window_s=7200.0, title="Budget"
    )
    words = drawn(figure)
    assert {"kill", "page", "ticket", "fault", "pace that lasts the window", "left (time-based)"} <= set(words)
    assert "58.33%" in words and "overspent" not in words
    plotted = figure.axes[1].get_lines()
    assert any(np.array_equal(np.asarray(one.get_ydata()), line.remaining) for one in plotted)


def test_an_overspent_budget_says_so() -> None:
    words = drawn(budget_burn_down(burn_down(np.full(60, 10), np.full(60, 5), 0.99, 600.0)))
    assert "overspent" in words and "-400.00%" in words


def test_no_requests_are_said_and_no_window_is_refused() -> None:
    nothing = burn_down(np.zeros(60), np.zeros(60), 0.99, 600.0)
    assert "no requests" in drawn(budget_burn_down(nothing))
    with pytest.raises(ValueError, match="above 0 s"):
        budget_burn_down(nothing, window_s=0.0)
