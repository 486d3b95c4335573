"""Events that come in clusters: how large these are, and how few events show that a share is not reached."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from faultload_analysis.evidence.dependence import Counts, Dependence

_SQUARED_ERROR = 5.0
_MOST_ERROR = 2.5
_INDEPENDENT = 1e-9
_SHAPES = 0.05, 1e3
_MOST = 10**9
_REACH = 8.0
"""Standard deviations of the number of clusters within which they are summed over."""
_MANY = 1_000


@dataclass(frozen=True, slots=True)
class Clusters:
    """How `events` of n samples come in clusters.

    `dependence`: from counts in consecutive batches. `gap_size`: the mean size from the gaps between events; None
    where only the counts are known.
    """

    events: int
    dependence: Dependence
    gap_size: float | None

    @property
    def inflation(self) -> float:
        """E[S^2]/E[S] of the cluster sizes S: the variance of the count of events over that of independent ones."""
        return self.dependence.inflation

    @property
    def size(self) -> float:
        """The mean cluster size E[S], at least 1.

        The geometric mean of the one by gaps, which errs little but takes clusters of clusters for several, and of
        (g + 1)/2, g the inflation, which sees dependence of every length but errs much: geometric sizes have
        E[S^2]/E[S] = 2 E[S] - 1. Without gaps g itself, which is never below E[S].
        """
        inflation = self.dependence.inflation
        return inflation if self.gap_size is None else math.sqrt(self.gap_size * (inflation + 1.0) / 2.0)

    @property
    def error(self) -> float:
        """The standard error of log size: its square is 5 size / events (fitted, docs/calibration.md)."""
        return min(_MOST_ERROR, math.sqrt(_SQUARED_ERROR * self.size / self.events))


def gap_size(places: Counts, n: int) -> float:
    """The mean cluster size of events at `places`, shape (k,), k > 0, ascending, of n samples; at least 1.

    The intervals estimator of Ferro & Segers 2003, J. R. Statist. Soc. B 65(2), equations 4 and 5, with the gaps T
    between events and the one around the ends: k sum (T - 1)(T - 2) / (2 (sum (T - 1))^2).
    """
    between = np.append(np.diff(places), places[0] + n - places[-1]).astype(np.float64) - 1.0
    total = float(between.sum())
    if total <= 0.0:
        return 1.0
    squares = float((between * np.maximum(between - 1.0, 0.0)).sum())
    return max(1.0, places.size * squares / (2.0 * total * total))


def at_most(k: int, n: int, share: float, *, size: float = 1.0, inflation: float = 1.0) -> float:
    """P(K <= k) for the number K of events among n samples, of which a `share` are events in the long run.

    K = S_1 + ... + S_N, N ~ Binomial(n / size, share), with E[S] = size = m and E[S^2]/E[S] = inflation = g, both
    at least 1; m = g = 1 is the binomial distribution. S is 1 + a negative binomial of mean m - 1 and variance
    m g - m^2, so that P(S_1 + ... + S_j <= k) = I_(r/(r + m - 1))(j r, k - j + 1) with r = (m - 1)^2/(m g - m^2 -
    m + 1): 1 for geometric sizes (Pólya-Aeppli), large for equal ones, small for a few large among many small.
    Where more than 1,000 clusters are expected, by the Edgeworth expansion to the skewness.
    """
    if size <= 1.0 + _INDEPENDENT and inflation <= 1.0 + _INDEPENDENT:
        return float(special.bdtr(k, n, share))
    size = max(size, 1.0 + 1e-6)
    more = size - 1.0
    spread = size * inflation - size * size - more
    r = min(max(more * more / spread, _SHAPES[0]), _SHAPES[1]) if spread > 0.0 else _SHAPES[1]
    worth = n / size
    if worth * share > _MANY:
        return _at_most_by_moments(k, worth, share, more, r)
    mean = worth * share
    first = max(0.0, math.floor(mean - _REACH * math.sqrt(mean) - _REACH))
    clusters = np.arange(first, min(k, math.floor(worth)) + 1.0)
    chance = np.exp(
        special.gammaln(worth + 1.0)
        - special.gammaln(clusters + 1.0)
        - special.gammaln(worth - clusters + 1.0)
        + clusters * math.log(share)
        + (worth - clusters) * math.log1p(-share)
    )
    some = clusters > 0
    chance[some] *= special.betainc(clusters[some] * r, k - clusters[some] + 1.0, r / (r + more))
    return float(chance.sum())


def _at_most_by_moments(k: int, worth: float, share: float, more: float, r: float) -> float:
    """P(K <= k) of `at_most` for many clusters: K is the sum of `worth` terms, S with probability `share`, else 0.

    `more`, `r`: the mean of S - 1 and the shape of its negative binomial. Edgeworth: Phi(z) - phi(z) skewness
    (z^2 - 1)/6, with continuity correction.
    """
    size, variance = 1.0 + more, more + more * more / r
    second = variance + size * size
    third = variance * (1.0 + 2.0 * more / r) + 3.0 * size * variance + size**3
    of_one = share * second - (share * size) ** 2
    third_of_one = share * third - 3.0 * share**2 * size * second + 2.0 * (share * size) ** 3
    deviation = math.sqrt(worth * of_one)
    z = (k + 0.5 - worth * share * size) / deviation
    skewness = worth * third_of_one / deviation**3
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return min(max(float(special.ndtr(z)) - density * skewness * (z * z - 1.0) / 6.0, 0.0), 1.0)


def most_that_are_few(
    n: int, share: float, *, size: float = 1.0, inflation: float = 1.0, confidence: float = 0.95
) -> int | None:
    """The largest k with P(K <= k) <= 1 - confidence, K as in `at_most`; None: not even 0 events would be too few.

    So the order statistic x_(n - k) bounds the (1 - share)-quantile from above. Searched from the normal
    approximation, on whose scale the probability is nearly a straight line.
    """
    if n < 1 or not 0.0 < share < 1.0:
        return None
    wanted = float(special.ndtri(1.0 - confidence))
    deviation = math.sqrt(n * share * inflation)
    low, high = -1, math.ceil(n * share)
    middle = n * share + wanted * deviation
    while high - low > 1:
        k = min(max(round(middle), low + 1), high - 1)
        off = wanted - float(special.ndtri(at_most(k, n, share, size=size, inflation=inflation)))
        low, high = (k, high) if off >= 0.0 else (low, k)
        step = off * deviation
        middle = k + (step if abs(step) >= 1.0 else math.copysign(1.0, off))
        if not low < middle < high:
            middle = (low + high) / 2.0
    return None if low < 0 else low


def largest_likely_share(
    k: int, n: int, *, size: float = 1.0, inflation: float = 1.0, confidence: float = 0.95
) -> float:
    """The upper bound on the share of events of which k of n were seen: the one with P(K <= k) = 1 - confidence.

    K as in `at_most`; m = g = 1 gives the bound of Clopper and Pearson. Bisected to a millionth of itself.
    """
    if k >= n:
        return 1.0
    low, high = k / n, 1.0
    while high - low > 1e-6 * high:
        middle = math.sqrt(low * high) if low > 0.0 else high / 8.0
        few = at_most(k, n, middle, size=size, inflation=inflation) <= 1.0 - confidence
        low, high = (low, middle) if few else (middle, high)
    return high


def more_until_few(k: int, n: int, share: float, *, size: float, inflation: float, confidence: float) -> int | None:
    """How many more samples like these, k of n events, show that at most a `share` are events; None: over 10^9."""

    def shown(total: int) -> bool:
        events = -(-k * total // n)
        return at_most(events, total, share, size=size, inflation=inflation) <= 1.0 - confidence

    low, high = n, 2 * n
    while not shown(high):
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > max(1, high // 100_000):
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high - n
