"""Keeps a flood of identical log lines from costing more than the requests they are about."""

from __future__ import annotations

import logging
import time

_NOISY = ("locust.user.task", "locust.user.users", "root")
_A_SECOND = 5


class _Limit(logging.Filter):
    """Lets a few records through each second."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count <= _A_SECOND


def quiet_logs() -> None:
    """Let Locust report a journey's exceptions a few times a second only; every one is in the record."""
    for name in _NOISY:
        logging.getLogger(None if name == "root" else name).addFilter(_Limit())
