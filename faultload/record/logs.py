"""Logs of a run's processes, without secrets from the first line on.

A run that has secrets does not let its processes write to their logs: they write into a pipe, and
`python -m faultload.record.logs LOG` replaces secrets and appends to its standard output, which is the log; LOG
says whose process it is. It reads until nobody is left to write, whoever else dies, so what a killed process said
last is kept. It never lets a writer wait for long: what comes faster than it can be looked through is left out, and
the log says so.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from faultload.host import processes
from faultload.host.processes import log_file
from faultload.record.redactor import Redactor

_LONGEST_LINE = 1 << 16
"""Bytes: a longer line is written before its end is there."""
_PIECE = 1 << 15
"""Bytes that are looked through at a time; meanwhile nothing is read."""
_MOST_WAITING = 1 << 23
"""Bytes that wait to be looked through, at most."""
_PIPE = 1 << 20
"""Bytes that a writer may be ahead; an ordinary user gets no larger pipe."""
_started: list[subprocess.Popen[bytes]] = []


def open_log(log: Path | None) -> int:
    """A descriptor for a process to write its log to (or throw it away), to be closed by the caller."""
    if log is None or not Redactor.from_environment().knows_secrets:
        return log_file(log)
    reading, writing = os.pipe()
    with suppress(OSError, AttributeError):  # it is Linux's
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE)
    try:
        argv = [sys.executable, "-m", "faultload.record.logs", str(log.absolute())]
        _started.append(processes.spawn(argv, log=log, cwd=Path("/"), stdin=reading))
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return writing


def spawn(argv: Sequence[str], *, log: Path | None = None, **options: Any) -> subprocess.Popen[bytes]:
    """`host.processes.spawn`, with a log that holds no secret at any time."""
    output = open_log(log)
    try:
        return processes.spawn(argv, log=output, **options)
    finally:
        os.close(output)


def wait_until_written(timeout_s: float) -> None:
    """Wait until all that ended processes said is in their logs; those that live on are waited for in vain."""
    deadline = time.monotonic() + timeout_s
    for process in _started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    _started[:] = [process for process in _started if process.poll() is None]


class CleanLines:
    """Takes a log in pieces of any size and gives it back without secrets, also those on the border of two."""

    def __init__(self, redactor: Redactor) -> None:
        self.reach = redactor.reach
        """Characters that a secret takes in its longest form, with what is taken away around it."""
        self._redactor = redactor
        self._by_line = not redactor.spans_lines
        self._most = max(_LONGEST_LINE, 2 * self.reach) if self._by_line else 2 * self.reach
        self._waiting = b""

    def feed(self, data: bytes) -> bytes:
        """What can be written by now: whole lines, or all but the end of what is too long to wait for."""
        self._waiting += data
        end = self._waiting.rfind(b"\n") + 1 if self._by_line else 0
        if not end and len(self._waiting) > self._most:
            text = self._waiting.decode(errors="surrogateescape")
            end = len(text[: self._border(text)].encode(errors="surrogateescape"))
        return self._clean(end)

    def rest(self) -> bytes:
        """What still waits: nothing comes after it."""
        return self._clean(len(self._waiting))

    def drop(self) -> int:
        """Forget what still waits, for what comes next does not follow it; returns how many bytes that were."""
        dropped, self._waiting = len(self._waiting), b""
        return dropped

    def _clean(self, end: int) -> bytes:
        ready, self._waiting = self._waiting[:end], self._waiting[end:]
        return self._redactor.data(ready)

    def _border(self, text: str) -> int:
        """Where a text can be cut: no secret lies across, and one that is not whole yet lies behind."""
        border = most = max(0, len(text) - self.reach)
        spans = list(self._redactor.spans(text))
        while (across := [start for start, end in spans if start < border < end]) and border:
            border = min(across)
        return border or most


class Pump:
    """Reads what a process says, and writes it to its log."""

    def __init__(self, source: int, log: int, redactor: Redactor) -> None:
        self._source = source
        self._log = log
        self._lines = CleanLines(redactor)
        self._waiting = bytearray()
        self._ended = False
        self._full = False
        """More came than may wait: nothing is kept until all that waits is written."""
        self._skip: int | None = None
        """After a gap: so many bytes, and what is left of the line then, may be the end of something in it."""
        self._left_out = 0

    def run(self) -> None:
        """Until nobody is left who could write."""
        os.set_blocking(self._source, False)
        while not self._ended or self._waiting:
            if not self._waiting:
                select.select([self._source], [], [])
            self._read()
            self.pass_on()
        self.finish()

    def _read(self) -> None:
        """All that is there now, for whoever writes must not wait; but not for ever."""
        with suppress(BlockingIOError):
            for _ in range(4):
                data = os.read(self._source, _PIPE)
                self._ended = not data
                self.take(data)

    def pass_on(self) -> None:
        """A piece of what waits, so that the next look at the pipe comes soon."""
        piece = bytes(self._waiting[:_PIECE])
        del self._waiting[:_PIECE]
        self._write(self._lines.feed(piece))
        if self._full and not self._waiting:
            self._full, self._skip = False, self._lines.reach
            self._left_out += self._lines.drop()

    def take(self, data: bytes) -> None:
        """What came, as far as it may wait."""
        if self._full:
            self._left_out += len(data)
            return
        if self._skip is not None:
            end = data.find(b"\n", self._skip) + 1
            skipped = end or len(data)
            self._left_out += skipped
            self._skip = None if end else max(0, self._skip - skipped)
            data = data[skipped:]
            if end:
                self._say_left_out()
        self._waiting += data
        self._full = len(self._waiting) > _MOST_WAITING

    def finish(self) -> None:
        """The end of the log: nothing more comes."""
        self._write(self._lines.rest())
        self._say_left_out()

    def _say_left_out(self) -> None:
        if self._left_out:
            why = "they came faster than secrets could be looked for"
            self._write(f"[faultload: {self._left_out} bytes of this log were left out: {why}]\n".encode())
            self._left_out = 0

    def _write(self, data: bytes) -> None:
        """A log on a full disk has a gap, and its process goes on."""
        view = memoryview(data)
        with suppress(OSError):
            while view:
                view = view[os.write(self._log, view) :]


def main() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # it ends when the last writer does
    Pump(0, 1, Redactor.from_environment()).run()


if __name__ == "__main__":
    main()
