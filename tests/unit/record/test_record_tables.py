"""Tables survive a crash: what a torn stream holds is read, sealed once, and tailed without a row twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faultload.errors import InvalidInput
from faultload.record import tables
from faultload.record.directory import RunDirectory
from faultload.record.sealed import Vocabulary, chunks, row_count, seal
from faultload.record.tables import TableTail, TableWriter


def rows(first: int, count: int) -> dict[str, Any]:
    numbers = np.arange(first, first + count)
    return {
        "intended_ns": numbers * 1_000_000,
        "started_ns": numbers * 1_000_000 + 7,
        "service_us": np.full(count, 1234),
        "request": (np.zeros(count, np.int32), ["GET /"]),
        "journey": (np.arange(count, dtype=np.int32) % 2, ["Visit", "Buy"]),
        "variant": [None] * count,
        "outcome": ["ok"] * count,
        "status": np.full(count, 200, np.int16),
        "bytes": np.full(count, 512, np.int32),
    }


def write(folder: Path, batches: int, count: int = 100, worker: int = 0) -> list[int]:
    """Write batches and close; returns the file's size after each of them."""
    writer = TableWriter(folder, "samples", worker)
    sizes = []
    for index in range(batches):
        writer.write(rows(index * count, count))
        sizes.append(writer.path.stat().st_size)
    writer.close()
    return sizes


@pytest.mark.parametrize("sealed", [False, True])
def test_what_was_written_is_read(tmp_path: Path, sealed: bool) -> None:
    write(tmp_path, 3)
    if sealed:
        seal(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["samples-0.parquet"]
    table = tables.read(tmp_path, "samples")
    assert table.schema == tables.SCHEMAS["samples"]
    assert tables.numbers(table["intended_ns"]).tolist() == [n * 1_000_000 for n in range(300)]
    codes, names = tables.texts(table["journey"])
    assert [names[code] for code in codes[:4]] == ["Visit", "Buy", "Visit", "Buy"]
    assert set(tables.texts(table["variant"])[0].tolist()) == {-1}
    assert tables.read(tmp_path, "samples", ["status"]).column_names == ["status"]


def test_workers_are_read_together(tmp_path: Path) -> None:
    write(tmp_path, 1, 10, worker=0)
    seal(tmp_path)
    write(tmp_path, 1, 20, worker=1)
    assert tables.read(tmp_path, "samples").num_rows == 30


def test_no_table_is_an_empty_one(tmp_path: Path) -> None:
    table = tables.read(tmp_path, "writes")
    assert (table.num_rows, table.schema) == (0, tables.SCHEMAS["writes"])


def test_a_torn_last_batch_is_left_out(tmp_path: Path) -> None:
    """As after SIGKILL: the stream may end anywhere; whole batches before that place stay."""
    sizes = write(tmp_path, 3)
    path = tmp_path / "samples-0.arrows"
    data = path.read_bytes()
    for cut in [*range(0, sizes[0], 97), *range(sizes[0] - 9, sizes[2] + 8, 41), len(data)]:
        path.write_bytes(data[:cut])
        whole = sum(size <= cut for size in sizes)
        assert tables.read(tmp_path, "samples").num_rows == 100 * whole, f"cut at {cut} of {len(data)}"


def test_a_torn_stream_is_sealed_with_its_whole_batches(tmp_path: Path) -> None:
    sizes = write(tmp_path, 2)
    path = tmp_path / "samples-0.arrows"
    path.write_bytes(path.read_bytes()[: sizes[1] - 3])
    seal(tmp_path)
    assert tables.read(tmp_path, "samples").num_rows == 100
    before = (tmp_path / "samples-0.parquet").read_bytes()
    seal(tmp_path)
    assert (tmp_path / "samples-0.parquet").read_bytes() == before


def test_a_stream_that_never_had_a_row_is_sealed_empty(tmp_path: Path) -> None:
    TableWriter(tmp_path, "metrics", None).close()
    (tmp_path / "writes-3.arrows").touch()
    seal(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.parquet", "writes-3.parquet"]
    assert tables.read(tmp_path, "metrics").num_rows == tables.read(tmp_path, "writes").num_rows == 0


def test_a_crash_while_sealing_loses_and_doubles_nothing(tmp_path: Path) -> None:
    write(tmp_path, 2)
    stream = (tmp_path / "samples-0.arrows").read_bytes()
    (tmp_path / "samples-0.parquet.part").write_bytes(b"half of a file")
    assert tables.read(tmp_path, "samples").num_rows == 200
    seal(tmp_path)
    (tmp_path / "samples-0.arrows").write_bytes(stream)  # sealed, but not yet removed
    assert tables.read(tmp_path, "samples").num_rows == 200
    seal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["samples-0.parquet"]


def test_a_damaged_sealed_file_is_an_error_and_not_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "samples-0.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(InvalidInput, match=r"samples-0\.parquet: cannot be read"):
        tables.read(tmp_path, "samples")


def test_sealed_samples_are_sorted_and_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    writer = TableWriter(tmp_path, "samples")
    for start in range(10):
        n = 1000
        intended = np.sort(rng.uniform(start, start + 1.2, n) * 1e9).astype(np.int64)
        slip = rng.exponential(3e5, n).astype(np.int64)
        service = (rng.lognormal(np.log(8e3), 0.4, n)).astype(np.int64)
        writer.write({**rows(0, n), "intended_ns": intended, "started_ns": intended + slip, "service_us": service})
    writer.close()
    seal(tmp_path)
    intended = tables.numbers(tables.read(tmp_path, "samples")["intended_ns"])
    assert (np.diff(intended) >= 0).all()
    assert (tmp_path / "samples-0.parquet").stat().st_size / 10_000 <= 12


def test_a_live_table_has_one_writer(tmp_path: Path) -> None:
    TableWriter(tmp_path, "samples").close()
    with pytest.raises(FileExistsError):
        TableWriter(tmp_path, "samples")


def test_a_tail_gives_each_row_once(tmp_path: Path) -> None:
    tail = TableTail(tmp_path / "samples-0.arrows")
    assert tail.read() is None
    writer = TableWriter(tmp_path, "samples")
    assert tail.read() is None
    seen: list[int] = []
    for first in (0, 100, 200):
        writer.write(rows(first, 100))
        if first == 100:
            continue
        table = tail.read()
        assert table is not None
        seen += tables.numbers(table["intended_ns"]).tolist()
    assert tail.read() is None
    writer.close()
    assert tail.read() is None
    assert seen == [n * 1_000_000 for n in range(300)]


def test_a_tail_waits_for_a_batch_under_way(tmp_path: Path) -> None:
    """However the stream arrives, in pieces of any size, the rows come whole, in order and once."""
    write(tmp_path, 4, 50)
    data = (tmp_path / "samples-0.arrows").read_bytes()
    growing = tmp_path / "growing.arrows"
    tail = TableTail(growing)
    seen: list[int] = []
    for end in [*range(1, len(data), 73), len(data)]:
        growing.write_bytes(data[:end])
        table = tail.read()
        if table is not None:
            seen += tables.numbers(table["intended_ns"]).tolist()
    assert seen == [n * 1_000_000 for n in range(200)]


def shuffled(folder: Path, worker: int, seed: int) -> np.ndarray[Any, Any]:
    """Batches of one second, written when requests ended: some began long before the others of their batch."""
    rng = np.random.default_rng(seed)
    writer = TableWriter(folder, "samples", worker)
    written = []
    for second in range(40):
        n = int(rng.integers(0, 60))
        intended = np.maximum(0, second * 10**9 - (rng.exponential(2.0, n) * 1e9).astype(np.int64))
        writer.write({**rows(0, n), "intended_ns": intended, "started_ns": intended})
        written.append(intended)
    writer.close()
    return np.concatenate(written)


@pytest.mark.parametrize("limit", [1, 100, 10_000])
def test_sealing_sorts_by_time_however_little_it_holds_at_once(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = shuffled(tmp_path, 0, seed=limit)
    monkeypatch.setattr("faultload.record.sealed.CHUNK_ROWS", limit)
    seal(tmp_path)
    intended = tables.numbers(tables.read(tmp_path, "samples")["intended_ns"])
    assert intended.tolist() == np.sort(written).tolist()


@pytest.mark.parametrize("sealed", [(), (0,), (0, 1, 2)])
@pytest.mark.parametrize("size", [1, 7, 500, 10**6])
def test_chunks_give_all_workers_rows_in_order_of_time(tmp_path: Path, sealed: tuple[int, ...], size: int) -> None:
    written = np.sort(np.concatenate([shuffled(tmp_path, worker, seed=worker) for worker in range(3)]))
    live = {path.name: path.read_bytes() for path in tmp_path.iterdir() if int(path.stem[-1]) not in sealed}
    if sealed:
        seal(tmp_path)
        for name, data in live.items():
            (tmp_path / name).with_suffix(".parquet").unlink()
            (tmp_path / name).write_bytes(data)
    assert row_count(tmp_path, "samples") == written.size
    columns = ["intended_ns", "outcome"]
    vocabulary = Vocabulary()
    parts = list(chunks(tmp_path, "samples", columns, vocabulary, rows=size))
    assert all(list(part) == columns for part in parts)
    seen = np.concatenate([part["intended_ns"] for part in parts])
    assert seen.tolist() == written.tolist()
    assert vocabulary.names("outcome") == ["ok"]
    assert not any(part["outcome"].any() for part in parts)
    since, until = 5 * 10**9, 9 * 10**9
    some = chunks(tmp_path, "samples", columns, rows=size, since=since, until=until)
    seen = np.concatenate([part["intended_ns"] for part in some])
    assert seen.tolist() == written[(written >= since) & (written < until)].tolist()


def backward(path: Path) -> None:
    texts = {"request": ["a"] * 3, "journey": ["b"] * 3, "variant": ["c"] * 3}
    pq.write_table(pa.table({**rows(0, 3), **texts, "intended_ns": [3, 1, 2]}), path)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "out of order": (backward, "not in order of time"),
    "no Parquet": (lambda path: path.write_bytes(b"PAR1 nothing PAR1"), "cannot be read"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "cannot be read"),
    "a column less": (lambda path: pq.write_table(pa.table({"intended_ns": [1]}), path), "outcome is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_sealed_table_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    run = RunDirectory.create(tmp_path / "run")
    write(run.path, 1)
    seal(run.path)
    path = run.path / "samples-0.parquet"
    change, says = DAMAGES[damage]
    change(path)
    with pytest.raises(InvalidInput, match=says) as told:
        list(chunks(run.path, "samples", ["intended_ns", "outcome"]))
    assert str(path) in str(told.value)
    assert "put back a copy" in str(told.value)


def test_an_absent_table_has_no_chunks(tmp_path: Path) -> None:
    assert list(chunks(tmp_path, "samples", ["intended_ns"])) == []
    assert row_count(tmp_path, "samples") == 0


def test_a_text_has_the_same_code_in_every_chunk_and_file(tmp_path: Path) -> None:
    for worker, names in enumerate((["a", "b"], ["c", "a"], ["b", "c"])):
        writer = TableWriter(tmp_path, "samples", worker)
        for first in range(0, 30, 10):
            writer.write({**rows(first, 10), "journey": (np.arange(10, dtype=np.int32) % 2, names)})
        writer.close()
    seal(tmp_path)
    vocabulary = Vocabulary()
    parts = list(chunks(tmp_path, "samples", ["intended_ns", "journey", "variant"], vocabulary, rows=9))
    texts = [vocabulary.names("journey")[code] for part in parts for code in part["journey"]]
    assert {name: texts.count(name) for name in "abc"} == {"a": 30, "b": 30, "c": 30}
    assert all((part["variant"] == -1).all() for part in parts)


def test_texts_of_every_kind_come_back(tmp_path: Path) -> None:
    texts = ["", None, "é", "\0", "漢字" * 100, None]
    writer = TableWriter(tmp_path, "observations")
    plain = {"t_ns": range(6), "value": [0.5] * 6, "journey": texts, "variant": [None] * 6}
    writer.write({**plain, "name": (np.array([5, 4, 3, 2, 1, 0], np.int32), texts)})
    writer.close()
    table = tables.read(tmp_path, "observations")
    assert table["journey"].to_pylist() == texts
    assert table["name"].to_pylist() == texts[::-1]
    assert table["variant"].null_count == 6


@pytest.mark.parametrize("status", [[1 << 15] * 2, [0.5] * 2, [None] * 2])
def test_a_number_that_its_column_cannot_hold_is_refused(tmp_path: Path, status: list[Any]) -> None:
    writer = TableWriter(tmp_path, "samples")
    with pytest.raises((ValueError, TypeError)):
        writer.write({**rows(0, 2), "status": status})


def test_writing_does_not_import_pandas(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from faultload.load.columns import Columns
table = Columns(Path(sys.argv[1]), "samples", 0)
table.add(*(0,) * 9)
table.code("")
table.close()
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
