"""What a table holds by second, as who writes it counts it in `events.jsonl` and as who reads it finds it again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

DIGESTED: Mapping[str, tuple[str, ...]] = {
    "samples": ("intended_ns", "started_ns", "service_us", "outcome"),
    "iterations": ("intended_ns", "waited_us", "slip_us"),
    "observations": ("t_ns", "value"),
    "writes": ("t_ns", "state"),
    "metrics": ("t_ns", "value"),
}
"""The columns that a digest is made of, time first. Texts among them are faultload's own words, never redacted."""

Entry = tuple[int, int, int]
"""A second of the run's clock, the rows whose time lies in it, and their digest."""

_NS = 1_000_000_000
_WEIGHTS = (1, 3, 5, 7)
_MASK = 2**53 - 1  # what every reader of JSON keeps whole


class Tally:
    """Rows by second, with a digest that does not depend on their order.

    The digest is the sum over all rows of 1, 3, 5 and 7 times their digested columns (int64; a float by its bits,
    a text by its CRC-32), modulo 2^53.
    """

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self._seconds: dict[int, tuple[int, int]] = {}
        self.extend(entries)

    def __len__(self) -> int:
        """All rows."""
        return sum(rows for rows, _ in self._seconds.values())

    def extend(self, entries: Sequence[Entry]) -> None:
        for second, rows, digest in entries:
            before = self._seconds.get(second, (0, 0))
            self._seconds[second] = before[0] + rows, (before[1] + digest) & _MASK

    def entries(self) -> list[Entry]:
        """Seconds with rows, in order of time."""
        return [(second, *self._seconds[second]) for second in sorted(self._seconds)]

    def differing(self, other: Tally) -> Iterator[tuple[int, int, int]]:
        """The seconds in which another tally is not the same, with the rows here and there."""
        for second in sorted(self._seconds.keys() | other._seconds.keys()):
            here, there = (one._seconds.get(second, (0, 0)) for one in (self, other))
            if here != there:
                yield second, here[0], there[0]


def count_rows(table: str, columns: Mapping[str, Any], names: Sequence[str | None] = ()) -> list[Entry]:
    """The entries of some rows, given as arrays of shape (n,) by digested column; texts are codes into `names`.

    Rows in order of time need no sorting. O(n) then, a few nanoseconds a row.
    """
    time, *_ = wanted = DIGESTED[table]
    times = np.asarray(columns[time], dtype=np.int64)
    if not times.size:
        return []
    seconds = times // _NS
    order: Any = slice(None)
    if (seconds[1:] < seconds[:-1]).any():
        order = np.argsort(seconds, kind="stable")
        seconds = seconds[order]
    first = np.flatnonzero(np.concatenate(([True], seconds[1:] != seconds[:-1])))
    digests = np.zeros(first.size, np.int64)
    for weight, name in zip(_WEIGHTS, wanted, strict=False):
        digests += weight * np.add.reduceat(_as_integers(columns[name], names)[order], first)
    rows = np.diff(first, append=times.size)
    found = zip(seconds[first].tolist(), rows.tolist(), digests.tolist(), strict=True)
    return [(second, count, digest & _MASK) for second, count, digest in found]


def _as_integers(values: Any, names: Sequence[str | None]) -> npt.NDArray[np.int64]:
    array: npt.NDArray[Any] = np.asarray(values)
    if array.dtype == np.float64:
        return np.ascontiguousarray(array, np.float64).view(np.int64)
    if array.dtype == np.int32:  # codes of a text column
        words = [0 if name is None else zlib.crc32(name.encode()) for name in names]
        return np.asarray(np.array([*words, 0], dtype=np.int64)[array])
    return np.asarray(array, dtype=np.int64)
