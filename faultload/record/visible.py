"""Takes away what a text could do to a screen, a page or a parser that shows it."""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 and C1: NUL, ESC, CSI, DEL; not tab, line feed, carriage return
    "\u202a-\u202e\u2066-\u2069"  # what turns the direction of text around
    "\ud800-\udfff\ufffe\uffff]"  # half characters, of names that are no UTF-8, and those that are none
)


def visible(text: str, mark: str = "\ufffd") -> str:
    """The text with a mark for each character that commands instead of being seen. Line ends and tabs stay."""
    return _HIDDEN.sub(mark, text)
