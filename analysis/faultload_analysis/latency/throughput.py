"""Rates: events per second, with bounds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Counts, Mask, batch_edges, uncertainty
from faultload_analysis.evidence.distributions import t_quantile
from faultload_analysis.evidence.inputs import checked_confidence
from faultload_analysis.evidence.verdict import Estimate, no_data

BATCHES_TO_TRY = (20, 10, 5)


class RateCounter:
    """Counts events over [start_s, end_s) in equal slices, from chunks in any order.

    Slices are 1 s, or 1/60 of the time when it is shorter than a minute. `centres`: shape (k,), seconds.
    """

    def __init__(self, start_s: float, end_s: float) -> None:
        """ValueError when the time is not positive and finite."""
        if not (end_s > start_s and math.isfinite(end_s - start_s)):
            raise ValueError(f"no time between {start_s} and {end_s}")
        self._start_s, self._end_s = start_s, end_s
        self._counts = np.zeros(max(60, math.ceil(end_s - start_s)), dtype=np.int64)
        self._width_s = (end_s - start_s) / self._counts.size

    @property
    def centres(self) -> Array:
        """The middle of each slice, shape (k,), seconds."""
        middles: Array = np.arange(self._counts.size, dtype=np.float64) + 0.5
        return self._start_s + self._width_s * middles

    def add(self, times_s: npt.ArrayLike) -> None:
        """Events at these moments, shape (n,); those outside are left out. ValueError for NaN or another shape."""
        t = np.asarray(times_s, dtype=np.float64)
        if t.ndim != 1:
            raise ValueError(f"times must be one-dimensional, not of shape {t.shape}")
        if np.isnan(t).any():
            raise ValueError("times hold NaN")
        t = t[(t >= self._start_s) & (t < self._end_s)]
        index = np.minimum(((t - self._start_s) / self._width_s).astype(np.int64), self._counts.size - 1)
        self._counts += np.bincount(index, minlength=self._counts.size)

    def estimate(self, *, spoiled: Mask | None = None, confidence: float = 0.95, of_run: bool = False) -> Estimate:
        """Events per second, with bounds by batch means of the slices' counts; `n` counts the slices.

        The bounds speak of the long-run rate, so a rate that was *planned* is undercut by half of all runs.
        `of_run`: they speak of this run, whose slices then count as independent. No event at all: Poisson,
        ln(1 / (1 - confidence)) may have been expected. Less than a second, or too few slices: value None.

        `spoiled`, shape (k,): slices in which the generator was the limit. The value is that of the others. The
        bounds hold with them and without: what was missing in them may be the generator's doing or the system's,
        so they pass nothing and fail nothing.
        """
        checked_confidence(confidence)
        if self._end_s - self._start_s < 1.0:
            return no_data("shorter than a second")
        if spoiled is None or not spoiled.any():
            return self._estimate(self._counts, confidence, of_run)
        found = self._estimate(self._counts[~spoiled], confidence, of_run)
        whole = self._estimate(self._counts, confidence, of_run)
        if found.value is None or whole.low is None or whole.high is None:
            return found
        low, high = min(found.low or 0.0, whole.low), max(found.high or 0.0, whole.high)
        seconds = np.count_nonzero(spoiled) * self._width_s
        why = f"the {seconds:.3g} s that the generator spoiled count in the bounds alone"
        return replace(found, low=low, high=high, why=why)

    def _estimate(self, counts: Counts, confidence: float, of_run: bool) -> Estimate:
        if counts.size < 4:
            return no_data("too few seconds of this stretch can be counted")
        if not counts.any():
            most = -math.log1p(-confidence) / (counts.size * self._width_s)
            return Estimate(0.0, 0.0, most, int(counts.size), None, "Poisson, no event")
        n, mean, variance = int(counts.size), float(counts.mean()), float(counts.var(ddof=1))
        few = [size for size in BATCHES_TO_TRY if n >= 2 * size] or [max(2, n // 2)]
        batches = [n] if of_run else few
        half = max(t_quantile(confidence, size - 1) * _error(counts, size) for size in batches)
        error = max(_error(counts, size) for size in batches)
        return Estimate(
            mean / self._width_s,
            max(0.0, mean - half) / self._width_s,
            (mean + half) / self._width_s,
            n,
            min(float(n), variance / error**2) if error else float(n),
            f"slices of {self._width_s:.3g} s, widest of {', '.join(map(str, batches))} batch means, Student t",
        )


def _error(counts: Counts, batches: int) -> float:
    """Standard error of the mean by batch means, their variance at its 80 % upper bound (Law & Kelton)."""
    edges = batch_edges(counts.size, batches)
    means = np.add.reduceat(counts, edges[:-1]) / np.diff(edges)
    return math.sqrt(float(np.var(means, ddof=1)) / batches * uncertainty(batches))


def rate_estimate(times_s: npt.ArrayLike, *, start_s: float, end_s: float, confidence: float = 0.95) -> Estimate:
    """Events per second over [start_s, end_s), with bounds as `RateCounter` finds them.

    `times_s`: shape (n,), for throughput the completions of ok requests. ValueError when the time is not
    positive; less than one second: value None.
    """
    counter = RateCounter(start_s, end_s)
    counter.add(times_s)
    return counter.estimate(confidence=confidence)
