"""Values in time order: kept whole while few, folded into histograms by consecutive block when many."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import batch_edges
from faultload_analysis.latency.blocks import Blocks
from faultload_analysis.latency.histogram import Array, Counts, Histogram, checked, checked_targets

KEEP = 2_000_000
MAX_BATCHES = 128
_LARGE = 1 << 16  # smaller chunks wait for one another before they are folded


class Population:
    """Values in time order, +inf for failed: kept whole while at most `keep`, else folded into blocks.

    Kept, every answer is exact. Folded: 512 to 1024 consecutive blocks of equal request count, each a histogram
    with 0.1 % bins, its finite sum and its exact counts of +inf and above each of `targets`. Then order
    statistics are within 0.1 % and on the right side of every target, and batches are cut at block edges.
    What is folded depends on the values and on `keep` alone, not on the chunks they came in. Memory when
    folded: 2 MB for each octave that the values reach over (some 50 MB for latencies).
    """

    def __init__(self, values: npt.ArrayLike = (), *, targets: Iterable[float] = (), keep: int = KEEP) -> None:
        if keep < 0:
            raise ValueError(f"keep must be at least 0, not {keep}")
        self.targets = checked_targets(targets)
        self.keep = keep
        self.n = 0
        self._chunks: list[Array] = []
        self._waiting = 0  # values in chunks
        self._blocks: Blocks | None = None
        self._sorted: Array | None = None
        self._histogram: Histogram | None = None
        self._n_failed: int | None = None
        self.add(values)

    @classmethod
    def of(cls, values: npt.ArrayLike | Population) -> Population:
        """A population as it is; an array, shape (n,), kept whole whatever its size and not copied."""
        if isinstance(values, Population):
            return values
        array = checked(values)
        made = cls(keep=max(KEEP, array.size))
        made._chunks, made.n, made._waiting = [array], array.size, array.size
        return made

    def add(self, values: npt.ArrayLike) -> None:
        """The next values in time, shape (m,), copied. ValueError for NaN, -inf or another shape."""
        array = checked(values)
        if array.size == 0:
            return
        self._sorted, self._histogram, self._n_failed = None, None, None
        self.n += array.size
        if self.n <= self.keep or array.size < _LARGE:
            self._chunks.append(np.array(array))
            self._waiting += array.size
        if self.n <= self.keep:
            return
        if self._blocks is None:
            self._blocks = Blocks(self.targets, self.keep)
        if self._waiting >= _LARGE or array.size >= _LARGE:
            self._folded()
        if array.size >= _LARGE:
            self._blocks.add(array)

    def then(self, later: Population) -> Population:
        """These values and after them those of `later`, as a new population. ValueError when targets differ."""
        if self.targets != later.targets:
            raise ValueError(f"populations of other targets do not join: {self.targets} and {later.targets}")
        made = Population(targets=self.targets, keep=max(self.keep, later.keep))
        made.n = self.n + later.n
        if self.exact and later.exact and made.n <= made.keep:
            made._chunks, made._waiting = [*self._chunks, *later._chunks], made.n
            return made
        made._blocks = Blocks(self.targets, min((p.keep for p in (self, later) if not p.exact), default=made.keep))
        for part in (self, later):
            blocks = part._folded()
            if blocks is not None:
                made._blocks.extend(blocks)
            for chunk in part._chunks:
                made._blocks.add(chunk)
        return made

    @property
    def exact(self) -> bool:
        """Whether nothing has been folded yet, so that every answer is exact."""
        return self._blocks is None

    @property
    def n_failed(self) -> int:
        """How many values are +inf."""
        if self._n_failed is None:
            whole = self._blocks is None
            self._n_failed = int(np.count_nonzero(np.isposinf(self.values))) if whole else self._total().n_failed
        return self._n_failed

    @property
    def minimum(self) -> float:
        """The smallest value, exact. ValueError when empty."""
        self._need_values()
        return float(self.values.min()) if self._blocks is None else self._total().minimum

    @property
    def maximum(self) -> float:
        """The largest value, exact; +inf when one failed. ValueError when empty."""
        self._need_values()
        return float(self.values.max()) if self._blocks is None else self._total().maximum

    @property
    def mean(self) -> float | None:
        """The mean of the finite values; None when there are none."""
        if self._blocks is not None:
            return self._total().mean
        finite = self._finite()
        return float(finite.mean()) if finite.size else None

    @property
    def variance(self) -> float | None:
        """The variance of the finite values (divisor their number - 1); None when there are fewer than two."""
        if self.n - self.n_failed < 2:
            return None
        blocks = self._folded()
        if blocks is None:
            return float(self._finite().var(ddof=1))
        count, _, squares = blocks.moments
        return squares / (count - 1)

    @property
    def is_binary(self) -> bool:
        """Whether there are values and each is 0 or 1."""
        if self.n == 0:
            return False
        if self._blocks is None:
            return bool(((self.values == 0.0) | (self.values == 1.0)).all())
        total = self._total()  # its bins of 0 and of 1 hold nothing else when the extremes are 0 and 1
        ends = {total.minimum, total.maximum}
        return ends <= {0.0, 1.0} and int(total.bins()[0].size) == len(ends)

    @property
    def values(self) -> Array:
        """All values in time order, shape (n,), not to be written to. ValueError when folded."""
        if self._blocks is not None:
            raise ValueError(f"{self.n} values were folded into blocks; the values themselves are gone")
        if len(self._chunks) != 1:
            self._chunks = [np.concatenate(self._chunks)] if self._chunks else [np.zeros(0)]
        return self._chunks[0]

    def sorted_values(self) -> Array:
        """All values ascending, shape (n,), not to be written to. ValueError when folded."""
        if self._sorted is None:
            self._sorted = np.sort(self.values)
        return self._sorted

    def histogram(self) -> Histogram:
        """All values as one histogram with the same targets."""
        return Histogram(self.values, targets=self.targets) if self._blocks is None else self._total()

    def order_statistic(self, rank: int) -> float:
        """x_(rank), 1-based: exact, or within 0.1 % when folded, and on the right side of every target.

        ValueError for no such rank.
        """
        if self._blocks is not None:
            return self._total().order_statistic(rank)
        if not 1 <= rank <= self.n:
            raise ValueError(f"no order statistic of rank {rank} among {self.n}")
        return float(self.sorted_values()[rank - 1])

    def count_above(self, level: float) -> int:
        """How many values exceed `level`: exact when kept, for targets and for +inf, else see `Histogram`."""
        if self._blocks is not None:
            return self._total().count_above(level)
        if math.isnan(level):
            raise ValueError("the level is not a number")
        if self._sorted is not None:
            return self.n - int(np.searchsorted(self._sorted, level, side="right"))
        return int(np.count_nonzero(self.values > level))

    def mean_excess(self, level: float) -> float | None:
        """By how much the finite values above `level` exceed it on average; None when there are none."""
        if self._blocks is None:
            excesses = self.values[(self.values > level) & (self.values < np.inf)] - level
            return float(excesses.mean()) if excesses.size else None
        stands_for, counts = self._total().bins()
        from_here = int(np.searchsorted(stands_for, level, side="right"))
        held = int(counts[from_here:].sum())
        return float((stands_for[from_here:] - level) @ counts[from_here:]) / held if held else None

    def counts_above(self, level: float, batches: int) -> tuple[Counts, Counts]:
        """How many values exceed `level` in each of `batches` consecutive batches, and the batch sizes.

        Two arrays of shape (batches,). Batches differ in size by at most 1 when kept; when folded their edges
        are the nearest block edges. A +inf exceeds every finite level; "not ok" is any level from the largest
        finite value on. ValueError for a NaN level or batches outside 1..128.
        """
        blocks = self._folded()
        if blocks is None:
            if math.isnan(level):
                raise ValueError("the level is not a number")
            edges = self._edges(batches)
            above = np.searchsorted(np.flatnonzero(self.values > level), edges)
            return np.diff(above), np.diff(edges)
        if level == math.inf:
            return self._per_batch(blocks, np.zeros_like(blocks.ends), batches)
        return self._per_batch(blocks, blocks.above(*self._total().cut(level)), batches)

    def places_above(self, level: float) -> Counts | None:
        """Where in time the values above `level` are: indices, ascending, shape (k,); None when folded."""
        return np.flatnonzero(self.values > level) if self._blocks is None else None

    def failures(self, batches: int) -> tuple[Counts, Counts]:
        """How many values are +inf in each of `batches` consecutive batches, and sizes, as `counts_above`."""
        return self.counts_above(np.finfo(np.float64).max, batches)

    def sums(self, batches: int) -> tuple[Array, Counts]:
        """The sum of the finite values of each of `batches` consecutive batches, and the batch sizes.

        Sizes count failed values too. Batches as in `counts_above`.
        """
        blocks = self._folded()
        if blocks is None:
            edges = self._edges(batches)
            parts = np.split(self.values, edges[1:-1])
            return np.array([float(p.sum(where=p < np.inf)) for p in parts]), np.diff(edges)
        return self._per_batch(blocks, blocks.sums[: blocks.ends.size], batches)

    def _per_batch(
        self, blocks: Blocks, per_block: npt.NDArray[Any], batches: int
    ) -> tuple[npt.NDArray[Any], Counts]:
        """Sums of `per_block` and sizes over batches cut at the nearest block edges."""
        bounds = np.concatenate(([0], blocks.ends))
        wanted = self._edges(batches)
        right = np.clip(np.searchsorted(bounds, wanted), 1, bounds.size - 1)
        nearest = right - (wanted - bounds[right - 1] < bounds[right] - wanted)
        running = np.concatenate(([0], np.cumsum(per_block)))
        return np.diff(running[nearest]), np.diff(bounds[nearest])

    def _edges(self, batches: int) -> Counts:
        if not 1 <= batches <= MAX_BATCHES:
            raise ValueError(f"{batches} batches: 1 to {MAX_BATCHES} are possible")
        return batch_edges(self.n, batches)

    def _finite(self) -> Array:
        return self.values if self.n_failed == 0 else self.values[self.values < np.inf]

    def _folded(self) -> Blocks | None:
        """The blocks with all values in them; None while everything is kept."""
        if self._blocks is not None and self._chunks:
            self._blocks.add(np.concatenate(self._chunks))
            self._chunks, self._waiting = [], 0
        return self._blocks

    def _total(self) -> Histogram:
        blocks = self._folded()
        assert blocks is not None
        if self._histogram is None:
            self._histogram = blocks.total()
        return self._histogram

    def _need_values(self) -> None:
        if self.n == 0:
            raise ValueError("an empty population has neither minimum nor maximum")
