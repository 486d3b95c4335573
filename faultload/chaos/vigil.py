"""Looks again while a fault lasts: one that ended early is recorded with its true end, and undone then."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from faultload.chaos.journal import OpenFault
from faultload.chaos.undo import undo
from faultload.errors import InvalidInput
from faultload.faults.base import PlatformFault, WitnessReport
from faultload.record.directory import RunDirectory


class Vigil:
    """Looks at one witnessed fault, `look_every_s` apart, until it is undone or its time is over.

    Somebody else may thaw what was frozen, replace it, or end a helper. What is left of the fault then goes at
    once: half a fault is none that was declared.
    """

    def __init__(
        self, run: RunDirectory, fault: OpenFault, handler: PlatformFault, seen_ns: int, due_ns: int
    ) -> None:
        self.ended: str | None = None
        """How the fault ended early, for people; None while it did not."""
        self._run = run
        self._fault = fault
        self._handler = handler
        self._seen_ns = seen_ns
        self._due_ns = due_ns
        # a look that takes long keeps no process from its end: what is still open then is somebody else's to undo
        self._thread = threading.Thread(target=self._watch, name=f"vigil of {fault.label}", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        next_ns = time.monotonic_ns()
        while True:
            next_ns = max(next_ns + int(self._handler.look_every_s * 1e9), time.monotonic_ns())
            if not self._wait_until(next_ns) or not self._look():
                return

    def _wait_until(self, moment_ns: int) -> bool:
        """Wait for the next look; False when there is none any more."""
        time.sleep(max(0.0, (min(moment_ns, self._due_ns) - time.monotonic_ns()) / 1e9))
        return time.monotonic_ns() < self._due_ns

    def _look(self) -> bool:
        """One look; whether there is to be another."""
        began_ns = time.monotonic_ns()
        try:
            sight = self._sight()
            if sight is None:
                return False
            if sight.seen:
                self._seen_ns = began_ns
                return True
            return not self._over()
        except Exception:  # noqa: BLE001 - a look that fails has seen nothing, nor that it is gone: the next one tells
            return True

    def _sight(self) -> WitnessReport | None:
        return self._handler.lasts(self._fault.instances, self._fault.plan)

    def _over(self) -> bool:
        """Whether the fault is over, seen again where nobody can undo it meanwhile; recorded and undone then."""
        with self._fault.locked() as current:
            if current is None or current.state != "ACTIVE":
                return True  # undone meanwhile, or about to be
            sight = self._sight()
            if sight is None or sight.seen:
                return False
            self.ended = f"{current.label} ended early: {sight.what}"
            ended = current.mark_undo("ENDED", "chaos", seen_ns=self._seen_ns, ended=sight.what)
        with suppress(OSError, InvalidInput):
            about = {"fault": ended.entry["fault"], "k": ended.entry["k"]}
            self._run.event("note", what="ended_early", text=self.ended, **about)
        undo(ended, "chaos")
        return True
