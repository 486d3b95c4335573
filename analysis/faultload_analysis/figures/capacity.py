"""Capacity: throughput and latency at each offered rate, and throughput against concurrency."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from faultload_analysis.capacity.bracket import Bracket, Step
from faultload_analysis.capacity.knee import Knee
from faultload_analysis.capacity.usl import PeakState, UslFit
from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.verdict import Verdict
from faultload_analysis.figures import style

_MARKS = {
    Verdict.PASS: ("o", style.GREEN, "pass"),
    Verdict.FAIL: ("X", style.VERMILLION, "fail"),
    Verdict.INCONCLUSIVE: ("D", style.GREY, "undecided"),
    Verdict.INVALID: ("s", style.GREY, "invalid"),
}


def capacity(
    bracket: Bracket,
    *,
    limit_s: float | None = None,
    limit_quantile: float = 0.99,
    usl: UslFit | None = None,
    knee: Knee | None = None,
    kneedle_per_s: float | None = None,
    title: str = "",
) -> Figure:
    """Achieved rate and latency quantile against offered rate, with the bracket shaded; beside them the USL fit.

    Left: every step of `bracket` by its verdict (shape and colour), its judged latency quantile with both bounds
    where it has one, the limit, and between the highest pass and the lowest fail a band (hatched to the right
    when nothing failed, to the left when nothing passed). `knee`: of the achieved rate, with its interval;
    `kneedle_per_s`: as a mark at the edge, for the eye only. Right, with `usl`: points, curve, one-sided 95 %
    bounds and peak; beyond the tested range the curve is dotted. A bracket without steps gives empty axes that
    say so.
    """
    steps = [step for level in bracket.levels for step in level.steps]
    with style.styled():
        figure = style.new_figure(12.0 if usl else 7.5, 5.6, titled=bool(title))
        grid = figure.add_gridspec(2, 2 if usl else 1, width_ratios=[1.25, 1] if usl else None, wspace=0.24)
        rate = figure.add_subplot(grid[0, 0])
        latency = figure.add_subplot(grid[1, 0], sharex=rate)
        _draw_achieved(rate, steps)
        _draw_latency(latency, steps, limit_s, limit_quantile)
        top = max((step.offered_per_s for step in steps), default=1.0) * 1.06
        for ax in (rate, latency):
            style.bare(ax, grid="both")
            _draw_bracket(ax, bracket, top, named=ax is latency)
        rate.set_xlim(0.0, top)
        _draw_knees(rate, knee, kneedle_per_s)
        rate.tick_params(labelbottom=False)
        latency.set_xlabel("offered (1/s)")
        style.legend(rate)
        style.legend(latency)
        figure.align_ylabels([rate, latency])
        if usl:
            curve = figure.add_subplot(grid[:, 1])
            _draw_usl(curve, usl)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _draw_achieved(ax: Axes, steps: list[Step]) -> None:
    if not steps:
        ax.text(0.5, 0.5, "no steps", transform=ax.transAxes, ha="center", va="center", color=style.GREY)
    offered = max((step.offered_per_s for step in steps), default=1.0)
    ax.plot([0.0, offered], [0.0, offered], color=style.BLACK, lw=0.8, ls=(0, (1, 2)), label="offered", zorder=1)
    for verdict, (marker, colour, name) in _MARKS.items():
        some = [step for step in steps if step.judged is verdict]
        hollow = verdict in (Verdict.INCONCLUSIVE, Verdict.INVALID)
        if some:
            ax.plot(
                [step.offered_per_s for step in some],
                [step.achieved_per_s for step in some],
                marker,
                mfc="white" if hollow else colour,
                mec=colour if hollow else "white",
                ms=6.5,
                mew=1.1 if hollow else 0.7,
                label=name,
                zorder=4,
            )
    ax.set_ylim(0.0, max([offered, *(step.achieved_per_s for step in steps)]) * 1.08)
    ax.set_ylabel("achieved (1/s)")


def _draw_latency(ax: Axes, steps: list[Step], limit_s: float | None, limit_quantile: float) -> None:
    known = sorted(
        (s for s in steps if s.latency is not None and s.latency.value is not None), key=lambda s: s.offered_per_s
    )
    name = f"P{limit_quantile * 100:g}"
    x, y = [], []
    for step in known:
        assert step.latency is not None and step.latency.value is not None
        value, low, high = step.latency.value, step.latency.low, step.latency.high
        marker, colour, _ = _MARKS[step.judged]
        hollow = step.judged in (Verdict.INCONCLUSIVE, Verdict.INVALID)
        finite = math.isfinite(value)
        if finite:
            x.append(step.offered_per_s)
            y.append(value)
            ends = [v for v in (low, high) if v is not None and math.isfinite(v)]
            if len(ends) == 2:
                ax.plot([step.offered_per_s] * 2, ends, color=colour, lw=1.3, zorder=3)
        ax.plot(
            step.offered_per_s,
            value if finite else 0.97,
            marker if finite else "x",
            transform=ax.transData if finite else ax.get_xaxis_transform(),
            mfc="white" if hollow else colour,
            mec=colour if hollow or not finite else "white",
            ms=6.0,
            zorder=4,
        )
    if x:
        ax.plot(x, y, color=style.BLUE, lw=1.1, zorder=2, label=f"{name} with 95 % bounds")
    if limit_s is not None:
        ax.axhline(limit_s, color=style.BLACK, lw=0.9, ls=(0, (5, 3)), label="target", zorder=2)
    if y or limit_s is not None:
        style.log_latency_axis(ax)
    ax.set_ylabel(f"{name} of latency")


def _draw_bracket(ax: Axes, bracket: Bracket, top: float, *, named: bool) -> None:
    low, high = bracket.low_per_s, bracket.high_per_s
    if low is None and high is None:
        return
    label = _bracket_text(low, high) if named else None
    left, right = 0.0 if low is None else low, top if high is None else high
    if low is None or high is None:
        ax.axvspan(left, right, facecolor="none", edgecolor=style.SKY, hatch="////", lw=0, zorder=0, label=label)
    else:
        ax.axvspan(left, right, color=style.SKY, alpha=0.3, lw=0, zorder=0, label=label)
    for edge, dash in ((low, "-"), (high, (0, (4, 2)))):
        if edge is not None:
            ax.axvline(edge, color=style.BLUE, lw=1.0, ls=dash, zorder=1)


def _bracket_text(low: float | None, high: float | None) -> str:
    if low is None:
        return f"capacity below {high:.4g}/s"
    return f"capacity {low:.4g}/s or more, not reached" if high is None else f"capacity {low:.4g} to {high:.4g}/s"


def _draw_knees(ax: Axes, knee: Knee | None, kneedle_per_s: float | None) -> None:
    """Marks near the lower edge, named beside themselves."""
    height = ax.get_ylim()[1]
    if knee is not None and knee.at.value is not None:
        left = knee.at.value if knee.at.low is None else knee.at.low
        right = knee.at.value if knee.at.high is None else knee.at.high
        y = 0.15 * height
        ax.plot([left, right], [y, y], color=style.PURPLE, lw=3.0, solid_capstyle="butt", zorder=3)
        ax.plot(knee.at.value, y, "^", color=style.PURPLE, ms=7, mec="white", mew=0.7, zorder=4)
        _name(ax, right, y, f"knee {knee.at.value:.4g}/s")
    if kneedle_per_s is not None:
        ax.plot(kneedle_per_s, 0.05 * height, "1", color=style.BLACK, ms=8, zorder=4)
        _name(ax, kneedle_per_s, 0.05 * height, "Kneedle, for the eye only")


def _name(ax: Axes, x: float, y: float, text: str) -> None:
    right = x < 0.7 * ax.get_xlim()[1]
    ax.annotate(
        text,
        (x, y),
        xytext=(7 if right else -7, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=8,
    )


def _draw_usl(ax: Axes, fit: UslFit) -> None:
    tested = float(fit.concurrency.max())
    peak = fit.peak()
    far = tested * 1.25
    if peak.state is PeakState.EXTRAPOLATED and peak.users.value is not None:
        far = max(far, min(peak.users.value * 1.15, 3.0 * tested))
    inside: Array = np.linspace(min(1.0, float(fit.concurrency.min())), tested, 200)
    beyond: Array = np.linspace(tested, far, 60)
    everywhere = np.concatenate((inside, beyond))
    low, high = fit.band(everywhere)
    if np.isfinite(low).all():
        ax.fill_between(
            everywhere, np.maximum(low, 0.0), high, color=style.SKY, alpha=0.3, lw=0, label="95 % bounds, each"
        )
    ax.plot(inside, fit.throughput(inside), color=style.BLUE, lw=1.6, label="USL")
    ax.plot(beyond, fit.throughput(beyond), color=style.BLUE, lw=1.3, ls=(0, (1, 1.5)))
    ax.plot(fit.concurrency, fit.throughput_per_s, "o", color=style.BLACK, ms=4.5, mec="white", mew=0.6, zorder=4)
    highest = max(float(fit.throughput_per_s.max()), float(fit.throughput(everywhere).max()))
    ax.set_ylim(0.0, highest * 1.25)
    ax.set_xlim(0.0, far)
    text = f"α {fit.alpha:.3g}, β {fit.beta:.3g}, γ {fit.gamma:.4g}/s\n"
    if peak.throughput_per_s is None or peak.users.value is None:
        text += "peak not reached"
    else:
        text += f"peak {peak.throughput_per_s:.4g}/s at {peak.users.value:.3g} users"
        text += "" if peak.state is PeakState.TESTED else ", extrapolated"
        if peak.users.value <= far:
            ax.plot(
                peak.users.value,
                peak.throughput_per_s,
                "*",
                color=style.VERMILLION,
                ms=12,
                mec="white",
                mew=0.7,
                label="peak",
                zorder=5,
            )
        ends = [peak.users.low, peak.users.high]
        if ends[0] is not None and ends[0] <= far:
            right = far if ends[1] is None else min(ends[1], far)
            y = highest * 0.04
            ax.plot(
                [ends[0], right],
                [y, y],
                color=style.VERMILLION,
                lw=3.0,
                solid_capstyle="butt",
                label="95 % bounds of the peak",
            )
    ax.text(0.98, 0.12, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=8)
    style.bare(ax, grid="both")
    ax.set_xlabel("concurrency (users or requests in flight)")
    ax.set_ylabel("throughput (1/s)")
    style.legend(ax)
