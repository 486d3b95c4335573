"""What dependent samples are worth: variance inflation by batch means, and exact bounds on a share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BATCHES = 20
MIN_TO_BATCH = 60
SHORT = 2000
_CHI2_LEVEL = 0.2


def batch_edges(n: int, batches: int) -> npt.NDArray[np.int64]:
    """`batches + 1` edges that cut n samples in time order into batches whose sizes differ by at most 1."""
    return (np.arange(batches + 1, dtype=np.int64) * n) // batches


def uncertainty(batches: int) -> float:
    """(B-1)/chi2_0.2(B-1): from the variance of B batch means to its 80 % upper confidence bound."""
    return float((batches - 1) / stats.chi2.ppf(_CHI2_LEVEL, batches - 1))


def variance_inflation(indicator: npt.NDArray[Any], batches: int = BATCHES) -> float:
    """By how much dependence inflates the variance of the mean of a 0/1 series; at least 1.

    `indicator`: shape (n,), bool, in time order. The variance of the batch means over what independent
    samples would have, times (B-1)/chi2_0.2(B-1): an 80 % upper confidence bound, because an inflation
    read from 20 batches is itself uncertain (docs/analysis.md). A series without variation
    gives 1. Fewer than 2 samples a batch: ValueError.
    """
    n = int(indicator.shape[0])
    if batches < 2 or n < 2 * batches:
        raise ValueError(f"{n} samples are too few for {batches} batches")
    edges = batch_edges(n, batches)
    counts = np.array([np.count_nonzero(indicator[a:b]) for a, b in itertools.pairwise(edges)])
    share = float(counts.sum()) / n
    if share <= 0.0 or share >= 1.0:
        return 1.0
    means = counts / np.diff(edges)
    raw = float(np.var(means, ddof=1)) * (n / batches) / (share * (1.0 - share))
    return max(1.0, raw * uncertainty(batches))


def inflation_of(indicators: Iterable[npt.NDArray[Any]], n: int) -> tuple[float, str]:
    """The largest inflation over several 0/1 series of length n, and the name of the method.

    Below 60 samples dependence cannot be measured: every √n neighbours are then counted as one sample
    (n_eff = floor(√n)), which no run that short can prove anything demanding with. Below 2000 samples 20
    batches may be shorter than the dependence, so 10 batches are looked at too (M/M/1, utilisation 0.9, median
    at the truth, n = 500: PASS .075 instead of .15, measured over 200 runs).
    """
    if n < MIN_TO_BATCH:
        return n / max(1, math.isqrt(n)), "exact binomial, every √n neighbours counted as one sample"
    counts = (BATCHES, BATCHES // 2) if n < SHORT else (BATCHES,)
    largest = max((variance_inflation(i, b) for i in indicators for b in counts), default=1.0)
    return largest, f"exact binomial on n / variance inflation ({' and '.join(map(str, counts))} batch means)"


def share_bounds(k: float, n: float, *, inflation: float = 1.0, confidence: float = 0.95) -> tuple[float, float]:
    """Two one-sided bounds on a share seen k times in n, Clopper-Pearson on k and n over `inflation`.

    Returns (low, high), each holding with `confidence`. With inflation 1 these are the exact bounds.
    ValueError unless 0 <= k <= n, n > 0, inflation >= 1.
    """
    if not (0 <= k <= n and n > 0 and inflation >= 1.0):
        raise ValueError(f"not a share: {k} of {n}, inflation {inflation}")
    hits, rest = k / inflation, (n - k) / inflation
    low = 0.0 if k == 0 else float(special.betaincinv(hits, rest + 1.0, 1.0 - confidence))
    high = 1.0 if k == n else float(special.betaincinv(hits + 1.0, rest, confidence))
    return low, high


def largest_passing(n: int, allowed: float, *, inflation: float = 1.0, confidence: float = 0.95) -> int | None:
    """The largest count k of n whose upper bound is still <= `allowed`; None when even k = 0 is not."""

    def passes(k: int) -> bool:
        return k < n and bool(special.betainc(k / inflation + 1.0, (n - k) / inflation, allowed) >= confidence)

    if n < 1 or not passes(0):
        return None
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low


def smallest_failing(n: int, allowed: float, *, inflation: float = 1.0, confidence: float = 0.95) -> int | None:
    """The smallest count k of n whose lower bound is above `allowed`; None when even k = n is not."""

    def fails(k: int) -> bool:
        return bool(special.betainc(k / inflation, (n - k) / inflation + 1.0, allowed) < 1.0 - confidence)

    if n < 1 or not fails(n):
        return None
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(middle) else (middle, high)
    return high


def more_to_decide(k: int, n: int, allowed: float, *, inflation: float = 1.0) -> int | None:
    """About how many more samples like these decide whether the share is at most `allowed`; None: over 10^9.

    Keeps the seen share and inflation and lets n grow.
    """
    if n < 1:
        return None
    share = k / n
    size = float(n)
    while size <= 1e9:
        low, high = share_bounds(share * size, size, inflation=inflation)
        if high <= allowed or low > allowed:
            return max(1, math.ceil(size - n))
        size *= 1.1
    return None
