"""Where a constant-load phase stops warming up: MSER-5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faultload_analysis.latency.histogram import Array, checked

BATCH = 5
MIN_BATCHES = 10


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How many first observations of `n` to leave out, their share, and whether that can be believed.

    `too_short`: the truncation point that MSER asks for is the last one it may choose, or there are too few
    observations: the phase never settled, so nothing measured in it is of a steady state (INCONCLUSIVE).
    `discard` is then only what MSER came to. `why` is a sentence for the reader.
    """

    n: int
    discard: int
    share: float
    too_short: bool
    why: str


def mser(values: npt.ArrayLike, *, batch: int = BATCH) -> WarmUp:
    """The warm-up of a series observed under constant load, by MSER with batches of `batch` (MSER-5).

    `values`: shape (n,), latencies in time order, +inf for failed. With the means z_1..z_k of consecutive
    batches (an incomplete last one is left out): d* = argmin over 0 <= d < k/2 of
    sum_{j>d} (z_j - mean of those)^2 / (k-d)^2, the first of equal ones; the first d* batches are discarded.
    d* at the edge of k/2 means that the series had not settled by its middle. Fewer than 10 batches are too
    few. O(n) time.

    For one phase of constant load: ramps are left out by their phase labels, not by this. Never truncate
    behind the first fault: an outage looks like a transient, and would be cut away. MSER is a heuristic: it
    weighs bias against variance, so it keeps a transient (of share f, raising the mean by h) once (1-f) h is
    below the spread of the batch means, and sees no change behind the middle; Wang & Glynn give queues where
    it cuts too little or too much; in a stationary series it sometimes cuts by chance.

    A failed request counts as the slowest that was ok: it is no number to take a mean of, and left out it
    would hide the errors of a cold start; failures alone are all equal, so nothing is discarded.
    ValueError for NaN, -inf, another shape or a batch below 1.

    Sources: White, Simulation 69(6), 1997; White, Cobb & Spratt, WSC 2000 (MSER-5); Hoad, Robinson & Davies,
    JORS 61, 2010 (the k/2 rule); Wang & Glynn, ACM TOMACS 26(4), 2016.
    """
    if batch < 1:
        raise ValueError(f"a batch holds at least 1 observation, not {batch}")
    array = checked(values)
    n = int(array.size)
    k = n // batch
    if k < MIN_BATCHES:
        needed = MIN_BATCHES * batch
        return WarmUp(
            n, 0, 0.0, True, f"{n} observations are too few to see a warm-up: at least {needed} are needed"
        )
    means = _finite(array)[: k * batch].reshape(k, batch).mean(axis=1)
    allowed = -(-k // 2)  # d in 0..allowed-1 is every d < k/2
    d = int(np.argmin(_statistic(means)[:allowed]))
    discard = d * batch
    if d == allowed - 1:
        why = (
            f"after {discard} of {n} observations, as many as may be left out, the series had not settled: "
            f"the phase is too short, or not steady"
        )
        return WarmUp(n, discard, discard / n, True, why)
    why = f"the first {discard} of {n} observations are warm-up" if d else f"no warm-up is seen in {n} observations"
    return WarmUp(n, discard, discard / n, False, f"{why} (MSER-{batch})")


def _statistic(means: Array) -> Array:
    """sum_{j>d} (z_j - mean)^2 / (k-d)^2 for d = 0..k-1, shape (k,), by running sums from the end.

    Sums are of deviations from the mean of the second half, so that a small spread around a large mean is
    not lost to rounding.
    """
    k = means.size
    off = (means - means[k // 2 :].mean())[::-1]
    left = np.arange(1, k + 1, dtype=np.float64)
    squares = np.cumsum(off * off) - np.cumsum(off) ** 2 / left
    return np.asarray((np.maximum(squares, 0.0) / left**2)[::-1])


def _finite(array: Array) -> Array:
    """+inf as the largest finite value; all of them 0 when there is none."""
    failed = np.isposinf(array)
    if not failed.any():
        return array
    return np.where(failed, array[~failed].max() if not failed.all() else 0.0, array)
