"""The tables of a run directory: live Arrow streams that survive a crash, and their columns."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faultload.errors import InvalidInput, Mistake, of_the_machine
from faultload.host.private import open_file
from faultload.record.redactor import Redactor

_INT64, _FLOAT, _TEXT = pa.int64(), pa.float64(), pa.string()

SCHEMAS: Mapping[str, pa.Schema] = {
    "samples": pa.schema(
        [
            ("intended_ns", _INT64),
            ("started_ns", _INT64),
            ("service_us", _INT64),
            ("request", _TEXT),
            ("journey", _TEXT),
            ("variant", _TEXT),
            ("outcome", _TEXT),
            ("status", pa.int16()),
            ("bytes", pa.int32()),
        ]
    ),
    "iterations": pa.schema(
        [
            ("intended_ns", _INT64),
            ("ended_ns", _INT64),
            ("waited_us", _INT64),
            ("slip_us", _INT64),
            ("journey", _TEXT),
            ("variant", _TEXT),
            ("outcome", _TEXT),
        ]
    ),
    "observations": pa.schema(
        [("t_ns", _INT64), ("name", _TEXT), ("value", _FLOAT), ("journey", _TEXT), ("variant", _TEXT)]
    ),
    "writes": pa.schema([("t_ns", _INT64), ("key", _TEXT), ("state", _TEXT)]),
    "metrics": pa.schema(
        [("t_ns", _INT64), ("service", _TEXT), ("instance", _TEXT), ("name", _TEXT), ("value", _FLOAT)]
    ),
}
"""Columns by table. `writes` is the write ledger: state `attempted` or `acknowledged`, at `t_ns`."""

DAMAGED = "the file is damaged or not of faultload's making: put back a copy, or remove it to judge without it"

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def stem(table: str, worker: int | None) -> str:
    """The file name of a table without its ending; `metrics` has one writer, the others one a worker."""
    return table if worker is None else f"{table}-{worker}"


class TableWriter:
    """Appends batches to one live table; every batch is whole on disk or, after a crash, left out."""

    def __init__(self, folder: Path, table: str, worker: int | None = 0) -> None:
        self.schema = SCHEMAS[table]
        self.path = folder / f"{stem(table, worker)}.arrows"
        self._file = open_file(self.path, "xb", buffering=0)  # closed by close()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._buffer = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._buffer, self.schema, options=options)
        self._redactor = Redactor.from_environment()
        # keys of the write ledger are looked up again
        self._without_secrets = self._redactor.key if table == "writes" else self._redactor.text
        self._flush()

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows, given as a sequence or array a column; a text column may be (codes, names)."""
        arrays = [self._array(columns[field.name], field.type) for field in self.schema]
        if len(arrays[0]):
            self._writer.write_batch(pa.record_batch(arrays, schema=self.schema))
            self._flush()

    def _array(self, values: Any, kind: pa.DataType) -> pa.Array:
        if isinstance(values, tuple):
            codes, names = values
            return _texts(self._clean(names)).take(column_of(codes, pa.int32()))
        return _texts(self._clean(values)) if kind == _TEXT else column_of(values, kind)

    def _clean(self, texts: Sequence[str | None]) -> Sequence[str | None]:
        if not self._redactor.knows_secrets:
            return texts
        return [None if text is None else self._without_secrets(text) for text in texts]

    def _flush(self) -> None:
        data = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        if not self._file.closed:
            self._writer.close()
            self._flush()
            self._file.close()


# pa.array, pa.scalar and to_numpy would import pandas where that is installed: half a second in every process.


def column_of(values: Any, kind: pa.DataType) -> pa.Array:
    """Numbers as an Arrow column. Raises ValueError for one that its type does not hold."""
    given = np.asarray(values)
    array = np.ascontiguousarray(given, kind.to_pandas_dtype())
    if array.dtype != given.dtype and not np.array_equal(array, given):
        raise ValueError(f"values out of range for {kind}")
    return pa.Array.from_buffers(kind, len(array), [None, pa.py_buffer(array)])


def _texts(values: Sequence[str | None]) -> pa.Array:
    """Texts as a column; None is null."""
    encoded = [b"" if text is None else text.encode() for text in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    there = np.packbits(np.array([text is not None for text in values], bool), bitorder="little")
    return pa.Array.from_buffers(
        _TEXT, len(encoded), [*map(pa.py_buffer, (there, ends)), pa.py_buffer(b"".join(encoded))]
    )


_MISSING = column_of([-1], pa.int32())[0]


class TableTail:
    """Reads what was appended to a live table since the last look; a torn last batch waits for the next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._schema: pa.Schema | None = None

    @property
    def torn(self) -> bool:
        """Whether something follows what was read that is neither a batch nor the end of the stream."""
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            return file.read(len(_END_OF_STREAM) + 1) not in (b"", _END_OF_STREAM)

    def read(self) -> pa.Table | None:
        """New rows since the last call, or None while there is none (or no file)."""
        batches = list(self.batches())
        return pa.Table.from_batches(batches, self._schema) if batches else None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """New batches since the last call, one at a time."""
        try:
            size = self.path.stat().st_size
            if size <= self._offset:
                return
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                while (message := self._message(file, size)) is not None:
                    batch = None
                    try:
                        if self._schema is None:
                            self._schema = pa.ipc.read_schema(message)
                        else:
                            batch = pa.ipc.read_record_batch(message, self._schema)
                    except (OSError, pa.ArrowInvalid):
                        return
                    self._offset = file.tell()
                    if batch is not None:
                        yield batch
        except FileNotFoundError:
            return

    @staticmethod
    def _message(file: io.BufferedReader, size: int) -> pa.Message | None:
        start = file.tell()
        head = file.read(8)
        file.seek(start)
        if len(head) < 8 or head == _END_OF_STREAM:
            return None
        if start + 8 + int.from_bytes(head[4:8], "little") > size:
            return None
        try:
            return pa.ipc.read_message(file)
        except (OSError, EOFError, pa.ArrowInvalid):
            return None


def _live(path: Path) -> pa.Table | None:
    return TableTail(path).read()


def native(path: Path, mode: str = "rb") -> pa.NativeFile:
    """A file as the Arrow library opens it; of a path as text it takes only what is UTF-8."""
    return pa.OSFile(os.fsencode(path), mode)


@contextmanager
def parquet_file(path: Path, **options: Any) -> Iterator[pq.ParquetFile]:
    """A sealed table, whose pages are held against their checksums as they are read. Raises InvalidInput."""
    with (
        readable(path),
        native(path) as source,
        pq.ParquetFile(source, page_checksum_verification=True, **options) as file,
    ):
        yield file


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What the Arrow library cannot read of a file is the file's damage. Raises InvalidInput."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if of_the_machine(error):
            raise
        raise InvalidInput(Mistake(f"cannot be read: {error}", file=path, hint=DAMAGED)) from None


def _sealed(path: Path, columns: Sequence[str]) -> pa.Table:
    with parquet_file(path) as file:  # read_table would import pandas
        require_columns(path, file.schema_arrow.names, columns)
        return file.read(list(columns))


def require_columns(path: Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise InvalidInput where a sealed table lacks one of its columns."""
    if missing := [name for name in wanted if name not in there]:
        raise InvalidInput(Mistake(f"the column {missing[-1]} is missing", file=path, hint=DAMAGED))


def files(folder: Path, table: str) -> list[Path]:
    """The files of a table, sealed and live, in order of worker."""
    found = [folder / f"{table}.parquet", folder / f"{table}.arrows"]
    found += sorted(folder.glob(f"{table}-*.parquet")) + sorted(folder.glob(f"{table}-*.arrows"))
    sealed = {path.stem for path in found if path.suffix == ".parquet" and path.exists()}
    return [path for path in found if path.exists() and (path.suffix == ".parquet" or path.stem not in sealed)]


def read(folder: Path, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a table over its workers, from Parquet or live streams; empty when there is none.

    Raises InvalidInput when a sealed file is damaged.
    """
    schema = SCHEMAS[table]
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    parts = []
    for path in files(folder, table):
        part = _sealed(path, schema.names) if path.suffix == ".parquet" else _live(path)
        if part is not None:
            parts.append(part.select(schema.names).cast(schema))
    return pa.concat_tables(parts) if parts else schema.empty_table()


def texts(column: pa.ChunkedArray) -> tuple[np.ndarray[Any, np.dtype[np.int32]], list[str | None]]:
    """A text column as codes and names; a missing text has code -1."""
    encoded = column.unify_dictionaries().combine_chunks().dictionary_encode()
    codes = _numpy(encoded.indices.fill_null(_MISSING)).astype(np.int32, copy=False)
    return codes, encoded.dictionary.to_pylist()


def numbers(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A numeric column as one array."""
    return _numpy(column.combine_chunks())


def _numpy(array: pa.Array) -> np.ndarray[Any, Any]:
    """What `to_numpy` gives, which would import pandas; a null is nan."""
    return np.asarray(array.to_numpy(zero_copy_only=False) if array.null_count else np.from_dlpack(array))
