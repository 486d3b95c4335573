"""Many values in time order as consecutive blocks of equal request count, each a histogram."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from faultload_analysis.latency.histogram import BINS, Array, Counts, Histogram, binned, counts_from, pieces

FEWEST_BLOCKS = 512
MOST_BLOCKS = 1024


class Blocks:
    """Consecutive blocks of `size` values each (the last may be shorter), each a histogram.

    The size starts at keep/512 and doubles, merging neighbours, whenever more than 1024 blocks would be needed.
    """

    def __init__(self, targets: tuple[float, ...], keep: int) -> None:
        self.targets = targets
        self.size = max(1, keep // FEWEST_BLOCKS)
        self.ends: Counts = np.zeros(0, dtype=np.int64)
        self.sums: Array = np.zeros(MOST_BLOCKS)
        self.moments = (0, 0.0, 0.0)  # of the finite values: count, mean, sum of squared deviations
        self._failed: Counts = np.zeros(MOST_BLOCKS, dtype=np.int64)
        self._above: Counts = np.zeros((MOST_BLOCKS, len(targets)), dtype=np.int64)
        self._pages: Counts = np.zeros(0, dtype=np.int64)
        self._counts: npt.NDArray[np.uint32] = np.zeros((MOST_BLOCKS, 0, BINS), dtype=np.uint32)
        self._lowest, self._largest = math.inf, -math.inf

    @property
    def n(self) -> int:
        return int(self.ends[-1]) if self.ends.size else 0

    def add(self, array: Array) -> None:
        for piece in pieces(array):
            self._add(piece)

    def _add(self, piece: Array) -> None:
        infinite = np.isposinf(piece) if piece.max() == math.inf else None
        ok = piece if infinite is None else piece[~infinite]
        rows, pages, columns = self._binned(ok)
        here = 0
        for block, start, stop in self._room_for(piece.size):
            for i, target in enumerate(self.targets):
                self._above[block, i] += np.count_nonzero(piece[start:stop] > target)
            failed = 0 if infinite is None else int(np.count_nonzero(infinite[start:stop]))
            there = here + stop - start - failed
            self._failed[block] += failed
            self.sums[block] += ok[here:there].sum()
            counts = np.bincount(columns[here:there], minlength=BINS * pages)
            self._counts[block, rows] += counts.reshape(-1, BINS).astype(np.uint32)
            here = there

    def _binned(self, ok: Array) -> tuple[Any, int, Counts]:
        """Where the pages of finite values are among those in use, how many pages, and each value's column."""
        if ok.size == 0:
            return slice(0, 0), 0, np.zeros(0, dtype=np.int64)
        lowest, largest = float(ok.min()), float(ok.max())
        self._lowest, self._largest = min(self._lowest, lowest), max(self._largest, largest)
        self.moments = _joined(self.moments, _moments(ok))
        pages, columns = binned(ok, lowest, largest)
        return self._rows_of(pages), pages.size, columns

    def extend(self, later: Blocks) -> None:
        """The blocks of `later` behind these."""
        both = self.n + later.n
        size = max(self.size, later.size)
        while size * MOST_BLOCKS < both:
            size *= 2
        self._gather([self, later], size)

    def above(self, target: int | None, from_key: int) -> Counts:
        """How many values of each block lie above a target (by index), or are +inf or in the bins from a key on."""
        blocks = self.ends.size
        if target is not None:
            return self._above[:blocks, target]
        return counts_from(self._pages, self._counts[:blocks], from_key) + self._failed[:blocks]

    def total(self) -> Histogram:
        blocks = self.ends.size
        return Histogram.from_counts(
            self._pages,
            self._counts[:blocks].sum(axis=0, dtype=np.int64),
            self._above[:blocks].sum(axis=0),
            int(self._failed.sum()),
            targets=self.targets,
            lowest=self._lowest,
            largest=self._largest,
            total=float(self.sums[:blocks].sum()),
        )

    def _room_for(self, more: int) -> list[tuple[int, int, int]]:
        """Block, start and stop of each stretch of the next `more` values; makes the blocks."""
        while True:
            blocks = int(self.ends.size)
            last = self.n - (int(self.ends[-2]) if blocks > 1 else 0) if blocks else self.size
            room = min(more, max(0, self.size - last))
            starts = [*([0] if room else []), *range(room, more, self.size)]
            first = blocks - bool(room)
            if first + len(starts) <= MOST_BLOCKS:
                break
            self._gather([self], 2 * self.size)
        stops = [*starts[1:], more]
        self.ends = np.concatenate((self.ends[:first], self.n + np.array(stops, dtype=np.int64)))
        return [(first + i, start, stop) for i, (start, stop) in enumerate(zip(starts, stops, strict=True))]

    def _rows_of(self, pages: Counts) -> Any:
        """Where `pages` are among the pages in use, which grow to hold them."""
        if not np.isin(pages, self._pages).all():
            union = np.union1d(self._pages, pages)
            counts = np.zeros((MOST_BLOCKS, union.size, BINS), dtype=np.uint32)
            counts[: self.ends.size, np.searchsorted(union, self._pages)] = self._counts[: self.ends.size]
            self._pages, self._counts = union, counts
        at = np.searchsorted(self._pages, pages)
        contiguous = int(at[-1] - at[0]) == at.size - 1
        return slice(int(at[0]), int(at[-1]) + 1) if contiguous else at

    def _gather(self, parts: list[Blocks], size: int) -> None:
        """Make these the blocks of all `parts`, one after the other, merged to `size`: those that start within
        the same multiple of it become one."""
        shifts = np.cumsum([0, *(part.n for part in parts)])
        ends = np.concatenate([part.ends + shift for part, shift in zip(parts, shifts, strict=False)])
        _, block = np.unique(np.concatenate(([0], ends))[:-1] // size, return_inverse=True)
        pages = parts[0]._pages
        for part in parts[1:]:
            pages = np.union1d(pages, part._pages)
        counts = np.zeros((MOST_BLOCKS, pages.size, BINS), dtype=np.uint32)
        sums, failed, above = np.zeros(MOST_BLOCKS), np.zeros_like(self._failed), np.zeros_like(self._above)
        to = iter(block.tolist())
        for part in parts:
            rows = np.searchsorted(pages, part._pages)
            for i in range(part.ends.size):
                into = next(to)
                counts[into, rows] += part._counts[i]
                sums[into] += part.sums[i]
                failed[into] += part._failed[i]
                above[into] += part._above[i]
        for part in parts:
            if part is not self:
                self.moments = _joined(self.moments, part.moments)
                self._lowest = min(self._lowest, part._lowest)
                self._largest = max(self._largest, part._largest)
        self.ends = ends[np.diff(block, append=-1) != 0]
        self.size, self._pages, self._counts = size, pages, counts
        self.sums, self._failed, self._above = sums, failed, above


Moments = tuple[int, float, float]


def _moments(values: Array) -> Moments:
    if values.size == 0:
        return 0, 0.0, 0.0
    mean = float(values.mean())
    off = values - mean
    off *= off  # not `off @ off`: BLAS starts threads, which costs far more than it saves
    return values.size, mean, float(off.sum())


def _joined(a: Moments, b: Moments) -> Moments:
    """Count, mean and squared deviations of two sets together (Chan, Golub & LeVeque 1983)."""
    n = a[0] + b[0]
    if n == 0:
        return a
    apart = b[1] - a[1]
    return n, a[1] + apart * b[0] / n, a[2] + b[2] + apart * apart * a[0] * b[0] / n
