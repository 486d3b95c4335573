"""The run on one clock: load, latency, errors, and the faults and phases they happened in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from faultload_analysis.figures import style
from faultload_analysis.latency.generator import Spoiled
from faultload_analysis.latency.timeline import Timeline


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """A fault on the timeline, seconds on the run's clock; `undone_s` None: never; `recovered_s` None: not."""

    name: str
    injected_s: float
    undone_s: float | None
    recovered_s: float | None = None


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A phase or load stage, seconds on the run's clock."""

    name: str
    start_s: float
    end_s: float


def timeline(
    run: Timeline,
    *,
    end_s: float | None = None,
    faults: Sequence[FaultSpan] = (),
    phases: Sequence[PhaseSpan] = (),
    spoiled: Spoiled | None = None,
    limit_s: float | None = None,
    title: str = "",
) -> Figure:
    """Three panels over one time axis: rate, latency, errors.

    `run`: the run in bins. Offered is the iterations planned, or the requests where iterations are not known.
    Latency quantiles are over ok requests; failures are marks at the upper edge, never a number. `limit_s` draws
    the declared latency target; `end_s` ends the axis, by default with the last bin.
    """
    first, last = float(run.edges[0]), float(run.edges[-1]) if end_s is None else end_s
    with style.styled():
        figure = style.new_figure(10.0, 7.0, titled=bool(title))
        rows = figure.subplots(
            4, 1, sharex=True, gridspec_kw={"height_ratios": [0.17 * (bool(faults) + 1), 1, 1.25, 1]}
        )
        strip, rate, quantiles, errors = rows
        _draw_strip(strip, faults, phases, last)
        _draw_rate(rate, run)
        _draw_latency(quantiles, run, limit_s)
        _draw_errors(errors, run)
        for ax in (rate, quantiles, errors):
            style.bare(ax)
            _draw_spans(ax, faults, phases, spoiled, last)
        _name_marks(rate, faults, spoiled)
        style.legend(rate)
        style.legend(quantiles)
        style.legend(errors)
        errors.set_xlim(first, last)
        style.time_axis(errors, last)
        figure.align_ylabels([rate, quantiles, errors])
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _draw_strip(ax: Axes, faults: Sequence[FaultSpan], phases: Sequence[PhaseSpan], end_s: float) -> None:
    """Which phases and faults: a row each, labelled where the label fits."""
    ax.set_ylim(0, 1 + bool(faults))
    ax.set_yticks([])
    ax.tick_params(bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)
    for phase in phases:
        width = phase.end_s - phase.start_s
        ax.axvspan(phase.start_s, phase.end_s, 0, 0.86 / (1 + bool(faults)), color=_phase_colour(phase.name), lw=0)
        text = phase.name if _fits(phase.name, width, end_s) else phase.name.split(":")[0]
        if _fits(text, width, end_s):
            ax.text(phase.start_s + width / 2, 0.43, text, ha="center", va="center", fontsize=7, clip_on=True)
    free_from = -math.inf
    for fault in faults:
        stop = end_s if fault.undone_s is None else fault.undone_s
        ax.axvspan(fault.injected_s, stop, 0.54, 0.97, color=style.ORANGE, alpha=0.9, lw=0)
        if _fits(fault.name, stop - fault.injected_s, end_s):
            ax.text((fault.injected_s + stop) / 2, 1.5, fault.name, ha="center", va="center", fontsize=7)
        elif stop >= free_from:
            right = stop + _width(fault.name, end_s) <= end_s
            at, side = (stop, "left") if right else (fault.injected_s, "right")
            ax.text(at, 1.5, f" {fault.name} ", ha=side, va="center", fontsize=7)
            free_from = stop + _width(fault.name, end_s)


def _phase_colour(name: str) -> str:
    kind = name.split(":")[0]
    return {"fault": "#F7DDAE", "recovery": "#BFE3D6", "baseline": "#EFEFEF"}.get(kind, "#D5D5D5")


def _name_marks(ax: Axes, faults: Sequence[FaultSpan], spoiled: Spoiled | None) -> None:
    """Legend entries for what the spans and upright lines mean."""
    if faults:
        ax.fill_between([], [], [], color=style.ORANGE, alpha=0.25, lw=0, label="fault")
    if any(f.undone_s is not None for f in faults):
        ax.plot([], [], color=style.ORANGE, lw=1.0, ls=(0, (2, 2)), label="undone")
    if any(f.recovered_s is not None for f in faults):
        ax.plot([], [], color=style.GREEN, lw=1.1, ls=(0, (6, 2)), label="recovered")
    if spoiled is not None and spoiled.seconds:
        ax.fill_between([], [], [], facecolor="none", edgecolor=style.GREY, hatch="////", lw=0, label="spoiled")


def _width(text: str, end_s: float) -> float:
    return (len(text) + 2) * end_s / 165.0


def _fits(text: str, width: float, end_s: float) -> bool:
    return _width(text, end_s) <= width


def _draw_rate(ax: Axes, run: Timeline) -> None:
    offered = run.total if run.planned is None else run.planned
    ax.stairs(offered / run.width_s, run.edges, baseline=None, color=style.GREY, lw=1.1, label="offered", zorder=2)
    if run.begun is not None:
        begun = run.begun / run.width_s
        ax.stairs(begun, run.edges, baseline=None, color=style.BLUE, lw=1.3, label="achieved", zorder=3)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("rate (1/s)")


def _draw_latency(ax: Axes, run: Timeline, limit_s: float | None) -> None:
    if np.isfinite(run.p50).any():
        ax.plot(run.centres, run.p99, color=style.VERMILLION, lw=1.2, label="P99 of ok", zorder=3)
        ax.plot(run.centres, run.p50, color=style.BLUE, lw=1.4, label="P50 of ok", zorder=3)
    style.log_latency_axis(ax)
    if limit_s is not None:
        ax.axhline(limit_s, color=style.BLACK, lw=0.9, ls=(0, (5, 3)), label="target", zorder=2)
    if run.failed.any():
        at = run.centres[run.failed > 0]
        ax.plot(
            at,
            np.full(at.size, 0.97),
            "x",
            transform=ax.get_xaxis_transform(),
            color=style.BLACK,
            ms=3.6,
            mew=0.9,
            label="some failed",
            zorder=4,
            clip_on=False,
        )
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** 0.1)
    ax.set_ylabel("latency")


def _draw_errors(ax: Axes, run: Timeline) -> None:
    base = np.zeros(run.total.size)
    colours = iter(
        (style.VERMILLION, style.SKY, style.PURPLE, style.YELLOW, style.GREEN, style.BLACK, style.BLUE) * 2
    )
    for name, errors in zip(run.outcomes, run.errors, strict=True):
        if not errors.any():
            continue
        top = base + errors / run.width_s
        ax.stairs(top, run.edges, baseline=base, fill=True, color=next(colours), lw=0, label=name, zorder=3)
        base = top
    ax.set_ylabel("errors (1/s)")
    ax.set_ylim(0, float(base.max()) * 1.12 if base.any() else 1.0)
    if not base.any():
        ax.text(0.5, 0.5, "no errors", transform=ax.transAxes, ha="center", va="center", color=style.GREY)


def _draw_spans(
    ax: Axes, faults: Sequence[FaultSpan], phases: Sequence[PhaseSpan], spoiled: Spoiled | None, end_s: float
) -> None:
    for phase in phases[1:]:
        ax.axvline(phase.start_s, color=style.LIGHT, lw=0.8, zorder=1)
    for fault in faults:
        stop = end_s if fault.undone_s is None else fault.undone_s
        ax.axvspan(fault.injected_s, stop, color=style.ORANGE, alpha=0.16, lw=0, zorder=0)
        ax.axvline(fault.injected_s, color=style.ORANGE, lw=1.0, zorder=1)
        if fault.undone_s is not None:
            ax.axvline(fault.undone_s, color=style.ORANGE, lw=1.0, ls=(0, (2, 2)), zorder=1)
        if fault.recovered_s is not None:
            ax.axvline(fault.recovered_s, color=style.GREEN, lw=1.1, ls=(0, (6, 2)), zorder=2)
    if spoiled is not None:
        edges = np.flatnonzero(np.diff(np.concatenate(([False], spoiled.mask, [False])).astype(np.int8)))
        for first, after in zip(edges[::2], edges[1::2], strict=True):
            ax.axvspan(
                spoiled.start_s + first,
                spoiled.start_s + after,
                facecolor="none",
                edgecolor=style.GREY,
                hatch="////",
                lw=0,
                zorder=1,
            )
