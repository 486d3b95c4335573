"""Ends a fault when its time is over, whatever its experiment does meanwhile: a probe, a pause, a second look."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from faultload.chaos.journal import OpenFault
from faultload.chaos.undo import undo

_LOOK_EVERY_S = 0.1


class Expiry:
    """Undoes one fault at a moment of the monotonic clock, unless it was undone before.

    Chaos Toolkit plays the rollbacks only after everything else, its second look at the hypothesis among them.
    Where this process ends before the moment, the fault is the warden's.
    """

    def __init__(self, fault: OpenFault, due_ns: int) -> None:
        self._fault = fault
        self._due_ns = due_ns
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"expiry of {fault.label}")
        self._thread.start()

    @property
    def undoing(self) -> bool:
        """Whether the fault's time is over and its undo still goes on."""
        return time.monotonic_ns() >= self._due_ns and self._thread.is_alive()

    def cancel(self) -> None:
        """The fault is gone: there is nothing left to undo."""
        self._cancelled.set()

    def _watch(self) -> None:
        process = threading.main_thread()
        while (left_ns := self._due_ns - time.monotonic_ns()) > 0:
            if self._cancelled.wait(min(left_ns / 1e9, _LOOK_EVERY_S)) or not process.is_alive():
                return
        with suppress(Exception):  # the rollback tries again, and says what is wrong
            undo(self._fault, "chaos")
