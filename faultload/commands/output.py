"""Standard streams that end no command: closed ones, full disks, readers that went away, names of any bytes."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TextIO

from faultload.errors import in_words

PATIENCE_S = 5.0
"""So long a stream that must not block may take nothing; a conductor that waits for longer would count as hung."""


class _Lenient(io.FileIO):
    """A stream that throws away what cannot be written, from the first time on, and knows why."""

    lost: OSError | None = None

    def write(self, data: object) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        if self.lost is None:
            try:
                while (written := super().write(data)) is None:  # type: ignore[arg-type]
                    if not select.select([], [self], [], PATIENCE_S)[1]:
                        raise BlockingIOError(errno.EAGAIN, f"nobody read it for {PATIENCE_S:g} s")
                return written
            except OSError as error:
                self.lost = error
        return size


class Output:
    """Standard output and error of a command."""

    def __init__(self) -> None:
        _open_closed_ones()
        self._out = _Lenient(1, "wb", closefd=False)
        self._error = _Lenient(2, "wb", closefd=False)

    def use(self) -> None:
        """Put them in the place of Python's own; what somebody else put there stays."""
        if sys.stdout is sys.__stdout__:
            sys.stdout = _text(self._out, sys.stdout)
        if sys.stderr is sys.__stderr__:
            sys.stderr = _text(self._error, sys.stderr)

    def lost(self) -> str | None:
        """Why standard output did not get everything; None where it did, or where its reader wanted no more."""
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        error = self._out.lost
        if error is None or error.errno == errno.EPIPE:
            return None
        return f"standard output could not be written: {in_words(error)}"


def _open_closed_ones() -> None:
    """Where a standard descriptor is closed, the next file would get its number, and what is printed with it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest that is free


def _text(raw: _Lenient, before: TextIO | None) -> TextIO:
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True
    )
