"""Seals live tables as Parquet ordered by time, and reads them in chunks, both in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from faultload.errors import InvalidInput, Mistake
from faultload.host.private import write_bytes
from faultload.record.tables import (
    DAMAGED,
    SCHEMAS,
    TableTail,
    column_of,
    files,
    native,
    numbers,
    parquet_file,
    readable,
    require_columns,
    texts,
)

CHUNK_ROWS = 1_000_000
_NEVER = np.iinfo(np.int64).max


def seal(folder: Path) -> None:
    """Turn every live table into Parquet in order of time, then remove it; safe to repeat, also after a crash.

    A stream that cannot be read to its end is not removed: it stays beside what could be read, as `.arrows.torn`.
    """
    for path in sorted(folder.glob("*.arrows")):
        target = path.with_suffix(".parquet")
        if target.exists():
            tail = TableTail(path)
            for _ in tail.batches():
                pass
        else:
            temporary = target.with_suffix(".parquet.part")
            try:
                write_bytes(temporary, b"")  # the library that goes on with it cannot be told a mode
                tail = _write(path, SCHEMAS[path.stem.rpartition("-")[0] or path.stem], temporary)
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        if tail.torn:
            path.replace(path.with_suffix(".arrows.torn"))
        else:
            path.unlink()


def parquet_writer(target: Path | pa.NativeFile, schema: pa.Schema, compression_level: int = 6) -> pq.ParquetWriter:
    """Writes small Parquet: integers as deltas, texts as dictionaries, zstd."""
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    return pq.ParquetWriter(
        target,
        schema,
        compression="zstd",
        compression_level=compression_level,
        use_dictionary=[field.name for field in schema if pa.types.is_string(field.type)],
        column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
        data_page_version="2.0",
        write_page_checksum=True,
    )


def _write(stream: Path, schema: pa.Schema, target: Path) -> TableTail:
    """Write a stream as Parquet in order of time; returns what read it to its end.

    Rows are written when they are known, not when they began. A row can be given out once no later batch
    holds an earlier one: the least time of all later batches is looked up first, so memory holds a row group
    and what overlaps it.
    """
    order = schema.names[0]
    least = [pc.min(batch.column(order)).as_py() for batch in TableTail(stream).batches()]
    after = [*list(accumulate(reversed(least), min))[::-1], _NEVER][1:]
    tail = TableTail(stream)
    with native(target, "wb") as sink, parquet_writer(sink, schema) as writer:
        waiting: list[pa.RecordBatch] = []
        rows, enough = 0, CHUNK_ROWS
        for batch, following in zip(tail.batches(), after, strict=True):
            waiting.append(batch)
            rows += batch.num_rows
            if following != _NEVER and rows < enough:
                continue
            held = pa.Table.from_batches(waiting, schema).sort_by(order)
            ready = int(np.searchsorted(numbers(held[order]), following))
            writer.write_table(held.slice(0, ready), row_group_size=CHUNK_ROWS)
            waiting = held.slice(ready).to_batches()
            rows -= ready
            # one very late row must not make every batch sort all that waits for it
            enough = max(CHUNK_ROWS, 2 * rows)
    return tail


Columns = dict[str, npt.NDArray[Any]]
"""A chunk of a table: one array a column, texts as int32 codes into a `Vocabulary`, -1 for none."""


class Vocabulary:
    """The texts of a table's columns; a text has the same code in every chunk."""

    def __init__(self) -> None:
        self._names: dict[str, list[str | None]] = {}

    def names(self, column: str) -> list[str | None]:
        """The texts of a column by code; grows while chunks are read."""
        return self._names.setdefault(column, [])

    def codes(self, name: str, column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
        found, texts_here = texts(column)
        known = self.names(name)
        known += [text for text in dict.fromkeys(texts_here) if text not in known]
        if known[: len(texts_here)] == texts_here:
            return found
        mapped = np.array([*(known.index(text) for text in texts_here), -1], dtype=np.int32)
        return np.asarray(mapped[found], dtype=np.int32)


def chunks(
    folder: Path,
    table: str,
    columns: Sequence[str],
    vocabulary: Vocabulary | None = None,
    *,
    rows: int | None = None,
    since: int | None = None,
    until: int | None = None,
    prepare: Callable[[Columns], Columns] | None = None,
    watch: Callable[[Path, Columns], None] | None = None,
) -> Iterator[Columns]:
    """The rows of a table over all its workers in order of time, about `rows` at a time (a million by default).

    Time is the table's first column, which `columns` must begin with; [`since`, `until`) bounds it, in its own
    unit. `prepare` turns what was read of one worker into what is wanted, before the workers are joined; it may
    leave rows out, and must keep the time. `watch` is shown what was read of each file, as it was recorded, in
    order of time, in a thread of its own for each. Raises InvalidInput when a sealed file is damaged or not in
    order of time.
    """
    schema = SCHEMAS[table]
    order = schema.names[0]
    if not columns or columns[0] != order:
        raise ValueError(f"the columns of {table} begin with {order}")
    span = (-_NEVER if since is None else since, _NEVER if until is None else until)
    found = files(folder, table)
    share = max((CHUNK_ROWS if rows is None else rows) // max(len(found), 1), 1)
    known = Vocabulary() if vocabulary is None else vocabulary
    feeds = [_within(path, _feed(path, columns, schema, share, span), order, span, known) for path in found]
    if watch is not None:
        feeds = [_watched(feed, partial(watch, path)) for path, feed in zip(found, feeds, strict=True)]
    if prepare is not None:
        feeds = [(part for part in map(prepare, feed) if part[order].size) for feed in feeds]
    if not feeds:
        return iter(())
    feeds = [_ahead(feed) for feed in feeds]
    return _merged(feeds, order) if len(feeds) > 1 else feeds[0]


def _watched(feed: Iterator[Columns], watch: Callable[[Columns], None]) -> Iterator[Columns]:
    for part in feed:
        watch(part)
        yield part


def _ahead(items: Iterator[Columns]) -> Iterator[Columns]:
    """The same items, the next one made by a thread of its own while this one is used: decoding needs no GIL."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="record") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _feed(
    path: Path, columns: Sequence[str], schema: pa.Schema, rows: int, span: tuple[int, int]
) -> Iterator[pa.Table]:
    if path.suffix == ".arrows":
        found = [part for batch in TableTail(path).batches() if (part := _inside(batch, columns, span)).num_rows]
        live = pa.Table.from_batches(found, pa.schema([schema.field(name) for name in columns]))
        yield live.sort_by(columns[0])
        return
    wanted = [name for name in columns if pa.types.is_string(schema.field(name).type)]
    with parquet_file(path) as file:
        require_columns(path, file.schema_arrow.names, columns)
    with parquet_file(path, read_dictionary=wanted) as file:
        groups = [i for i in range(file.num_row_groups) if _touches(file.metadata.row_group(i), columns[0], span)]
        for batch in file.iter_batches(rows, row_groups=groups, columns=list(columns)):
            yield pa.Table.from_batches([batch]).select(list(columns))


def _inside(batch: pa.RecordBatch, columns: Sequence[str], span: tuple[int, int]) -> pa.RecordBatch:
    times = batch.column(columns[0])
    first, end = column_of(span, times.type)
    wanted = pc.and_(pc.greater_equal(times, first), pc.less(times, end))
    return batch.select(list(columns)).filter(wanted)


def _touches(group: Any, order: str, span: tuple[int, int]) -> bool:
    found = [group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == order]
    known = found[0].statistics if found else None
    if known is None or not known.has_min_max:
        return True
    return bool(known.max >= span[0] and known.min < span[1])


def _within(
    path: Path, feed: Iterator[pa.Table], order: str, span: tuple[int, int], vocabulary: Vocabulary
) -> Iterator[Columns]:
    """Only the rows inside the span, as arrays, checked to be in order of time."""
    last = -_NEVER
    for table in feed:
        if not table.num_rows:
            continue
        times = numbers(table[order])
        if times[0] < last or (times[1:] < times[:-1]).any():
            raise InvalidInput(Mistake(f"{order} goes backward: not in order of time", file=path, hint=DAMAGED))
        last = int(times[-1])
        begin, end = np.searchsorted(times, span)
        if end > begin:
            inside = table.slice(int(begin), int(end - begin))
            yield {name: _array(name, inside[name], vocabulary) for name in inside.column_names}


def _array(name: str, column: pa.ChunkedArray, vocabulary: Vocabulary) -> npt.NDArray[Any]:
    text = pa.types.is_string(column.type) or pa.types.is_dictionary(column.type)
    return vocabulary.codes(name, column) if text else numbers(column)


def _merged(feeds: Sequence[Iterator[Columns]], order: str) -> Iterator[Columns]:
    """Several feeds as one: what all of them have reached is given out together."""
    heads = [next(feed, None) for feed in feeds]
    while held := [head for head in heads if head is not None]:
        reached = min(int(head[order][-1]) for head in held)
        parts: list[Columns] = []
        for i, head in enumerate(heads):
            if head is None:
                continue
            ready = int(np.searchsorted(head[order], reached, side="right"))
            parts.append({name: values[:ready] for name, values in head.items()})
            rest = {name: values[ready:] for name, values in head.items()}
            heads[i] = rest if rest[order].size else next(feeds[i], None)
        together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        by_time = np.argsort(together[order], kind="stable")
        yield {name: values[by_time] for name, values in together.items()}


def row_count(folder: Path, table: str) -> int:
    """How many rows a table has in all, from the sealed files' footers; a live stream is read through."""
    found = 0
    for path in files(folder, table):
        if path.suffix == ".parquet":
            with parquet_file(path) as file:
                found += file.metadata.num_rows
        else:
            with readable(path):
                found += sum(batch.num_rows for batch in TableTail(path).batches())
    return found
