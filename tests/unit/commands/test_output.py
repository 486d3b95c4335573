"""Standard streams that end no command: one that must not block is waited for a while, and then done without."""

from __future__ import annotations

import fcntl
import io
import os
import select
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from faultload.commands import output
from faultload.commands.output import _Lenient


@pytest.fixture
def full() -> Iterator[tuple[int, int]]:
    """Both ends of a full pipe whose writing end does not block."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    assert os.write(writing, b"." * 4096) == 4096
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_what_nobody_reads_is_lost_after_a_while_and_never_waited_for_again(
    full: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def wait(reading: object, writing: object, odd: object, seconds: float) -> tuple[list[object], ...]:
        waited.append(seconds)
        return [], [], []

    monkeypatch.setattr(output, "select", SimpleNamespace(select=wait))
    raw = _Lenient(full[1], "wb", closefd=False)
    stream = io.BufferedWriter(raw)
    for _ in range(2):
        stream.write(b"the verdict")
        stream.flush()
    assert waited == [5.0]
    assert raw.lost is not None and raw.lost.strerror == "nobody read it for 5 s"


def test_what_is_read_a_little_later_is_written_whole(
    full: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = full
    got: list[bytes] = []

    def wait(*streams: object) -> tuple[list[object], ...]:
        got.append(os.read(reading, 4096))
        return select.select([], [writing], [], 0)  # type: ignore[return-value]

    monkeypatch.setattr(output, "select", SimpleNamespace(select=wait))
    raw = _Lenient(writing, "wb", closefd=False)
    stream = io.BufferedWriter(raw)
    stream.write(b"x" * 10_000)
    stream.flush()
    got.append(os.read(reading, 4096))
    assert b"".join(got) == b"." * 4096 + b"x" * 10_000
    assert raw.lost is None
