"""What the instances used over the run: memory and CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from faultload_analysis.figures import style
from faultload_analysis.figures.timeline import FaultSpan

_WIDTH, _HEIGHT, _ROW = 10.0, 3.8, 0.2
_NAMES_A_ROW = 4


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """One metric of one instance: `times_s`, `values` of shape (n,); rss in bytes, cpu in percent."""

    instance: str
    times_s: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]


def metrics(
    rss_bytes: Sequence[MetricSeries],
    cpu_percent: Sequence[MetricSeries],
    *,
    end_s: float,
    faults: Sequence[FaultSpan] = (),
) -> Figure:
    """Memory above CPU, one line an instance, the same colour in both; faults shaded.

    A gap over 3 s in a series (its instance was down) is left open. ValueError when end_s <= 0.
    """
    if not end_s > 0:
        raise ValueError(f"the run must have a duration, not {end_s}")
    names = list(dict.fromkeys(s.instance for s in (*rss_bytes, *cpu_percent)))
    with style.styled():
        figure = style.new_figure(_WIDTH, _HEIGHT)
        memory, cpu = figure.subplots(2, 1, sharex=True)
        for ax, group, factor in ((memory, rss_bytes, 1e-6), (cpu, cpu_percent, 1.0)):
            for series in group:
                _draw(ax, series, names.index(series.instance), factor)
            for fault in faults:
                stop = end_s if fault.undone_s is None else fault.undone_s
                ax.axvspan(fault.injected_s, stop, color=style.ORANGE, alpha=0.16, lw=0, zorder=0)
            style.bare(ax)
            ax.set_ylim(bottom=0)
        memory.set_ylabel("memory (MB)")
        cpu.set_ylabel("CPU (%)")
        cpu.set_xlim(0.0, end_s)
        style.time_axis(cpu, end_s)
        found, labels = (memory if rss_bytes else cpu).get_legend_handles_labels()
        handles = dict(zip(labels, found, strict=True))
        if handles:
            # instance names are long: four a row, and room above for as many rows as they need
            rows = -(-len(handles) // _NAMES_A_ROW)
            figure.set_size_inches(_WIDTH, _HEIGHT + _ROW * rows)
            figure.subplots_adjust(top=1 - (0.15 + _ROW * rows) / (_HEIGHT + _ROW * rows))
            figure.legend(
                handles.values(),
                handles.keys(),
                loc="upper right",
                ncols=min(len(handles), _NAMES_A_ROW),
                frameon=False,
                borderaxespad=0.1,
            )
        figure.align_ylabels([memory, cpu])
    return figure


def _draw(ax: Axes, series: MetricSeries, index: int, factor: float) -> None:
    times, values = np.asarray(series.times_s, dtype=np.float64), np.asarray(series.values, dtype=np.float64)
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order] * factor
    gaps = np.flatnonzero(np.diff(times) > 3.0) + 1
    step = max(1, times.size // 4000)
    times, values = np.insert(times, gaps, np.nan)[::step], np.insert(values, gaps, np.nan)[::step]
    colour = style.CYCLE[index % len(style.CYCLE)]
    dash = style.DASHES[(index // len(style.CYCLE)) % len(style.DASHES)]
    ax.plot(times, values, color=colour, ls=dash, lw=1.2, label=series.instance)
