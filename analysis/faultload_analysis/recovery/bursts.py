"""What a baseline's natural bursts reach, so that they are not mistaken for a fault's impact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Counts, Mask
from faultload_analysis.latency.quantiles import quantile
from faultload_analysis.latency.slices import Slices
from faultload_analysis.recovery.noise import noise_of

FALSE_IMPACTS = 0.04
OUTLYING = 1e-3
_FEW_PEAKS = 3
_TYPICAL, _RARE = 0.95, 0.99
_TIMES_THE_SIZE, _TIMES_AN_OUTAGE, _TIMES_THE_LEVEL = 2.0, 3.0, 5.0


@dataclass(frozen=True, slots=True)
class Bursts:
    """What the natural bursts of a baseline reach in all but 4 % of watches.

    A burst is a run of slices in which more requests than noise explains are bad, or slower than `typical_s`, the
    baseline's P95. `size`: how many requests beyond noise one holds; `failed`: how many that failed. `rises_s`: a
    latency that none reaches.
    """

    typical_s: float
    rises_s: float
    size: float
    failed: float

    @classmethod
    def of(
        cls, parts: list[Array], beyond: Counts, failing: Counts, apart: Mask, *, watched: float
    ) -> Bursts | None:
        """From the latencies of the slices of a baseline, each of one request at least; None where none is a burst.

        `beyond`, `failing`: their bad and their failed requests beyond noise; `apart`: those of outages that stand
        apart, as fewer than 3 bursts of failures do; shape (k,) each. `watched`: for how many more slices.
        """
        total = np.array([part.size for part in parts], dtype=np.int64)
        ok = np.concatenate([part[np.isfinite(part)] for part in parts])
        typical_s = quantile(ok, _TYPICAL) if ok.size else math.inf
        over = np.array([np.count_nonzero(part > typical_s) for part in parts], dtype=np.int64)
        sizes = _sizes(total, over, beyond)
        if not sizes.any():
            return None
        rare = levels_with([part[np.isfinite(part)] for part in parts], noise_of(total, 1.0 - _RARE) + 1)
        rises_s = _TIMES_THE_LEVEL * max(typical_s, float(rare.max()))
        rarely = np.full(total.size, len(_runs(failing > 0)) < _FEW_PEAKS)
        return cls(
            typical_s, rises_s, burst_size(sizes, apart, watched), burst_size(failing, apart | rarely, watched)
        )

    def explain(self, cut: Slices, beyond: Counts, failing: Counts) -> Mask:
        """Shape (k,): the slices of bursts as the baseline has them.

        `beyond`, `failing`: their bad and their failed requests beyond noise, shape (k,).
        """
        sizes = _sizes(cut.total, cut.over(self.typical_s), beyond)
        rises = cut.over(self.rises_s) - cut.failed > noise_of(cut.total, 1.0 - _RARE)
        found = np.zeros(sizes.size, dtype=np.bool_)
        for burst in _runs_of(sizes > 0, cut.total > 0):
            fits = sizes[burst].sum() <= self.size and failing[burst].sum() <= self.failed
            found[burst] = fits and not rises[burst].any()
        return found


def _sizes(total: Counts, over: Counts, beyond: Counts) -> Counts:
    """What each slice adds to a burst, shape (k,): requests beyond noise, of those over the P95 and of bad ones."""
    sizes: Counts = np.maximum(np.maximum(over - noise_of(total, 1.0 - _TYPICAL), beyond), 0)
    return sizes


def _runs_of(flags: Mask, held: Mask) -> list[Counts]:
    """The slices of each run, as indices: set ones with none between that holds requests. Shape (k,) both."""
    at = np.flatnonzero(flags)
    return [run for run in np.split(at, np.flatnonzero(np.diff(np.cumsum(held)[at]) > 1) + 1) if run.size]


def burst_size(sizes: npt.ArrayLike, apart: Mask, watched: float, *, probability: float = FALSE_IMPACTS) -> float:
    """The size that natural bursts pass in at most `probability` of watches of `watched` more slices.

    `sizes`: shape (k,), what each slice of a baseline adds to a burst, in time order. `apart`: shape (k,), those of
    outages that stand apart. Bursts are runs of slices with a size above 0. With c of them, exponential, of mean m,
    the size of a future one over m has the F distribution with 2 and 2c degrees of freedom, so P(size > x) =
    (1 + x / (c m))^-c; e = c `watched` / k are to come, and c m ((e / probability)^(1/c) - 1) is passed by
    one of them with that probability (Lawless 1982, 3.2). Twice that, since jams of queues vary more. A short
    baseline has few bursts, and so a great size: what it cannot tell from a burst is not called impact. Of an
    outage that stands apart nobody can tell how much it varies: three times its size. 0 without bursts.
    """
    s = np.asarray(sizes, dtype=np.float64)
    runs = _runs(s > 0)
    size = np.array([s[run].sum() for run in runs])
    outlying = np.array([apart[run].any() for run in runs], dtype=np.bool_)
    usual, c = size[~outlying], int(np.count_nonzero(~outlying))
    expected = watched * c / max(1, s.size)
    factor = math.pow(expected / probability, 1.0 / c) - 1.0 if c else 0.0
    return max(
        _TIMES_THE_SIZE * float(usual.sum()) * factor,
        float(usual.max(initial=0.0)),
        _TIMES_AN_OUTAGE * float(size[outlying].max(initial=0.0)),
    )


def levels_with(parts: list[Array], counts: Sequence[int] | Counts) -> Array:
    """The latency that `counts[i]` requests of slice i reach, shape (k,); -inf where it has not as many."""
    return np.array(
        [
            np.sort(part)[-count] if 1 <= count <= part.size else -np.inf
            for part, count in zip(parts, counts, strict=True)
        ],
        dtype=np.float64,
    )


def outages(levels: npt.ArrayLike) -> Mask:
    """Shape (k,): the slices of peaks that are no bursts, but outages that stand apart from the rest.

    `levels`: shape (k,), the latency that half of the requests of each slice reach: where few of them are slow it
    is a burst. A peak over the median level that the others make less likely than 0.001, were all of them
    exponential (as in `burst_size`); of fewer than 3 others the mean counts as the median level at least. One for
    every 300 slices or part of them.
    """
    z = np.asarray(levels, dtype=np.float64)
    found = np.zeros(z.size, dtype=np.bool_)
    threshold = float(np.median(z)) if z.size else 0.0
    for _ in range(1 + z.size // 300):
        left = np.where(found, -np.inf, z)
        peaks = [left[run].max() - threshold for run in _runs(left > threshold)]
        if not peaks:
            break
        others = np.sort(peaks)[:-1]
        mean, c = float(others.mean()) if others.size else 0.0, others.size
        if c < _FEW_PEAKS:
            mean, c = max(mean, threshold), _FEW_PEAKS
        beyond = (1.0 + max(peaks) / (c * mean)) ** -c if mean > 0 else 0.0
        if 1.0 - (1.0 - beyond) ** (c + 1) >= OUTLYING:
            break
        found[_runs(left > threshold)[int(np.argmax(peaks))]] = True
    return found


def _runs(above: Mask) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], above, [False])).astype(np.int8)))
    return [slice(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
