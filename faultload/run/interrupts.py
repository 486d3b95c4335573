"""Counts Ctrl-C and SIGTERM during runs instead of raising."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interrupts:
    """How often a person asked to stop: once ends the run in order, twice undoes at once."""

    count: int = 0
    why: str = ""

    def handle(self, signum: int, frame: object) -> None:
        self.count += 1
        self.why = "Ctrl-C" if signum == signal.SIGINT else f"signal {signum}"


@contextmanager
def counted_interrupts() -> Iterator[Interrupts]:
    """Meanwhile both signals are counted; afterwards they do what they did before."""
    interrupts = Interrupts()
    before = {signum: signal.signal(signum, interrupts.handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
