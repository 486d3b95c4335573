"""Locks on files that nobody waits for in vain: who holds one may be stopped, or hang."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from faultload.host.processes import identify
from faultload.host.trees import stopped

_LOOK_S = 0.005
_ROUND_S = 0.5
STOPPED_S = 5.0
"""So long a stopped process may keep a lock: it may be woken again."""


def lock_soon(descriptor: int, patience_s: float) -> bool:
    """Lock a file; False when another process keeps it for longer than that. Raises OSError."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_S)
        else:
            return True


def lock_from_the_living(descriptor: int, patience_s: float, meanwhile: Callable[[], None] = lambda: None) -> bool:
    """Lock a file; False when a stopped process keeps it for `STOPPED_S`, or any for longer than `patience_s`.

    `meanwhile` is called twice a second; what it raises ends the wait.
    """
    deadline = time.monotonic() + patience_s
    stopped_since = None
    while not lock_soon(descriptor, _ROUND_S):
        meanwhile()
        now = time.monotonic()
        stopped_since = (stopped_since or now) if _holder_is_stopped(descriptor) else None
        if now >= deadline or (stopped_since is not None and now - stopped_since >= STOPPED_S):
            return False
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether a descriptor is of the file that has this path now: who locks another one has locked out nobody."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder_is_stopped(descriptor: int) -> bool:
    """Whether the process that holds a file's lock is stopped, as far as the kernel says who does."""
    found = os.fstat(descriptor)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "FLOCK" in words and place in words:
                holder = identify(int(words[words.index(place) - 1]))
                return holder is not None and stopped(holder)
    return False
