"""Lets a helper that has started wait for SIGUSR1: what it then does begins at once, whatever its start took."""

from __future__ import annotations

import signal
import sys
import time

PREPARED = "prepared"
"""What a helper prints when it waits."""
IDLE_S = 120.0
"""How long it waits."""
_LOOK_EVERY_S = 0.01


def wait_until_told(idle_s: float = IDLE_S) -> bool:
    """Print that this process is prepared, and wait; False when nobody said a word within `idle_s`."""
    told: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: told.append(number))
    sys.stdout.write(f"{PREPARED}\n")
    sys.stdout.flush()
    deadline = time.monotonic() + idle_s
    while not told:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True
