"""Rows packed in memory, written to a live table as one batch a second."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from faultload.record.counts import DIGESTED, Entry, count_rows
from faultload.record.tables import SCHEMAS, TableWriter

_CODES = {pa.int64(): "q", pa.int32(): "i", pa.int16(): "h", pa.float64(): "d", pa.string(): "i"}
_TYPES = {"q": "<i8", "i": "<i4", "h": "<i2", "d": "<f8"}


class Columns:
    """The rows of one table since the last flush. Texts are kept as codes, numbered anew each flush."""

    def __init__(self, folder: Path, table: str, worker: int) -> None:
        self._schema = SCHEMAS[table]
        codes = [_CODES[column.type] for column in self._schema]
        self._pack = struct.Struct("<" + "".join(codes)).pack
        fields = [(column.name, _TYPES[code]) for column, code in zip(self._schema, codes, strict=True)]
        self._row = np.dtype(fields)
        self._writer = TableWriter(folder, table, worker)
        self._rows = bytearray()
        self._names: dict[str | None, int] = {}
        self.made = 0
        """How many rows there were, counted one by one."""

    def code(self, text: str | None) -> int:
        """A text as the code that `add` takes; good until the next flush."""
        return self._names.setdefault(text, len(self._names))

    def add(self, *row: int | float) -> None:
        """One row, a number a column in the schema's order. Raises struct.error when one is out of range."""
        self._rows += self._pack(*row)
        self.made += 1

    def take(self) -> Batch:
        """The rows since the last flush; the next ones begin anew."""
        rows, names = np.frombuffer(self._rows, self._row), list(self._names)
        self._rows, self._names = bytearray(), {}
        return Batch(rows, names)

    def write(self, batch: Batch) -> None:
        """Append a batch to the table; may run in another thread than `add`."""
        if len(batch.rows):
            texts = {column.name for column in self._schema if column.type == pa.string()}
            self._writer.write(
                {
                    name: (batch.rows[name], batch.names) if name in texts else batch.rows[name]
                    for name in self._schema.names
                }
            )

    def close(self) -> None:
        """Write what is left and end the stream."""
        self.write(self.take())
        self._writer.close()


def warm_up() -> None:
    """Write a row to nowhere: the first one costs the Arrow library tens of milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        table = Columns(Path(folder), "samples", 0)
        table.add(*(0,) * len(SCHEMAS["samples"]))
        table.code("")
        table.close()


class Batch:
    """Some rows as a structured array, with the texts that their codes mean."""

    __slots__ = ("names", "rows")

    def __init__(self, rows: Any, names: list[str | None]) -> None:
        self.rows = rows
        self.names = names

    def entries(self, table: str) -> list[Entry]:
        """How many rows of each second there are, with their digests."""
        return count_rows(table, {name: self.rows[name] for name in DIGESTED[table]}, self.names)
