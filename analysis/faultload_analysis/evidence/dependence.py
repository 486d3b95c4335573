"""What dependent samples are worth: variance inflation from batch means, and exact bounds on a share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from faultload_analysis.evidence.distributions import chi2_quantile, t_quantile

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

BATCHES = 20
BATCHES_TO_MEASURE = 64
MIN_TO_BATCH = 60
_CHI2_LEVEL = 0.2
_MOST_AUTOCORRELATION = 0.95
_MOST_ERROR = 2.5
_FEW_BATCHES = 10
_MEAN_WIDENED = 0.3
_DEVIATIONS_OF_FEW = 6.0
LEAST_WORTH = 16
FEWEST_WORTH = 10
"""Batches worth fewer tell nothing of a mean: a run of one jam, or of none, looks like any other."""

# Standard errors of the measured inflation that are added to it: for a bound that may pass, for what the judged and
# the measured count share, and for a bound that may fail. Chosen on simulated M/M/1 queues (docs/calibration.md).
_PASS, _PASS_SHARED, _FAIL = 0.25, 1.8, 0.1


def batch_edges(n: int, batches: int) -> npt.NDArray[np.int64]:
    """`batches + 1` edges that cut n samples in time order into batches whose sizes differ by at most 1."""
    return (np.arange(batches + 1, dtype=np.int64) * n) // batches


def batch_counts(indicator: npt.NDArray[Any], batches: int) -> tuple[Counts, Counts]:
    """Events in each of `batches` consecutive batches of a 0/1 series, shape (n,), n >= batches; and sizes."""
    edges = batch_edges(indicator.shape[0], batches)
    return np.add.reduceat(indicator, edges[:-1], dtype=np.int64), np.diff(edges)


def uncertainty(batches: int) -> float:
    """(B-1)/chi2_0.2(B-1): from the variance of B batch means to its 80 % upper confidence bound."""
    return (batches - 1) / chi2_quantile(_CHI2_LEVEL, batches - 1)


@dataclass(frozen=True, slots=True)
class Dependence:
    """How much dependence inflates the variance of the share of events among n samples, measured from batches.

    `inflation`: at least 1. `error`: the standard error of its logarithm. `share`: of samples that are events.
    """

    inflation: float
    error: float
    share: float


@dataclass(frozen=True, slots=True)
class _Batches:
    """Batch sums less their share of the total, each over the root of its size: equal variances, sum about 0."""

    off: Array
    sizes: Counts

    @classmethod
    def of(cls, sums: Array | Counts, sizes: Counts) -> _Batches:
        some = sizes > 0
        sums, sizes = np.asarray(sums[some], dtype=np.float64), sizes[some]
        return cls((sums - sums.sum() / sizes.sum() * sizes) / np.sqrt(sizes), sizes)

    @property
    def squares(self) -> float:
        return float(self.off @ self.off)

    @property
    def autocorrelation(self) -> float:
        """Of lag 1, bias-corrected: (B r + 1)/(B - 4) (Marriott & Pope 1954), in [0, 0.95]."""
        batches, lag1 = self.off.size, float(self.off[1:] @ self.off[:-1]) / self.squares
        return min(max((batches * lag1 + 1.0) / (batches - 4.0), 0.0), _MOST_AUTOCORRELATION)


def measured(events: Counts, sizes: Counts) -> Dependence | None:
    """Measure the dependence of events from their counts in consecutive batches.

    `events`, `sizes`: shape (B,). The variance of the batch shares over what independent samples would have, times
    (1 + r)/(1 - r) for their lag-1 autocorrelation r, so that batches may be shorter than the dependence lasts
    (Tafazzoli, Steiger & Wilson 2011, N-Skart). Squared error of its logarithm: (6 + 2 r^2)/(B (1 - r^2)) for
    variance and r (Bartlett), plus 3 (g - 1)/events: the variance of the variance of a compound Poisson count
    whose clusters have exponential sizes and inflate by g. Nothing but events, none, or B < 10: None.
    """
    total, n = int(events.sum()), int(sizes.sum())
    if total in (0, n):
        return None
    batch = _Batches.of(events, sizes)
    batches, share, squares = batch.off.size, total / n, batch.squares
    if batches < _FEW_BATCHES:
        return None
    if squares == 0.0:  # the same number of events in every batch
        return Dependence(1.0, math.sqrt(6.0 / batches), share)
    r = batch.autocorrelation
    inflation = max(1.0, squares / (batches - 1) / (share * (1.0 - share)) * (1.0 + r) / (1.0 - r))
    of_clusters = 3.0 * (inflation - 1.0) / (total * (1.0 - share))
    return Dependence(inflation, min(math.sqrt(_of_variance(batches, r) + of_clusters), _MOST_ERROR), share)


def _of_variance(batches: int, r: float) -> float:
    """Squared relative error of a variance of batch means corrected by (1 + r)/(1 - r), both from the batches."""
    return (6.0 + 2.0 * r * r) / (batches * (1.0 - r * r))


@dataclass(frozen=True, slots=True)
class BatchMeans:
    """A mean by batch means: its standard error, that error's own (of the logarithm of the variance), how many
    independent batches they are worth, and the standard deviation and skewness of the batch means."""

    error: float
    error_of_variance: float
    worth: float
    deviation: float
    skewness: float

    def margins(self, confidence: float) -> tuple[float, float]:
        """How far below and above the mean its bounds lie: Student's t, shifted for skewness.

        (1/2b) ((1 + 6 b (t - b))^(1/3) - 1), b = skewness / (6 √worth) (Willink 2005, as in N-Skart), with 2/e^2
        degrees of freedom, e the relative error of the variance. Towards the long tail b is doubled. Batches worth
        fewer than 16 tell no error: then at least 6 standard deviations of the batch means.
        """
        t = t_quantile(confidence, max(2.0 / self.error_of_variance**2, 2.0))
        b = self.skewness / (6.0 * math.sqrt(self.worth))
        widened = self.error * math.exp(_MEAN_WIDENED * self.error_of_variance)
        below, above = widened * _skewed(t, min(b, 2.0 * b)), -widened * _skewed(-t, max(b, 2.0 * b))
        least = 0.0 if self.worth >= LEAST_WORTH else _DEVIATIONS_OF_FEW * self.deviation
        return max(below, least), max(above, least)


def _skewed(t: float, b: float) -> float:
    return t if abs(b) < 1e-6 else (math.cbrt(1.0 + 6.0 * b * (t - b)) - 1.0) / (2.0 * b)


def batch_means(sums: Array, sizes: Counts) -> BatchMeans | None:
    """Batch means from the sums and sizes of consecutive batches, shape (B,), B >= 10; None: they do not vary."""
    batch = _Batches.of(sums, sizes)
    batches, squares = batch.off.size, batch.squares
    if batches < _FEW_BATCHES or squares == 0.0:
        return None
    r = batch.autocorrelation
    lasting = (1.0 + r) / (1.0 - r)
    standard = batch.off / math.sqrt(squares / batches)
    tails = max(float(np.mean(standard**4)) - 3.0, 0.0) / batches * lasting
    return BatchMeans(
        math.sqrt(squares / (batches - 1) / float(batch.sizes.sum()) * lasting),
        math.sqrt(_of_variance(batches, r) + tails),
        batches / lasting,
        math.sqrt(squares / (batches - 1) / float(batch.sizes.mean())),
        float(np.mean(standard**3)),
    )


def variance_inflation(indicator: npt.NDArray[Any]) -> float:
    """By how much dependence inflates the variance of the mean of a 0/1 series; at least 1.

    `indicator`: shape (n,), bool, in time order. See `measured`; a series without variation gives 1. Fewer than
    60 samples: ValueError.
    """
    n = int(indicator.shape[0])
    if n < MIN_TO_BATCH:
        raise ValueError(f"{n} samples are too few to measure their dependence")
    found = measured(*batch_counts(indicator, batches_for(n)))
    return 1.0 if found is None else found.inflation


def batches_for(n: int) -> int:
    """Into how many batches n samples are cut to measure dependence: 64, or fewer with two samples in each."""
    return min(BATCHES_TO_MEASURE, n // 2)


@dataclass(frozen=True, slots=True)
class Inflation:
    """By what to divide counts before an exact binomial bound.

    `seen`: as measured, for n_eff. `passing`, `failing`: with the error of the measurement added, for the upper
    bound on a share (which can make it pass) and for the lower one. `method` names how.
    """

    seen: float
    passing: float
    failing: float
    method: str

    @classmethod
    def none(cls) -> Inflation:
        return cls(1.0, 1.0, 1.0, "exact binomial")


def inflation_of(n: int, share: float, kinds: Sequence[Dependence | None]) -> Inflation:
    """The inflation to judge by whether a `share` of n samples is exceeded: the largest of several kinds of events.

    `kinds`: as `measured`; the first that could be also tells how wrong the measurement may be (e, the standard
    error of its logarithm). `passing` is the largest times exp((0.25 + 1.8 rho) e), `failing` the largest times
    exp(0.1 e). rho is the correlation that the judged and the measured count have when samples are independent: a
    lucky run has few events *and* looks too independent, which is when a PASS would be wrong; for a FAIL the two
    errors cancel. Nothing measured: 1. Below 60 samples dependence cannot be measured: every √n neighbours count as
    one.
    """
    if n < MIN_TO_BATCH:
        root = n / max(1, math.isqrt(n))
        return Inflation(root, root, root, "exact binomial, every √n neighbours counted as one sample")
    found = [kind for kind in kinds if kind is not None]
    if not found:
        return Inflation.none()
    largest, first = max(kind.inflation for kind in found), found[0]
    few, many = sorted((share, first.share))
    shared = math.sqrt(few * (1.0 - many) / (many * (1.0 - few)))
    return Inflation(
        largest,
        largest * math.exp((_PASS + _PASS_SHARED * shared) * first.error),
        largest * math.exp(_FAIL * first.error),
        f"exact binomial on n / variance inflation ({batches_for(n)} autocorrelated batch means)",
    )


def _upper_shape(k: float, n: float, inflation: float) -> tuple[float, float]:
    """Beta parameters of the upper bound: k + 1 and n - k (Clopper-Pearson) for independent samples, towards
    k + 1/2 and n - k + 1/2 (Jeffreys) the more they cluster.

    A whole unit too many is a whole cluster too many: of clusters with exponential sizes none is seen with
    probability exp(-2 n q / g), not exp(-n q / g), because E[S^2]/E[S] = 2 E[S].
    """
    extra = 0.5 + 0.5 / inflation
    return k / inflation + extra, (n - k) / inflation + 1.0 - extra


def share_bounds(k: float, n: float, *, inflation: float = 1.0, confidence: float = 0.95) -> tuple[float, float]:
    """Two one-sided bounds on a share seen k times in n, by the beta distribution on k and n over `inflation`.

    Returns (low, high), each holding with `confidence`. With inflation 1 these are the exact bounds of Clopper
    and Pearson. ValueError unless 0 <= k <= n, n > 0, inflation >= 1.
    """
    if not (0 <= k <= n and n > 0 and inflation >= 1.0):
        raise ValueError(f"not a share: {k} of {n}, inflation {inflation}")
    low = 0.0
    if k > 0:
        low = float(special.betaincinv(k / inflation, (n - k) / inflation + 1.0, 1.0 - confidence))
    high = 1.0 if k == n else float(special.betaincinv(*_upper_shape(k, n, inflation), confidence))
    return low, high


def largest_passing(n: int, allowed: float, *, inflation: float = 1.0, confidence: float = 0.95) -> int | None:
    """The largest count k of n whose upper bound is still <= `allowed`; None when even k = 0 is not."""

    def passes(k: int) -> bool:
        return k < n and bool(special.betainc(*_upper_shape(k, n, inflation), allowed) >= confidence)

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

    def decides(size: float) -> bool:
        low, high = share_bounds(share * size, size, inflation=inflation)
        return high <= allowed or low > allowed

    size = float(n)
    while size <= 1e9 and not decides(2.0 * size):
        size *= 2.0
    while size <= 1e9:
        if decides(size):
            return max(1, math.ceil(size - n))
        size *= 1.1
    return None


def load_to_decide(k: int, n: int, allowed: float, inflation: Inflation) -> str:
    """The sentence for an undecided share: how many more samples like these would decide."""
    towards = inflation.passing if k / n <= allowed else inflation.failing
    return more_load(more_to_decide(k, n, allowed, inflation=towards))


def more_load(more: int | None) -> str:
    """The sentence for how many more requests like these decide; None: more than are feasible."""
    return (
        "no feasible load would decide" if more is None else f"about {more} more requests like these would decide"
    )
