"""The error budget left over a run, with its faults and the alerts they would have raised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from faultload_analysis.figures import style
from faultload_analysis.figures.timeline import FaultSpan
from faultload_analysis.slo.alerts import Alert
from faultload_analysis.slo.budget import BurnDown

_LEAST_SPAN = 0.01
_BOX: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
# severity -> (colour, hatch): told apart without colour too
_LOOKS = {"page": (style.VERMILLION, ""), "ticket": (style.SKY, "////")}


def budget_burn_down(
    line: BurnDown,
    *,
    faults: Sequence[FaultSpan] = (),
    alerts: Sequence[Alert] = (),
    window_s: float | None = None,
    title: str = "",
) -> Figure:
    """The remaining budget of the window against run time; below 0 it is overspent.

    `line`: from `burn_down`. `faults` are shaded from injection to undone. `alerts` (`burn_alerts`) are bars above,
    one row a severity, from firing to clear. `window_s` draws the pace that spends the budget evenly over the
    window. A run without requests has no line, and says so. ValueError for a window that is not positive.
    """
    if window_s is not None and not window_s > 0:
        raise ValueError(f"a budget needs a window above 0 s, not {window_s}")
    start, end = float(line.times_s[0]), float(line.times_s[-1])
    rows = [kind for kind in dict.fromkeys([*_LOOKS, *(a.severity for a in alerts)]) if _of(alerts, kind)]
    with style.styled():
        figure = style.new_figure(10.0, 3.6 + 0.22 * len(rows), titled=bool(title))
        if rows:
            above, ax = figure.subplots(
                2, 1, sharex=True, gridspec_kw={"height_ratios": [0.22 * len(rows), 3.0], "hspace": 0.1}
            )
            _draw_alerts(above, alerts, rows, end)
        else:
            ax = figure.add_subplot()
        _draw_faults(ax, faults, end)
        _draw_line(ax, line, window_s)
        style.bare(ax)
        ax.set_xlim(start, end)
        ax.set_ylabel("error budget left")
        style.time_axis(ax, end - start)
        style.legend(ax, bbox_transform=figure.axes[0].transAxes)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _of(alerts: Sequence[Alert], severity: str) -> list[Alert]:
    return [alert for alert in alerts if alert.severity == severity]


def _draw_line(ax: Axes, line: BurnDown, window_s: float | None) -> None:
    known = np.isfinite(line.remaining)
    if not known.any():
        ax.text(0.5, 0.5, "no requests", transform=ax.transAxes, ha="center", va="center", color=style.GREY)
        ax.set_ylim(0, 1.05)
        return
    times, left = line.times_s, line.remaining
    ax.plot(times, left, color=style.BLUE, lw=1.8, label=f"left ({line.method})", zorder=3)
    if window_s is not None:
        pace = 1.0 - (times - times[0]) / window_s
        ax.plot(
            times, pace, color=style.BLACK, lw=0.9, ls=(0, (5, 3)), label="pace that lasts the window", zorder=2
        )
    low = min(float(left[known].min()), 1.0 - _LEAST_SPAN)
    room = (1.0 - low) * 0.06
    if float(left[known].min()) < 0:
        ax.axhspan(low - room, 0.0, facecolor="none", edgecolor="#BBBBBB", hatch="....", lw=0, zorder=0)
        ax.axhline(0.0, color=style.BLACK, lw=1.0, zorder=2)
        ax.text(0.005, 0.0, "overspent", transform=ax.get_yaxis_transform(), va="top", fontsize=8, bbox=_BOX)
    ax.set_ylim(low - room, 1.0 + 2.5 * room)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if 1.0 - low > 0.06 else 1))
    ax.annotate(
        f"{left[known][-1]:.2%}",
        (times[known][-1], left[known][-1]),
        xytext=(-5, 7),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=style.BLUE,
        bbox=_BOX,
        zorder=5,
    )


def _draw_faults(ax: Axes, faults: Sequence[FaultSpan], end_s: float) -> None:
    for i, fault in enumerate(faults):
        stop = end_s if fault.undone_s is None else fault.undone_s
        label = "fault" if i == 0 else None
        ax.axvspan(fault.injected_s, stop, color=style.ORANGE, alpha=0.25, lw=0, zorder=0, label=label)
        ax.axvline(fault.injected_s, color=style.ORANGE, lw=1.0, zorder=1)
        ax.annotate(
            fault.name,
            (fault.injected_s, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -9),
            textcoords="offset points",
            fontsize=7,
            zorder=5,
        )


def _draw_alerts(ax: Axes, alerts: Sequence[Alert], rows: Sequence[str], end_s: float) -> None:
    for row, kind in enumerate(rows):
        colour, hatch = _LOOKS.get(kind, (style.GREY, "xxxx"))
        spans = [
            (a.start_s, max((end_s if a.end_s is None else a.end_s) - a.start_s, 0.0)) for a in _of(alerts, kind)
        ]
        ax.broken_barh(
            spans, (len(rows) - row - 0.85, 0.7), facecolor=colour, edgecolor="white", hatch=hatch, linewidth=0
        )
        for begin, _ in spans:
            ax.plot([begin, begin], [len(rows) - row - 0.9, len(rows) - row - 0.1], color=style.INK, lw=1.2)
    ax.set_yticks([len(rows) - row - 0.5 for row in range(len(rows))])
    ax.set_yticklabels(list(rows))
    ax.set_ylim(0, len(rows))
    ax.spines[:].set_visible(False)
    ax.tick_params(bottom=False, labelbottom=False, left=False)
