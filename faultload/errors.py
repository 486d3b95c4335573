"""Errors users can run into, each with its exit code and no traceback."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of every command; several scenarios give the worst (see `worst`)."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INVALID = 4
    REFUSED = 5
    NOT_UNDONE = 6
    INTERNAL = 70
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a file: what is wrong, where, and what to do about it."""

    message: str
    file: Path | None = None
    line: int | None = None
    key: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        where = "" if self.file is None else str(self.file)
        if self.line is not None:
            where += f":{self.line}"
        text = f"{where}: " if where else ""
        if self.key:
            text += f"{self.key}: "
        text += self.message
        return f"{text} ({self.hint})" if self.hint else text


class FaultloadError(Exception):
    """A condition that ends a command with a message and an exit code of its own."""

    exit_code: ExitCode = ExitCode.INTERNAL


class InvalidInput(FaultloadError):
    """Wrong usage or an invalid file: exit code 2, before anything is started."""

    exit_code = ExitCode.USAGE

    def __init__(self, mistakes: Mistake | str | list[Mistake]) -> None:
        if isinstance(mistakes, str):
            mistakes = Mistake(mistakes)
        self.mistakes = mistakes if isinstance(mistakes, list) else [mistakes]
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class Refused(FaultloadError):
    """A guard, a gate, an abort condition or a person said no: exit code 5."""

    exit_code = ExitCode.REFUSED


class NotUndone(FaultloadError):
    """Something could not be undone: exit code 6."""

    exit_code = ExitCode.NOT_UNDONE


class TargetError(FaultloadError):
    """The target could not be started, reached or read: the run cannot be measured (INVALID)."""

    exit_code = ExitCode.INVALID


class NoVerdict(FaultloadError):
    """A run was made, but its record or verdict could not be written: exit code 70.

    6 where faults of it are still open, which are named, else 130 where a person stopped it.
    """

    def __init__(self, run: Path, why: str, still_open: Sequence[str] = (), *, interrupted: bool = False) -> None:
        text = f"no verdict was written: {why}; `faultload report {run}` judges what was recorded"
        if still_open:
            text += f"; NOT undone: {', '.join(still_open)}: `faultload undo {run}` tries again"
        super().__init__(text)
        if still_open:
            self.exit_code = ExitCode.NOT_UNDONE
        elif interrupted:
            self.exit_code = ExitCode.INTERRUPTED


_OF_THE_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE),  # disks
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),  # descriptors, memory, processes
)
_NO_MORE = ("can't start new thread", "failed to map segment", "Cannot allocate memory")


def of_the_machine(error: BaseException) -> bool:
    """Whether an error says that the machine has no more of something, or lost it: no mistake of anybody's."""
    if isinstance(error, RuntimeError | ImportError):
        return any(words in str(error) for words in _NO_MORE)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OF_THE_MACHINE)


def in_words(error: BaseException) -> str:
    """An error in a line for people."""
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and of_the_machine(error)):
        return "this machine has no memory left for it"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) if isinstance(error, FaultloadError) else f"{type(error).__name__}: {error}"
