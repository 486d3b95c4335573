"""A mergeable log-linear histogram: quantiles within 0.1 %, exact counts above declared targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from faultload_analysis.latency.rank import Probability, rank

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BINS = 512  # bins an octave, one page
_PAGE = 9  # 2**9 bins
PIECE = 1 << 18

_SHIFT = 43  # a float64 without its last 43 bits: exponent and 9 bits of mantissa
_LIFT = 52  # octaves below the smallest normal float that subnormals reach
_SMALLEST_NORMAL = 2.0**-1022
_NARROW = 64  # octaves
_PAST_ALL = (2047 + _LIFT) * BINS


def checked(values: npt.ArrayLike) -> Array:
    """`values` as float64, shape (m,). ValueError for another shape, NaN or -inf."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must be one-dimensional, not of shape {array.shape}")
    lowest = float(array.min()) if array.size else 0.0
    if math.isnan(lowest):
        raise ValueError("values hold NaN")
    if lowest == -math.inf:
        raise ValueError("values hold -inf")
    return array


def checked_targets(targets: Iterable[float]) -> tuple[float, ...]:
    """The distinct targets, ascending. ValueError unless all are finite."""
    ordered = tuple(sorted({float(t) for t in targets}))
    if not all(math.isfinite(t) for t in ordered):
        raise ValueError(f"targets must be finite numbers: {ordered}")
    return ordered


def pieces(array: Array) -> Iterator[Array]:
    """Views of at most PIECE values, so that temporary arrays stay small."""
    for start in range(0, array.size, PIECE):
        yield array[start : start + PIECE]


def keys(values: Array) -> Counts:
    """The bin of each finite value, shape (m,): ascending with the value, 512 a page, pages of one octave.

    Page 0 holds 0 alone; negative pages mirror the positive ones.
    """
    places = values.view(np.int64) >> _SHIFT
    places += _LIFT * BINS
    special = np.flatnonzero(values < _SMALLEST_NORMAL)
    if special.size:
        few = values[special]
        magnitude = np.abs(few)
        subnormal = magnitude < _SMALLEST_NORMAL
        lifted = magnitude * np.where(subnormal, 2.0**_LIFT, 1.0)
        positive = (lifted.view(np.int64) >> _SHIFT) + np.where(subnormal, 0, _LIFT * BINS)
        places[special] = np.where(few < 0.0, BINS - 1 - positive, positive)
    return places


def key(value: float) -> int:
    """The bin of one finite value."""
    return int(keys(np.array([value]))[0])


def binned(values: Array, lowest: float, largest: float) -> tuple[Counts, Counts]:
    """Pages that finite values lie in, shape (k,), and the column of each value in [0, 512 k), shape (m,).

    `lowest` and `largest` are the extremes of `values`, of which there is at least one.
    """
    first, last = key(lowest) // BINS, key(largest) // BINS
    places = keys(values)
    if last - first < _NARROW:
        places -= first * BINS
        return np.arange(first, last + 1, dtype=np.int64), places
    page = places >> _PAGE
    page -= first
    used = np.bincount(page) > 0
    order = (np.cumsum(used) - 1) * BINS
    places &= BINS - 1
    places += order[page]
    return np.flatnonzero(used) + first, places


def representatives(pages: Counts) -> Array:
    """The value that stands for each bin, shape (k, 512): the harmonic mean 2ab/(a+b) of its edges [a, b).

    Its relative error is at most (b-a)/(a+b) <= 1/1025 anywhere in the bin, the least that one value can have;
    1/1024 among subnormals, where it is rounded to one of them. 0 stands for itself.
    """
    edge = np.arange(BINS, 2 * BINS, dtype=np.float64)
    middle = 2.0 * edge * (edge + 1.0) / (2.0 * edge + 1.0) / BINS
    values = np.zeros((pages.size, BINS))
    for row, page in zip(values, pages.tolist(), strict=True):
        if page:
            scaled = np.ldexp(middle, abs(page) - _LIFT - 1023)
            row[:] = scaled if page > 0 else -scaled[::-1]
    return values


def counts_from(pages: Counts, counts: npt.NDArray[Any], from_key: int) -> Counts:
    """How many values lie in the bins from `from_key` on: `counts` of shape (..., k, 512) to shape (...)."""
    page, column = divmod(from_key, BINS)
    at = int(np.searchsorted(pages, page))
    here = at < pages.size and bool(pages[at] == page)
    total = np.asarray(counts[..., at + here :, :].sum(axis=(-2, -1), dtype=np.int64))
    return total + counts[..., at, column:].sum(axis=-1, dtype=np.int64) if here else total


class Histogram:
    """Counts of finite values in bins of 1/512 octave, of +inf, and of values above each declared target.

    Every order statistic is within 0.1 % (1/1024) of the true one and on its side of every target; minimum,
    maximum, 0, the count of +inf and the counts above targets are exact. `mean` is exact but for rounding.
    Memory: 4 kB for each octave in use; time: some ns a value. The bins are those of the float itself
    (exponent and 9 bits of mantissa), fixed whatever the data, as in HdrHistogram (Tene, hdrhistogram.org),
    so that merging is exact, associative and commutative.
    """

    def __init__(self, values: npt.ArrayLike = (), *, targets: Iterable[float] = ()) -> None:
        self.targets = checked_targets(targets)
        self.n = 0
        self.n_failed = 0  # how many are +inf
        self._pages: Counts = np.zeros(0, dtype=np.int64)
        self._counts: Counts = np.zeros((0, BINS), dtype=np.int64)
        self._above: Counts = np.zeros(len(self.targets), dtype=np.int64)
        self._lowest, self._largest = math.inf, -math.inf  # of the finite values
        self._sum = 0.0
        self._cumulative: Counts | None = None
        self.add(values)

    @classmethod
    def from_counts(
        cls,
        pages: Counts,
        counts: Counts,
        above: Counts,
        n_failed: int,
        *,
        targets: tuple[float, ...],
        lowest: float,
        largest: float,
        total: float,
    ) -> Histogram:
        """From counts made with `binned`: shape (k, 512) for `pages`, shape (t,) above `targets`; extremes and sum
        are those of the finite values (+inf, -inf and 0 when there are none)."""
        made = cls(targets=targets)
        made.n, made.n_failed = int(counts.sum()) + n_failed, n_failed
        made._pages, made._counts, made._above = pages, counts, above
        made._lowest, made._largest, made._sum = lowest, largest, total
        return made

    def add(self, values: npt.ArrayLike) -> None:
        """Count `values`, shape (m,), any order. ValueError for NaN, -inf or another shape."""
        array = checked(values)
        self._cumulative = None
        for piece in pieces(array):
            for i, target in enumerate(self.targets):
                self._above[i] += np.count_nonzero(piece > target)
            finite = piece[piece < math.inf] if piece.max() == math.inf else piece
            self.n += piece.size
            self.n_failed += piece.size - finite.size
            if finite.size == 0:
                continue
            lowest, largest = float(finite.min()), float(finite.max())
            pages, columns = binned(finite, lowest, largest)
            counts = np.bincount(columns, minlength=BINS * pages.size).reshape(-1, BINS)
            self._pages, self._counts = _united(self._pages, self._counts, pages, counts)
            self._lowest, self._largest = min(self._lowest, lowest), max(self._largest, largest)
            self._sum += float(finite.sum())

    def merge(self, other: Histogram) -> Histogram:
        """Both together, as if all values had been added to one. ValueError when the targets differ."""
        if self.targets != other.targets:
            raise ValueError(f"histograms of other targets do not merge: {self.targets} and {other.targets}")
        pages, counts = _united(self._pages, self._counts, other._pages, other._counts)
        return Histogram.from_counts(
            pages,
            counts,
            self._above + other._above,
            self.n_failed + other.n_failed,
            targets=self.targets,
            lowest=min(self._lowest, other._lowest),
            largest=max(self._largest, other._largest),
            total=self._sum + other._sum,
        )

    @property
    def minimum(self) -> float:
        """The smallest value, exact. ValueError when empty."""
        self._need_values()
        return self._lowest  # +inf when nothing is finite

    @property
    def maximum(self) -> float:
        """The largest value, exact; +inf when one failed. ValueError when empty."""
        self._need_values()
        return math.inf if self.n_failed else self._largest

    @property
    def mean(self) -> float | None:
        """The mean of the finite values; None when there are none."""
        finite = self.n - self.n_failed
        return self._sum / finite if finite else None

    def order_statistic(self, rank: int) -> float:
        """x_(rank), 1-based, within 0.1 % and on the right side of every target; ValueError for no such rank."""
        if not 1 <= rank <= self.n:
            raise ValueError(f"no order statistic of rank {rank} among {self.n}")
        finite = self.n - self.n_failed
        if rank > finite:
            return math.inf
        if rank in (1, finite):
            return self._lowest if rank == 1 else self._largest
        if self._cumulative is None:
            self._cumulative = np.cumsum(self._counts)
        row, column = divmod(int(np.searchsorted(self._cumulative, rank)), BINS)
        value = float(representatives(self._pages[row : row + 1])[0, column])
        value = min(max(value, self._lowest), self._largest)
        for target, above in zip(self.targets, self._above.tolist(), strict=True):
            met = self.n - above >= rank
            value = min(value, target) if met else max(value, math.nextafter(target, math.inf))
        return value

    def quantile(self, p: Probability) -> float:
        """x_(ceil(np)), as `order_statistic`. ValueError when empty or p is not in (0, 1]."""
        return self.order_statistic(rank(self.n, p))

    def count_above(self, level: float) -> int:
        """How many values exceed `level`: exact for targets, for +inf and outside the range of the values.

        Else each value counts as what stands for it in `order_statistic`. ValueError for a NaN level.
        """
        target, from_key = self.cut(level)
        if target is not None:
            return int(self._above[target])
        if level == math.inf:
            return 0
        return int(counts_from(self._pages, self._counts, from_key)) + self.n_failed

    def cut(self, level: float) -> tuple[int | None, int]:
        """Which count says "above `level`": that of a target (its index), or +inf and all bins from a key on."""
        if math.isnan(level):
            raise ValueError("the level is not a number")
        if level in self.targets:
            return self.targets.index(level), 0
        if level >= self._largest:
            return None, _PAST_ALL
        if level < self._lowest:
            return None, key(self._lowest)
        at = key(level)
        inside = [(t, i) for i, t in enumerate(self.targets) if key(t) == at]
        below = max((pair for pair in inside if pair[0] < level), default=None)
        beyond = min((pair for pair in inside if pair[0] > level), default=None)
        value = float(representatives(np.array([at // BINS]))[0, at % BINS])
        value = min(max(value, self._lowest), self._largest)
        value = value if below is None else max(value, math.nextafter(below[0], math.inf))
        value = value if beyond is None else min(value, beyond[0])
        if value > level:
            return (None, at) if below is None else (below[1], 0)
        return (None, at + 1) if beyond is None else (beyond[1], 0)

    def bins(self) -> tuple[Array, Counts]:
        """The bins that hold finite values, ascending: what stands for each, its count; both of shape (b,)."""
        rows, columns = np.nonzero(self._counts)
        return representatives(self._pages)[rows, columns], self._counts[rows, columns]

    def _need_values(self) -> None:
        if self.n == 0:
            raise ValueError("an empty histogram has neither minimum nor maximum")


def _united(pages: Counts, counts: Counts, other_pages: Counts, other_counts: Counts) -> tuple[Counts, Counts]:
    """The sum of two sets of counts, in new arrays."""
    union = np.union1d(pages, other_pages)
    total = np.zeros((union.size, BINS), dtype=np.int64)
    total[np.searchsorted(union, pages)] = counts
    total[np.searchsorted(union, other_pages)] += other_counts
    return union, total
