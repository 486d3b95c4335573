"""The run on one clock: load, latency, errors, and the faults and phases they happened in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..dependence import Array
from ..generator import Spoiled
from . import style

_MAX_BINS = 600


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
    intended_s: npt.ArrayLike,
    latency_s: npt.ArrayLike,
    outcome: npt.ArrayLike,
    outcome_names: Sequence[str],
    *,
    end_s: float,
    planned_s: npt.ArrayLike | None = None,
    begun_s: npt.ArrayLike | None = None,
    faults: Sequence[FaultSpan] = (),
    phases: Sequence[PhaseSpan] = (),
    spoiled: Spoiled | None = None,
    limit_s: float | None = None,
    title: str = "",
) -> Figure:
    """Three panels over one time axis: rate, latency, errors.

    `intended_s`, `latency_s`, `outcome`: shape (n,), one entry a request: seconds, seconds (+inf failed),
    and an index into `outcome_names`, of which "ok" is success. `planned_s` and `begun_s`: slots offered and
    begun, by default the intended starts alone. Latency quantiles are over ok requests; failures are marks
    at the upper edge, never a number. `limit_s` draws the declared latency target. Runs over 10 minutes
    are drawn in longer bins. ValueError for differing shapes or end_s <= 0.
    """
    times, latency = np.asarray(intended_s, dtype=np.float64), np.asarray(latency_s, dtype=np.float64)
    codes = np.asarray(outcome, dtype=np.int64)
    if not times.shape == latency.shape == codes.shape:
        raise ValueError(f"shapes differ: {times.shape}, {latency.shape}, {codes.shape}")
    if not end_s > 0:
        raise ValueError(f"the run must have a duration, not {end_s}")
    bins = _Bins.over(end_s)
    with style.styled():
        figure = style.new_figure(10.0, 7.0, titled=bool(title))
        rows = figure.subplots(
            4, 1, sharex=True, gridspec_kw={"height_ratios": [0.17 * (bool(faults) + 1), 1, 1.25, 1]}
        )
        strip, rate, quantiles, errors = rows
        _draw_strip(strip, faults, phases, end_s)
        _draw_rate(rate, bins, times if planned_s is None else np.asarray(planned_s, dtype=np.float64), begun_s)
        ok = np.isfinite(latency)
        _draw_latency(quantiles, bins, times, latency, ok, limit_s)
        _draw_errors(errors, bins, times, codes, outcome_names)
        for ax in (rate, quantiles, errors):
            style.bare(ax)
            _draw_spans(ax, faults, phases, spoiled, end_s)
        _name_marks(rate, faults, spoiled)
        style.legend(rate)
        style.legend(quantiles)
        style.legend(errors)
        errors.set_xlim(0.0, end_s)
        style.time_axis(errors, end_s)
        figure.align_ylabels([rate, quantiles, errors])
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


@dataclass(frozen=True, slots=True)
class _Bins:
    """Equal bins over the run; one second each up to 10 minutes."""

    width_s: float
    count: int

    @classmethod
    def over(cls, end_s: float) -> _Bins:
        width = float(max(1, math.ceil(end_s / _MAX_BINS)))
        return cls(width, max(1, math.ceil(end_s / width)))

    @property
    def edges(self) -> Array:
        return np.arange(self.count + 1, dtype=np.float64) * self.width_s

    @property
    def centres(self) -> Array:
        return np.asarray(self.edges[:-1] + self.width_s / 2, dtype=np.float64)

    def index(self, times: Array) -> npt.NDArray[np.int64]:
        return np.clip((times / self.width_s).astype(np.int64), 0, self.count - 1)

    def per_second(self, times: Array) -> Array:
        return np.asarray(np.bincount(self.index(times), minlength=self.count) / self.width_s, dtype=np.float64)

    def quantiles(self, times: Array, values: Array, levels: tuple[float, ...]) -> list[Array]:
        """x_(ceil(np)) of the values in each bin, NaN where empty."""
        index = self.index(times)
        ordered = values[np.lexsort((values, index))]
        counts = np.bincount(index, minlength=self.count)
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        out = []
        for level in levels:
            at = starts + np.maximum(np.ceil(np.round(counts * level, 9)).astype(np.int64), 1) - 1
            column = np.full(self.count, np.nan)
            column[counts > 0] = ordered[at[counts > 0]]
            out.append(column)
        return out


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


def _draw_rate(ax: Axes, bins: _Bins, planned: Array, begun_s: npt.ArrayLike | None) -> None:
    ax.stairs(
        bins.per_second(planned), bins.edges, baseline=None, color=style.GREY, lw=1.1, label="offered", zorder=2
    )
    if begun_s is not None:
        begun = bins.per_second(np.asarray(begun_s, dtype=np.float64))
        ax.stairs(begun, bins.edges, baseline=None, color=style.BLUE, lw=1.3, label="achieved", zorder=3)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("rate (1/s)")


def _draw_latency(
    ax: Axes, bins: _Bins, times: Array, latency: Array, ok: npt.NDArray[np.bool_], limit_s: float | None
) -> None:
    p50, p99 = bins.quantiles(times[ok], latency[ok], (0.5, 0.99)) if ok.any() else (np.array([]), np.array([]))
    if ok.any():
        ax.plot(bins.centres, p99, color=style.VERMILLION, lw=1.2, label="P99 of ok", zorder=3)
        ax.plot(bins.centres, p50, color=style.BLUE, lw=1.4, label="P50 of ok", zorder=3)
    style.log_latency_axis(ax)
    if limit_s is not None:
        ax.axhline(limit_s, color=style.BLACK, lw=0.9, ls=(0, (5, 3)), label="target", zorder=2)
    failed = np.bincount(bins.index(times[~ok]), minlength=bins.count)
    if failed.any():
        at = bins.centres[failed > 0]
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


def _draw_errors(ax: Axes, bins: _Bins, times: Array, codes: npt.NDArray[np.int64], names: Sequence[str]) -> None:
    base = np.zeros(bins.count)
    colours = iter(
        (style.VERMILLION, style.SKY, style.PURPLE, style.YELLOW, style.GREEN, style.BLACK, style.BLUE) * 2
    )
    for code, name in enumerate(names):
        hits = codes == code
        if name == "ok" or not hits.any():
            continue
        top = base + bins.per_second(times[hits])
        ax.stairs(top, bins.edges, baseline=base, fill=True, color=next(colours), lw=0, label=name, zorder=3)
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
