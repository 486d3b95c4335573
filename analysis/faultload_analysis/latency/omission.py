"""Corrects closed-loop data for coordinated omission after the fact: a fallback, marked as such."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from faultload_analysis.latency.histogram import Array, Counts, checked, pieces
from faultload_analysis.latency.population import KEEP, Population

MOST = 100_000_000
CHUNK = 1 << 20
CAUTION = (
    "corrected for coordinated omission: requests were invented, on the assumption of one closed-loop user who "
    "meant to send at a constant interval; with concurrent users, think time or retries this over-corrects, "
    "and failed requests are not corrected; an open-model run measures what this guesses"
)
_ROUNDING = 1e-12


class CorrectedPopulation(Population):
    """A population that holds invented values, and so cannot be corrected again."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """What `correct_omission` makes: `values` in time order, `added` of them invented. Always show `caution`."""

    values: CorrectedPopulation
    interval: float
    added: int
    corrected: Literal[True] = True
    caution: str = CAUTION


def correct_omission(
    values: npt.ArrayLike | Population | Corrected,
    *,
    interval: float,
    targets: Iterable[float] = (),
    keep: int = KEEP,
    most: int = MOST,
) -> Corrected:
    """Closed-loop latencies with the requests that were not sent while one of them stalled.

    `values`: shape (n,), in time order, one user's, +inf for failed; `interval`: the time between two requests
    that was meant, in the same unit. Behind each v > interval come v - interval, v - 2 interval, ... down to
    the last one >= interval (up to rounding). A failed request stays one: how long it took is not in the
    values. `targets`, `keep`: of the resulting population; memory is bounded by them, not by what is added.

    Never a default: it is right for one user at a constant interval only. Latency from the intended start of
    an open model needs no correction and must not get one. ValueError for NaN, -inf, an interval that is not
    a positive number, values already corrected, a folded population (correct before folding), or more
    than `most` values to add (the interval is then most likely in another unit).

    Source: HdrHistogram (Tene), recordValueWithExpectedInterval and copyCorrectedForCoordinatedOmission; its
    limits: wg/wrk#485, and Schroeder, Wierman & Harchol-Balter, Open Versus Closed, NSDI 2006.
    """
    if isinstance(values, Corrected | CorrectedPopulation):
        raise ValueError("these values are corrected for coordinated omission already; a second time invents more")
    array = values.values if isinstance(values, Population) else checked(values)
    _check(interval)
    # As floats, because a wrong unit can ask for more than an integer holds.
    added = math.fsum(float(_missing(piece, interval).sum()) for piece in pieces(array))
    if added > most:
        raise ValueError(
            f"an interval of {interval:g} would add {added:.3g} values to {array.size}, more than {most}: "
            "is it in the unit of the values?"
        )
    population = CorrectedPopulation(targets=targets, keep=keep)
    for chunk in corrected_chunks(array, interval=interval):
        population.add(chunk)
    return Corrected(population, interval, population.n - array.size)


def corrected_chunks(values: npt.ArrayLike, *, interval: float) -> Iterator[Array]:
    """The values of `correct_omission` in chunks of at most CHUNK, to fill a histogram with; no limit, no flag."""
    _check(interval)
    for piece in pieces(checked(values)):
        missing = _missing(piece, interval)
        if not missing.any():
            yield piece
            continue
        ends: Counts = np.cumsum(missing.astype(np.int64) + 1)
        starts = np.concatenate(([0], ends[:-1]))
        for begin in range(0, int(ends[-1]), CHUNK):
            stop = min(begin + CHUNK, int(ends[-1]))
            first, last = np.searchsorted(ends, (begin, stop - 1), side="right").tolist()
            part = slice(first, last + 1)
            source = np.repeat(
                np.arange(first, last + 1), np.minimum(ends[part], stop) - np.maximum(starts[part], begin)
            )
            yield piece[source] - (np.arange(begin, stop) - starts[source]) * interval


def _missing(values: Array, interval: float) -> Array:
    """How many values each one stands for besides itself, as whole floats: floor(v / interval) - 1 or 0."""
    with np.errstate(over="ignore"):
        whole = np.floor(values / interval * (1.0 + _ROUNDING)) - 1.0
    return np.where(np.isposinf(values), 0.0, np.maximum(whole, 0.0))


def _check(interval: float) -> None:
    if not (math.isfinite(interval) and interval > 0):
        raise ValueError(f"the interval between requests must be a positive number, not {interval}")
