"""Splits a slot's wait into the target's part and the generator's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent

WINDOW_NS = 10_000_000
_IDLE_SHARE = 0.05
_HISTORY = 3000


class WaitClock:
    """A clock that runs only while a waiting slot waits for the target.

    All users being busy does not say who is to blame: they may be waiting for the target's answers, or for
    their turn on the generator's one CPU. The event loop knows: when it sleeps with nothing to do, the answers
    are what is missing. So a window of 10 ms or more counts as the target's when the loop slept through at
    least 5 % of it. While a queue that the target caused is being worked off the loop may well be
    busy: such windows count as the target's too, for at most as long as the target held things up before (a
    generator that needs longer to catch up is too small for its load).
    """

    def __init__(self, credit_limit_ns: int, now_ns: Callable[[], int]) -> None:
        self._now = now_ns
        loop = gevent.get_hub().loop
        # after gevent's own callbacks, right before the loop sleeps; and first thing when it wakes
        self._before: Any = loop.prepare(ref=False, priority=loop.MINPRI)
        self._after: Any = loop.check(ref=False, priority=loop.MAXPRI)
        self._slept_at = 0
        self.slept_ns = 0
        self._before.start(self._falls_asleep)
        self._after.start(self._wakes)
        self._ran_ns = 0
        self._runs = True
        self._credit_ns = 0
        self._credit_limit_ns = credit_limit_ns
        self._window_start = now_ns()
        self._window_slept = 0
        self._history: deque[tuple[int, int, bool]] = deque(maxlen=_HISTORY)

    def _falls_asleep(self) -> None:
        self._slept_at = self._now()

    def _wakes(self) -> None:
        if self._slept_at:  # else it began in the middle of a turn
            self.slept_ns += self._now() - self._slept_at

    def read(self, at_ns: int) -> int:
        """Nanoseconds that the clock ran until a moment; a difference is good to about a window."""
        if at_ns >= self._window_start:
            return self._ran_ns + (at_ns - self._window_start if self._runs else 0)
        for start, ran, runs in reversed(self._history):
            if at_ns >= start:
                return ran + (at_ns - start if runs else 0)
        return 0

    def turn(self, queued: bool) -> None:
        """End a window when it is long enough, given whether slots are waiting; called every few ms."""
        now = self._now()
        length = now - self._window_start
        if length < WINDOW_NS:
            return
        slept = self.slept_ns - self._window_slept
        self._runs = slept >= _IDLE_SHARE * length
        if not queued:
            self._credit_ns = 0
        elif self._runs:
            self._credit_ns = min(self._credit_ns + length, self._credit_limit_ns)
        elif self._credit_ns > 0:
            self._credit_ns -= length
            self._runs = True
        self._history.append((self._window_start, self._ran_ns, self._runs))
        if self._runs:
            self._ran_ns += length
        self._window_start = now
        self._window_slept = self.slept_ns

    def stop(self) -> None:
        self._before.stop()
        self._after.stop()
