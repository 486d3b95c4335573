"""Makes a child process die with its parent: the kernel kills it (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """SIGKILL for this process as soon as its parent dies; ends it at once when that happens meanwhile.

    The kernel forgets it when credentials change, so call it in the program itself, after any `unshare`.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    if parent == 0:
        return  # a container's first process: its parent is a thread of the engine, which may end at any time
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
