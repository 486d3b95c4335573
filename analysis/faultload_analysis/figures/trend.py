"""A metric with its slope, and a history of runs with its changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from faultload_analysis.compare.changepoints import ChangePoints
from faultload_analysis.evidence.verdict import Estimate
from faultload_analysis.figures import style

_MOST_POINTS = 4000


def trend(
    times_s: npt.ArrayLike,
    values: npt.ArrayLike,
    slope: Estimate,
    *,
    label: str,
    target_slope: float | None = None,
    slope_fmt: Callable[[float], str] = "{:.3g}/s".format,
    fmt: Callable[[float], str] = "{:.4g}".format,
) -> Figure:
    """The series as dots, its line, and the fan between the bounds of the slope.

    `times_s`, `values`: shape (n,); `slope`: of `trend.slope_estimate`, in units of the value per second. Lines
    turn about the point of medians. `target_slope`: the steepest that is allowed, dashed. No line without an
    estimate. Over 4000 points every k-th is drawn. ValueError when the shapes differ or no point is finite.
    """
    t, v = np.asarray(times_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.shape != v.shape or t.ndim != 1:
        raise ValueError(f"times {t.shape} and values {v.shape} must be one shape (n,)")
    keep = np.isfinite(t) & np.isfinite(v)
    t, v = t[keep], v[keep]
    if not t.size:
        raise ValueError("no points to draw")
    with style.styled():
        figure = style.new_figure(8.0, 3.8)
        ax = figure.add_subplot()
        step = -(-t.size // _MOST_POINTS)
        ax.plot(t[::step], v[::step], ".", color=style.SKY, ms=3, zorder=2, label="measured", rasterized=True)
        ends = np.array([t.min(), t.max()])
        if slope.value is not None:
            off, at = ends - np.median(t), float(np.median(v))
            text = slope_fmt(slope.value)
            if slope.low is not None and slope.high is not None:
                edges = [
                    np.minimum(slope.low * off, slope.high * off),
                    np.maximum(slope.low * off, slope.high * off),
                ]
                x = np.array([ends[0], np.median(t), ends[1]])
                low, high = ([at + e[0], at, at + e[1]] for e in edges)
                ax.fill_between(x, low, high, color=style.BLUE, alpha=0.2, lw=0, zorder=1)
                text += f" [{slope_fmt(slope.low)}, {slope_fmt(slope.high)}]"
            ax.plot(ends, at + slope.value * off, color=style.BLUE, lw=1.8, zorder=3, label=text)
            if target_slope is not None:
                line = at + target_slope * off
                limit = f"target {slope_fmt(target_slope)}"
                ax.plot(ends, line, color=style.BLACK, lw=1.0, ls=(0, (5, 3)), zorder=3, label=limit)
        elif slope.why:
            ax.text(0.5, 0.95, slope.why, transform=ax.transAxes, ha="center", va="top", color=style.GREY)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: fmt(y)))
        ax.set_ylabel(label)
        ax.set_xlim(ends[0], max(ends[1], ends[0] + 1e-9))
        style.time_axis(ax, float(ends[1] - ends[0]))
        style.bare(ax)
        style.legend(ax)
    return figure


def history(
    values: npt.ArrayLike,
    changes: ChangePoints,
    *,
    label: str,
    names: Sequence[str] = (),
    fmt: Callable[[float], str] = style.seconds_text,
) -> Figure:
    """One dot a run in order, the median of each level as a line, a mark and a text at each change.

    `values`: shape (n,), as given to `changepoints.change_points`; infinite ones are triangles at the upper edge.
    `names`: of the runs, shown where there is room, else their numbers. ValueError when `changes` or `names` are
    of another number of runs.
    """
    v = np.asarray(values, dtype=np.float64)
    if v.shape != (changes.runs,) or (names and len(names) != v.size):
        raise ValueError(f"values {v.shape}, changes of {changes.runs} runs and {len(names)} names do not fit")
    with style.styled():
        figure = style.new_figure(8.0, 3.8)
        ax = figure.add_subplot()
        runs, known = np.arange(v.size), np.isfinite(v)
        ax.plot(
            runs[known],
            v[known],
            "o-",
            color=style.SKY,
            ms=4,
            lw=0.6,
            mec=style.BLUE,
            mew=0.6,
            zorder=2,
            label="a run",
        )
        if not known.all():
            edge = np.full(int((~known).sum()), 0.985)
            ax.plot(
                runs[~known], edge, "^", color=style.VERMILLION, ms=6, transform=ax.get_xaxis_transform(),
                clip_on=False, label="infinite", zorder=3,
            )  # fmt: skip
        cuts = [0, *(one.index for one in changes.points), v.size]
        for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
            level = float(np.median(v[start:stop])) if stop > start else np.nan
            if np.isfinite(level):
                name = "median of a level" if i == 0 else None
                ax.plot([start - 0.4, stop - 0.6], [level, level], color=style.BLUE, lw=1.8, zorder=3, label=name)
        ax.margins(y=0.16)
        for i, one in enumerate(changes.points):
            ax.axvline(one.index - 0.5, color=style.ORANGE, lw=1.3, zorder=1, label="change" if i == 0 else None)
            size = "" if one.change is None else f"{one.change:+.0%}"
            text = f"{size}, p {one.p:.2g}".lstrip(", ")
            ax.annotate(
                text, (one.index - 0.5, 0.98), xycoords=ax.get_xaxis_transform(), xytext=(3, 0),
                textcoords="offset points", va="top", fontsize=8,
            )  # fmt: skip
        if not changes.points:
            ax.text(0.5, 0.97, changes.why, transform=ax.transAxes, ha="center", va="top", color=style.GREY)
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        if names:
            shown = list(names)
            ax.xaxis.set_major_formatter(
                FuncFormatter(lambda x, _: shown[round(x)] if 0 <= round(x) < len(shown) else "")
            )
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: fmt(y)))
        ax.set_ylabel(label)
        ax.set_xlabel("run")
        style.bare(ax)
        style.legend(ax)
    return figure
