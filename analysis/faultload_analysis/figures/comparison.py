"""Builds compared: their runs side by side, and two runs quantile by quantile."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from faultload_analysis.compare.builds import Comparison
from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.figures import style


@dataclass(frozen=True, slots=True)
class Build:
    """A build's name and its comparison with the base build."""

    name: str
    comparison: Comparison


def runs_by_build(
    base_name: str,
    builds: Sequence[Build],
    *,
    label: str,
    fmt: Callable[[float], str] = style.seconds_text,
) -> Figure:
    """One column a build, one dot a run, a bar at the median; the first column is the base.

    Beside each new build the interval of its Hodges-Lehmann shift, drawn from the base's median up or down, and
    what it says. The grey band is the margin around the base's median. Infinite runs are triangles at the upper
    edge. `label` names the value with its unit. ValueError without builds, or when their bases differ.
    """
    if not builds:
        raise ValueError("no builds to draw")
    base = builds[0].comparison.base
    if any(one.comparison.base != base for one in builds):
        raise ValueError("the builds were compared with different base runs")
    with style.styled():
        figure = style.new_figure(max(4.0, 1.6 + 1.45 * (len(builds) + 1)), 4.2)
        ax = figure.add_subplot()
        columns = [(base_name, base), *((one.name, one.comparison.new) for one in builds)]
        middle = builds[0].comparison.base_median
        if middle is not None and math.isfinite(middle):
            ax.axhline(middle, color=style.GREY, lw=0.8, ls=(0, (5, 3)), zorder=1)
            least, most = _margin(builds[0].comparison, middle)
            if most > least and all(_margin(one.comparison, middle) == (least, most) for one in builds):
                ax.axhspan(least, most, color=style.LIGHT, lw=0, zorder=0, label="margin")
        for i, (_, values) in enumerate(columns):
            _draw_runs(ax, i, values, style.CYCLE[min(i, 1)])
        for i, one in enumerate(builds, start=1):
            _draw_shift(ax, i + 0.3, one.comparison, middle)
        names = [
            f"{name}\n{len(values)} runs" + (f"\n{builds[i - 1].comparison.state}" if i else "\nbase")
            for i, (name, values) in enumerate(columns)
        ]
        ax.xaxis.set_major_locator(FixedLocator(range(len(columns))))
        ax.set_xticklabels(names)
        ax.set_xlim(-0.5, len(columns) - 0.4)
        ax.tick_params(axis="x", length=0)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: fmt(y)))
        ax.set_ylabel(label)
        style.bare(ax)
        figure.subplots_adjust(bottom=0.75 / 4.2)
        ax.plot([], [], "o", color=style.GREY, ms=5, label="a run")
        ax.plot([], [], "-", color=style.GREY, lw=2.2, label="median")
        if any(one.comparison.shift_low is not None for one in builds):
            level = builds[0].comparison.confidence
            ax.errorbar(
                [], [], [], fmt="D", color=style.BLACK, ms=4, capsize=3, label=f"shift from base, {level:.0%}"
            )
        style.legend(ax, ncols=4)
    return figure


def _margin(one: Comparison, middle: float) -> tuple[float, float]:
    if one.relative:
        return middle / (1.0 + one.margin), middle * (1.0 + one.margin)
    return middle - one.margin, middle + one.margin


def _draw_runs(ax: Axes, column: int, values: Sequence[float], colour: str) -> None:
    """Dots in run order from left to right, so that a drift shows; a bar at the median."""
    array = np.asarray(values, dtype=np.float64)
    at = column + np.linspace(-0.14, 0.14, array.size) if array.size > 1 else np.array([float(column)])
    known = np.isfinite(array)
    ax.plot(at[known], array[known], "o", color=colour, ms=5, mec="white", mew=0.6, zorder=3)
    if not known.all():
        edge = np.full(int((~known).sum()), 0.985)
        ax.plot(
            at[~known], edge, "^", color=colour, ms=6, transform=ax.get_xaxis_transform(), clip_on=False, zorder=3
        )
    if known.any():
        middle = float(np.median(array))
        if math.isfinite(middle):
            ax.plot([column - 0.2, column + 0.2], [middle, middle], color=colour, lw=2.2, zorder=2)


def _draw_shift(ax: Axes, at: float, one: Comparison, middle: float | None) -> None:
    if middle is None or one.shift is None or one.shift_low is None or one.shift_high is None:
        return
    if not all(math.isfinite(x) for x in (middle, one.shift, one.shift_low, one.shift_high)):
        return
    if one.relative and one.ratio is not None and one.ratio_low is not None and one.ratio_high is not None:
        low, value, high = (middle * x for x in (one.ratio_low, one.ratio, one.ratio_high))
    else:
        low, value, high = (middle + x for x in (one.shift_low, one.shift, one.shift_high))
    ax.errorbar(
        [at],
        [value],
        [[value - low], [high - value]],
        fmt="D",
        color=style.BLACK,
        ms=4,
        capsize=3,
        lw=1.2,
        zorder=4,
    )


def quantile_changes(
    changes: Sequence[tuple[float, Estimate]],
    *,
    ratio: bool = True,
    margin: float = 0.0,
    fmt: Callable[[float], str] | None = None,
) -> Figure:
    """New over base (or minus, `ratio` False) at each quantile, with the band between its bounds.

    `changes`: pairs of a quantile in (0, 1) and its estimate (`compare.quantile_ratio`,
    `compare.quantile_difference`). The band holds at each quantile by itself. An open bound is drawn as an arrow
    to the edge; a quantile without a finite value is left out. `margin`: grey, a share for ratios, else a value.
    ValueError when nothing can be drawn or a quantile is not in (0, 1).
    """
    if any(not 0.0 < p < 1.0 for p, _ in changes):
        raise ValueError("a quantile lies between 0 and 1")
    known = sorted((p, e) for p, e in changes if e.value is not None and math.isfinite(e.value))
    if not known:
        raise ValueError("no quantile has a finite value to draw")
    with style.styled():
        figure = style.new_figure(8.0, 4.2)
        ax = figure.add_subplot()
        x = np.array([1.0 / (1.0 - p) for p, _ in known])
        y = np.array([float(e.value or 0.0) for _, e in known])
        low, high = (
            np.array([_bound(b) for b in ends]) for ends in zip(*((e.low, e.high) for _, e in known), strict=True)
        )
        none = 1.0 if ratio else 0.0
        ax.axhline(none, color=style.BLACK, lw=0.9, ls=(0, (5, 3)), label="no change")
        if margin > 0:
            ends = (1.0 / (1.0 + margin), 1.0 + margin) if ratio else (-margin, margin)
            ax.axhspan(*ends, color=style.LIGHT, lw=0, zorder=0, label="margin")
        both = np.isfinite(low) & np.isfinite(high)
        ax.fill_between(x, low, high, where=both, color=style.BLUE, alpha=0.22, lw=0, label="95 % bounds, each")
        ax.plot(x, y, "o-", color=style.BLUE, lw=1.5, ms=4, label="new / base" if ratio else "new - base")
        ax.errorbar(
            x[both],
            y[both],
            np.stack((y[both] - low[both], high[both] - y[both])),
            fmt="none",
            ecolor=style.BLUE,
            lw=0.9,
            capsize=3,
        )
        if ratio and y.min() > 0 and y.max() > 10 * y.min():
            ax.set_yscale("log")
            ax.yaxis.set_minor_formatter(NullFormatter())
        bottom, top = ax.get_ylim()
        for i in np.flatnonzero(~both):
            _open_ends(ax, x[i], y[i], low[i], high[i], bottom, top)
        ax.set_ylim(bottom, top)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(x.tolist()))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"P{p * 100:g}" for p, _ in known])
        text = fmt or ("{:.2f} x".format if ratio else style.seconds_text)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: text(v)))
        ax.set_xlabel("quantile")
        ax.set_ylabel("ratio" if ratio else "difference")
        style.bare(ax, grid="both")
        style.legend(ax)
    return figure


def _bound(bound: float | None) -> float:
    return math.nan if bound is None or not math.isfinite(bound) else bound


def _open_ends(ax: Axes, x: float, y: float, low: float, high: float, bottom: float, top: float) -> None:
    """A stem to each bound that is known, an arrow to the edge for each that is open."""
    for bound, edge, mark in ((low, bottom, "v"), (high, top, "^")):
        end = edge if math.isnan(bound) else bound
        ax.plot([x, x], [y, end], color=style.BLUE, lw=0.9, ls=(0, (2, 2)) if math.isnan(bound) else "-")
        if math.isnan(bound):
            ax.plot([x], [end], mark, color=style.BLUE, ms=6, clip_on=False, zorder=4)
