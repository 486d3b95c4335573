"""JSON lines that survive a crash, and that several processes can append to."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faultload.host.locks import lock_soon
from faultload.host.private import opener
from faultload.record.redactor import plain

_LOCK_S = 5.0


def append_line(path: Path, value: Mapping[str, Any], *, sync: bool = False) -> None:
    """Append one JSON line with one write under a lock; with `sync` it is on disk at return. Raises OSError.

    The lock is an aid: a process that was stopped with it keeps nobody waiting for long.
    """
    line = json.dumps(plain(value), separators=(",", ":")) + "\n"
    descriptor = opener(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        lock_soon(descriptor, _LOCK_S)
        torn = b"\n" if _ends_torn(path) else b""
        data = torn + line.encode()
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if sync:
            os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)


def _ends_torn(path: Path) -> bool:
    """Whether the file's last line was cut off by a crash."""
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def numbered_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON lines of a file with their numbers, from 1 on; a torn line is left out."""
    try:
        with open(path, "rb") as file:
            yield from _objects(file)
    except FileNotFoundError:
        return


def _objects(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        value = object_in(line)
        if value is not None:
            yield number, value


def object_in(line: bytes) -> dict[str, Any] | None:
    """The JSON object that a line holds; None where it holds none."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def damaged_lines(path: Path, read: int | None = None) -> list[int]:
    """The numbers of the lines that hold no JSON object, from 1 on; not of a last one that a crash tore.

    `read`: how many lines are known to hold one; where these are all, nothing needs to be looked at again.
    """
    try:
        with open(path, "rb") as file:
            if read is not None and sum(line.endswith(b"\n") for line in file) == read:
                return []
            file.seek(0)
            lines = enumerate(file, start=1)
            return [number for number, line in lines if line.endswith(b"\n") and not any(_objects([line]))]
    except FileNotFoundError:
        return []


class LineTail:
    """Reads the JSON lines that were appended since the last look; a line under way waits for the next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """New whole lines since the last call."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [value for _, value in _objects(whole.splitlines())]
