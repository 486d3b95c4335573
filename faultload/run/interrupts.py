"""Counts Ctrl-C, SIGTERM and a closed terminal during runs instead of raising."""

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
    hung_up: bool = False

    def handle(self, signum: int, frame: object) -> None:
        if signum == signal.SIGHUP and self.hung_up:
            return  # kernel and shell both say so, and nobody is in a hurry
        self.hung_up |= signum == signal.SIGHUP
        self.count += 1
        known = {signal.SIGINT: "Ctrl-C", signal.SIGHUP: "the terminal was closed (SIGHUP)"}
        self.why = known.get(signal.Signals(signum), f"signal {signum}")


@contextmanager
def counted_interrupts() -> Iterator[Interrupts]:
    """Meanwhile these signals are counted; afterwards they do what they did before. `nohup` is respected."""
    interrupts = Interrupts()
    counted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        counted.append(signal.SIGHUP)
    before = {signum: signal.signal(signum, interrupts.handle) for signum in counted}
    try:
        yield interrupts
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
