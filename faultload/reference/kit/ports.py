"""Free loopback ports that stay the same when their owner restarts."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faultload.host.private import lock_file

_FROM, _TO = 15000, 32000
"""Below the range from which outgoing connections take theirs."""
_CLAIM_S = 60.0
"""How long a port counts as taken although nobody listens yet: its owner is still starting."""


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, and that no other process of this user was given within the last minute."""
    found: list[int] = []
    with _claims() as claimed:
        for port in random.SystemRandom().sample(range(_FROM, _TO), _TO - _FROM):
            if port not in claimed and _is_free(port):
                claimed[port] = time.time()
                found.append(port)
                if len(found) == count:
                    return found
    raise OSError(f"fewer than {count} free ports between {_FROM} and {_TO}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def _claims() -> Iterator[dict[int, float]]:
    """When ports were claimed by processes of this user, as far as that still counts; changes are kept.

    In one file a user, locked meanwhile, so that two systems that start at once are not given the same port.
    """
    path = Path(tempfile.gettempdir()) / f"faultload-ports-{os.getuid()}"
    with os.fdopen(lock_file(path), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        claimed = _read(file.read())
        try:
            yield claimed
        finally:
            file.seek(0)
            file.truncate()
            file.writelines(f"{port} {since}\n" for port, since in claimed.items())


def _read(text: str) -> dict[int, float]:
    now, claimed = time.time(), {}
    for line in text.splitlines():
        port, _, since = line.partition(" ")
        with suppress(ValueError):  # a line that was cut off claims nothing
            if now - _CLAIM_S < float(since) <= now:
                claimed[int(port)] = float(since)
    return claimed
