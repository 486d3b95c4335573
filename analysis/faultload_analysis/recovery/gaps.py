"""Slices without requests where there should have been some: nobody was served."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Mask
from faultload_analysis.latency.slices import Slices

UNLIKELY, UNLIKELY_ALONE = 1e-3, 1e-4


@dataclass(frozen=True, slots=True)
class Gaps:
    """Shape (k,) each: the slices of gaps that are less likely than 0.001, and those of gaps under 0.0001.

    `expected`: how many independent requests each slice should have held. `share`: the share of them that was
    missing; `ends_s`: until when.
    """

    bad: Mask
    alone: Mask
    expected: Array
    share: Array
    ends_s: Array


def gaps_in(cut: Slices, expected: npt.ArrayLike | None, baseline: slice) -> Gaps:
    """The gaps among slices, given how many requests each should have held, shape (k,); None: no gap is known.

    A run of empty slices that should have held m requests has the probability exp(-m) (Poisson arrivals). Where
    requests come in clumps every g of them count as one, g being the index of dispersion of the counts of
    the `baseline` slices. ValueError for another shape, or expectations below 0 or not finite.
    """
    size = cut.total.size
    nothing = np.zeros(size, dtype=np.bool_)
    if expected is None:
        return Gaps(nothing, nothing, np.zeros(size), np.zeros(size), np.zeros(size))
    due = np.asarray(expected, dtype=np.float64)
    if due.shape != (size,) or not (np.isfinite(due) & (due >= 0)).all():
        raise ValueError(f"expected requests must be of shape ({size},), finite and not negative")
    due = due / _clumping(cut.total[baseline].astype(np.float64), due[baseline])
    bad, alone = nothing.copy(), nothing.copy()
    edges = np.flatnonzero(np.diff(np.concatenate(([False], cut.total == 0, [False])).astype(np.int8)))
    for first, after in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        missing = float(due[first:after].sum())
        bad[first:after] = missing > -math.log(UNLIKELY)
        alone[first:after] = missing > -math.log(UNLIKELY_ALONE)
    return Gaps(bad, alone, due, bad.astype(np.float64), np.append(cut.starts[1:], cut.end_s))


def _clumping(total: Array, expected: Array) -> float:
    """Index of dispersion of the counts around what was expected, at least 1."""
    held = expected > 0
    if np.count_nonzero(held) < 3:
        return 1.0
    return max(1.0, float(np.mean((total[held] - expected[held]) ** 2 / expected[held])))
