"""The look all figures share: colours, fonts, axes, units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

# Okabe & Ito 2008, in an order that keeps neighbours apart for every kind of colour blindness.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PURPLE, YELLOW, BLACK = "#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#000000"
CYCLE = (BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE, BLACK, "#999999")
DASHES = ("-", "--", "-.", ":")
GREY, LIGHT, INK = "#7A7A7A", "#E6E6E6", "#222222"

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.7,
    "svg.fonttype": "path",
    "svg.hashsalt": "faultload",
    "hatch.linewidth": 0.6,
    "path.simplify": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """The house style while a figure is built; the caller's settings are left as they were."""
    with matplotlib.rc_context(_RC):
        yield


def new_figure(width: float, height: float, *, titled: bool = False) -> Figure:
    """An empty white figure in inches, with an Agg canvas of its own: never pyplot, no global state.

    The margins are fixed inches, not solved for: a layout engine would double the drawing time.
    """
    figure = Figure(figsize=(width, height), facecolor="white")
    top = 0.55 if titled else 0.3
    figure.subplots_adjust(
        left=0.8 / width, right=1 - 0.12 / width, top=1 - top / height, bottom=0.5 / height, hspace=0.28
    )
    FigureCanvasAgg(figure)
    figure.set_dpi(110)
    return figure


def bare(ax: Axes, *, grid: Literal["both", "x", "y"] = "y") -> None:
    """No top and right spine, and a quiet grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=grid, color=LIGHT, linewidth=0.6, zorder=0)
    ax.set_axisbelow(True)


def seconds_text(value: float, _position: int | None = None) -> str:
    """A latency with a unit that fits: 250 µs, 12 ms, 1.5 s."""
    if value <= 0 or not math.isfinite(value):
        return "0" if value == 0 else ""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (math.inf, 1.0, "s")):
        if value < limit * 0.9999:
            return f"{value * factor:.3g} {unit}"
    return ""


def log_latency_axis(ax: Axes) -> None:
    """A log y axis that reads 10 ms, 100 ms, 1 s."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if low > 0 and high / low < 200:
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(seconds_text))
    ax.yaxis.set_minor_formatter(NullFormatter())


def legend(ax: Axes, **options: Any) -> None:
    """A frameless legend in one row above the axes, on the right."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        settings: dict[str, Any] = {
            "loc": "lower right",
            "bbox_to_anchor": (1.0, 0.99),
            "ncols": len(handles),
            "frameon": False,
            "borderaxespad": 0.1,
            "handlelength": 1.8,
            "columnspacing": 1.2,
        }
        ax.legend(handles, labels, **(settings | options))


def clock_text(duration_s: float) -> Callable[[float, int | None], str]:
    """A tick formatter for run time: seconds up to 5 minutes, then m:ss, from an hour h:mm:ss."""

    def text(value: float, _position: int | None = None) -> str:
        if duration_s <= 300:
            return f"{value:g}"
        sign, whole = ("-" if value < 0 else ""), round(abs(value))
        if duration_s < 3600:
            return f"{sign}{whole // 60}:{whole % 60:02d}"
        return f"{sign}{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"

    return text


def time_axis(ax: Axes, duration_s: float, label: str = "time since start") -> None:
    """Round ticks (1, 2, 5, 10, 15, 30 s, min, h) and the fitting unit in the label."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
    step = next((s for s in steps if duration_s / s <= 12), 86400)
    ax.xaxis.set_major_locator(matplotlib.ticker.MultipleLocator(step))
    ax.xaxis.set_major_formatter(FuncFormatter(clock_text(duration_s)))
    unit = "s" if duration_s <= 300 else ("min:s" if duration_s < 3600 else "h:min:s")
    ax.set_xlabel(f"{label} ({unit})")
