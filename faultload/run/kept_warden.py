"""The warden of a run: gets a heartbeat once a second, and is replaced if it ends."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from faultload.chaos.warden import start_warden
from faultload.host.processes import Spawn, identify
from faultload.record.directory import RunDirectory

_BEAT_S = 1.0


class KeptWarden:
    """A warden from the first line of a run to its last."""

    def __init__(self, run: RunDirectory, spawn: Spawn) -> None:
        self._run = run
        self._spawn = spawn
        self._start()
        self._last_beat = 0.0

    def _start(self) -> None:
        self._warden = start_warden(self._run, spawn=self._spawn)
        process = identify(self._warden.process.pid)
        if process is not None:
            pid, started = process.pid, process.started
            self._run.event("process", process="warden", state="started", pid=pid, started=started)

    @property
    def alive(self) -> bool:
        return self._warden.alive

    @property
    def pid(self) -> int:
        return self._warden.process.pid

    def beat(self) -> None:
        """Say that the conductor lives, if that was not said in the last second."""
        now = time.monotonic()
        if now - self._last_beat < _BEAT_S:
            return
        self._last_beat = now
        if not self._warden.alive:
            self._run.event("note", what="warden_lost", text="the warden ended: a new one was started")
            with suppress(OSError):
                os.close(self._warden.life_fd)
            self._start()
        with suppress(BrokenPipeError, BlockingIOError):
            self._warden.beat()

    def dismiss(self) -> None:
        """Say that all is in order: it ends without touching anything."""
        self._warden.dismiss()

    def kill(self) -> None:
        """End it without asking."""
        self._warden.process.kill()
