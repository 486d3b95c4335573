"""Reads files that others name: regular ones only.

A FIFO would be waited for, a device might do something, and `/dev/fd/3` is a file of whoever opens it.
"""

from __future__ import annotations

import os
import stat
from os import PathLike


def head_of(path: str | PathLike[str], most: int) -> bytes | None:
    """The first bytes of a regular file; None for anything else, and for what this user may not read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):  # a name may be any text
        return None
    try:
        return os.read(descriptor, most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
