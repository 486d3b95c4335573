"""Latency by quantile, and recoveries overlaid at the moment of injection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from faultload_analysis.figures import style
from faultload_analysis.latency.histogram import Histogram
from faultload_analysis.latency.population import Population
from faultload_analysis.latency.slices import slices


@dataclass(frozen=True, slots=True)
class QuantileSeries:
    """One line: `latency_s` of shape (n,), seconds, +inf for failed, or what was made of them."""

    name: str
    latency_s: npt.NDArray[np.float64] | Population | Histogram

    @property
    def ranked(self) -> Population | Histogram:
        """The latencies as something that gives order statistics."""
        return self.latency_s if isinstance(self.latency_s, Histogram) else Population.of(self.latency_s)


def latency_by_quantile(
    series: Sequence[QuantileSeries], *, limit_s: float | None = None, limit_quantile: float | None = None
) -> Figure:
    """Latency against quantile on the axis 1 / (1 - q), as HdrHistogram draws it; one line a series.

    A line ends where its quantiles fall among failures (marked with an open circle) or at 1 - 1/n, where the
    samples end. `limit_s` and `limit_quantile` draw the declared target.
    """
    with style.styled():
        figure = style.new_figure(8.0, 4.5)
        ax = figure.add_subplot()
        most = 100
        for i, (line, ranked) in enumerate((s, s.ranked) for s in series if s.ranked.n):
            n = ranked.n
            most = max(most, n)
            x = np.unique(np.concatenate((np.geomspace(1.0, n, 240), [2.0, 10.0, 100.0])))
            x = x[x <= n]
            ranks = np.clip(np.ceil(np.round(n * (1.0 - 1.0 / x), 9)).astype(np.int64), 1, n)
            y = np.array([ranked.order_statistic(r) for r in ranks.tolist()])
            known = np.isfinite(y)
            colour, dash = style.CYCLE[i % len(style.CYCLE)], style.DASHES[i % len(style.DASHES)]
            failed = f", {ranked.n_failed / n:.2%} failed)" if ranked.n_failed else ")"
            name = f"{line.name} (n {n:,}{failed}"
            ax.plot(x[known], y[known], color=colour, ls=dash, lw=1.6, label=name)
            if not known.all() and known.any():
                ax.plot(x[known][-1], y[known][-1], "o", mfc="white", mec=colour, ms=5)
        if limit_s is not None:
            ax.axhline(limit_s, color=style.BLACK, lw=0.9, ls=(0, (5, 3)))
            text = "target" if limit_quantile is None else f"P{limit_quantile * 100:g} target"
            ax.annotate(text, (most, limit_s), xytext=(0, 3), textcoords="offset points", fontsize=8, ha="right")
        if limit_quantile is not None and limit_quantile < 1:
            ax.axvline(1.0 / (1.0 - limit_quantile), color=style.BLACK, lw=0.6, ls=(0, (1, 2)))
        ax.set_xscale("log")
        ticks = [1.0, 2.0] + [10.0**e for e in range(1, math.ceil(math.log10(most)) + 1)]
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(_quantile_text))
        ax.set_xlim(1.0, most * 1.05)
        style.log_latency_axis(ax)
        style.bare(ax, grid="both")
        ax.set_xlabel("quantile")
        ax.set_ylabel("latency")
        # request names are long: one below the other, where the rising lines leave room
        style.legend(
            ax, loc="lower right", bbox_to_anchor=None, ncols=1, frameon=True, framealpha=0.9, edgecolor="none"
        )
    return figure


def _quantile_text(x: float, _position: int | None = None) -> str:
    nines = 100.0 * (1.0 - 1.0 / x)
    return f"{nines:.{max(0, math.ceil(math.log10(x)) - 2)}f} %"


@dataclass(frozen=True, slots=True)
class RecoveryCurve:
    """One fault: requests around it (`intended_s`, `latency_s`: shape (n,), +inf failed) and its moments."""

    name: str
    intended_s: npt.NDArray[np.float64]
    latency_s: npt.NDArray[np.float64]
    injected_s: float
    recovered_s: float | None = None


def recovery_curves(
    curves: Sequence[RecoveryCurve],
    *,
    before_s: float = 10.0,
    after_s: float = 60.0,
    limit_s: float | None = None,
    width_s: float = 1.0,
) -> Figure:
    """Success share and P99 of ok requests against seconds since injection, one line a fault.

    A dot marks each recovery. Slices without requests (or without ok ones, for P99) leave a gap.
    """
    with style.styled():
        figure = style.new_figure(8.0, 5.0)
        share_ax, latency_ax = figure.subplots(2, 1, sharex=True)
        for i, curve in enumerate(curves):
            colour = style.CYCLE[i % len(style.CYCLE)]
            dash = style.DASHES[(i // len(style.CYCLE)) % len(style.DASHES)]
            since = np.asarray(curve.intended_s, dtype=np.float64) - curve.injected_s
            cut = slices(since, curve.latency_s, start_s=-before_s, end_s=after_s, width_s=width_s)
            x = cut.starts + width_s / 2
            success = 1.0 - cut.failed_share
            ok = np.isfinite(curve.latency_s)
            tail = slices(since[ok], curve.latency_s[ok], start_s=-before_s, end_s=after_s, width_s=width_s).p99
            share_ax.plot(x, success, color=colour, ls=dash, lw=1.4, drawstyle="steps-mid", label=curve.name)
            latency_ax.plot(x, tail, color=colour, ls=dash, lw=1.4, drawstyle="steps-mid")
            if curve.recovered_s is not None and curve.recovered_s - curve.injected_s < after_s:
                at = curve.recovered_s - curve.injected_s
                for ax, y in ((share_ax, success), (latency_ax, tail)):
                    value = y[cut.index_at(at)]
                    if np.isfinite(value):
                        ax.plot(at, value, "o", color=colour, ms=5, mec="white", mew=0.8, zorder=4)
        style.log_latency_axis(latency_ax)
        if limit_s is not None:
            latency_ax.axhline(limit_s, color=style.BLACK, lw=0.9, ls=(0, (5, 3)), label="target")
        for ax in (share_ax, latency_ax):
            style.bare(ax)
            ax.axvline(0.0, color=style.ORANGE, lw=1.2, zorder=1)
        share_ax.set_ylim(-0.03, 1.05)
        share_ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        share_ax.set_ylabel("success")
        latency_ax.set_ylabel("P99 of ok")
        latency_ax.set_xlim(-before_s, after_s)
        style.time_axis(latency_ax, before_s + after_s, "time since injection")
        style.legend(share_ax, ncols=min(max(len(curves), 1), 4))
        style.legend(latency_ax)
    return figure
