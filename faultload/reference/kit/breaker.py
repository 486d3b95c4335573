"""A circuit breaker: after a few failures in a row it leaves a dependency alone, then probes it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row; after `retry_s` one request may try (half open)."""

    def __init__(
        self, failures: int = 3, retry_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._retry_s = retry_s
        self._clock = clock
        self._failed = 0
        self._try_at = 0.0

    def allow(self) -> bool:
        """Whether this request may go; a True while open makes it the one that tries."""
        if not self.open:
            return True
        now = self._clock()
        if now < self._try_at:
            return False
        self._try_at = now + self._retry_s
        return True

    @property
    def open(self) -> bool:
        """Whether the dependency is being left alone."""
        return self._failed >= self._limit

    def success(self) -> None:
        self._failed = 0

    def failure(self) -> None:
        self._failed += 1
        if self.open:
            self._try_at = self._clock() + self._retry_s
