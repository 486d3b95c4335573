"""The median, and exact distributions of rank sums, with and without ties."""

from __future__ import annotations

import math

import numpy as np
import scipy

from faultload_analysis.evidence.dependence import Array
from faultload_analysis.evidence.distributions import normal_quantile

_EXACT_PAIRS = 2500  # up to 50 and 50 runs the exact distribution costs milliseconds


def median(values: Array) -> float:
    """The mean of the two middle values, shape (n,), n > 0; also where infinite ones are among them."""
    low, high = np.sort(values)[[(values.size - 1) // 2, values.size // 2]]
    return float(low) if low == high else float((low + high) / 2.0)


def least_p(n: int, m: int) -> float:
    """The smallest two-sided p that Mann-Whitney's test of n and m values can reach: 2 / C(n + m, n), at most 1."""
    return min(1.0, 2.0 / math.comb(n + m, n))


def rank_sum_p(low: Array, high: Array) -> float:
    """One-sided p of Mann-Whitney's test that `high`, shape (m,), lies above `low`, shape (n,); both not empty.

    The permutation distribution of the midranks given their ties, by the shift algorithm of Streitberg & Röhmel
    1986, up to n m = 2500; beyond that the normal approximation with tie and continuity correction
    (scipy.stats.mannwhitneyu). Infinite values rank as any other. Source: Mann & Whitney 1947.
    """
    n, m = low.size, high.size
    if n * m > _EXACT_PAIRS:
        return float(scipy.stats.mannwhitneyu(high, low, alternative="greater", method="asymptotic").pvalue)
    twice = np.rint(2.0 * scipy.stats.rankdata(np.concatenate((low, high)))).astype(np.int64)
    few, seen = (twice[n:], "high") if m <= n else (twice[:n], "low")
    counts = _subset_sums(twice, few.size)
    total, at = counts.sum(), int(few.sum())
    return float((counts[at:] if seen == "high" else counts[: at + 1]).sum() / total)


def pairwise_rank(n: int, m: int, alpha: float) -> int:
    """The largest q with P(U <= q - 1) <= alpha for two groups of n and m without ties; 0 when there is none.

    The q-th smallest of the n m sorted differences bounds the shift from below at confidence 1 - alpha, the q-th
    largest from above (Hollander & Wolfe 1999, 4.3). Normal approximation beyond n m = 2500.
    """
    if n * m > _EXACT_PAIRS:
        deviation = math.sqrt(n * m * (n + m + 1) / 12.0)
        return max(0, math.floor(n * m / 2.0 + 0.5 + normal_quantile(alpha) * deviation))
    counts = _subset_sums(np.arange(1, n + m + 1), min(n, m))
    k = min(n, m)
    shares = np.cumsum(counts[k * (k + 1) // 2 :]) / counts.sum()
    return int(np.searchsorted(shares, alpha * (1.0 + 1e-12), side="right"))


def _subset_sums(scores: np.ndarray[tuple[int], np.dtype[np.int64]], size: int) -> Array:
    """How many subsets of `size` of the scores have each sum: index = sum. Exact up to 2^53, then within 1e-16."""
    most = int(np.sort(scores)[-size:].sum())
    table = np.zeros((size + 1, most + 1))
    table[0, 0] = 1.0
    for i, score in enumerate(scores.tolist()):
        for k in range(min(size, i + 1), 0, -1):
            table[k, score:] += table[k - 1, : most + 1 - score]
    return np.asarray(table[size], dtype=np.float64)
