"""Text for any stream: plain columns, colour only on a terminal, no characters its encoding lacks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

from faultload.record.redactor import Redactor
from faultload.record.visible import visible

_SPELLED = str.maketrans({"∞": "inf", "–": "-", "✓": "+", "✗": "x", "µ": "u", "·": "-", "…": "..."})
_COLOURS = {"PASS": "32", "FAIL": "31", "INCONCLUSIVE": "33", "INVALID": "35"}


def printable(text: str, encoding: str | None) -> str:
    """The text without secrets and control characters, in signs that the encoding has; without one any sign."""
    text = visible(Redactor.from_environment().text(text), "").replace(
        "\r", ""
    )  # which would write over what stands there
    spelled = text.translate(_SPELLED)
    for candidate in (text, spelled):
        if _fits(candidate, encoding):
            return candidate
    return spelled.encode("ascii", "replace").decode()


def _fits(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at the stream, on a terminal that can move its cursor."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    except ValueError:
        return False


class Printer:
    """Prints lines to one stream; verdict words are bold and coloured on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = is_terminal(stream) and not os.environ.get("NO_COLOR")

    def line(self, text: str = "", *, verdict: str | None = None) -> None:
        """Print a line, its first verdict word marked."""
        text = printable(text, getattr(self._stream, "encoding", None))
        if self._colour and verdict in _COLOURS:
            text = text.replace(verdict, f"\x1b[1;{_COLOURS[verdict]}m{verdict}\x1b[0m", 1)
        print(text, file=self._stream)

    def flush(self) -> None:
        self._stream.flush()


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Rows as aligned lines, never wrapped; `right` are the columns that are aligned to the right."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
