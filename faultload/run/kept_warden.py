"""The warden of a run: gets a heartbeat once a second, and is replaced if it ends, is stopped or hangs."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from faultload.chaos.warden import WardenProcess, start_warden
from faultload.host.processes import Spawn, identify
from faultload.host.trees import stopped
from faultload.record.directory import RunDirectory
from faultload.run.deadlines import WARDEN_SILENT_S, WARDEN_STOPPED_S

_BEAT_S = 1.0


class KeptWarden:
    """A warden from the first line of a run to its last."""

    def __init__(self, run: RunDirectory, spawn: Spawn) -> None:
        self._run = run
        self._spawn = spawn
        self._warden = self._started()
        self._last_beat = 0.0
        self._dismissed = False

    def _started(self) -> WardenProcess:
        warden = start_warden(self._run, spawn=self._spawn)
        process = identify(warden.process.pid)
        if process is not None:
            pid, started = process.pid, process.started
            with suppress(OSError):  # a record that takes no more must not keep it from its work
                self._run.event("process", process="warden", state="started", pid=pid, started=started)
        return warden

    @property
    def alive(self) -> bool:
        return self._warden.alive

    @property
    def pid(self) -> int:
        return self._warden.process.pid

    def beat(self) -> None:
        """Say that the conductor lives, if that was not said in the last second. Never raises.

        One that cannot be replaced, for want of processes or descriptors, is tried to be replaced every second.
        """
        now = time.monotonic()
        if self._dismissed or now - self._last_beat < _BEAT_S:
            return
        self._last_beat = now
        why = "ended" if not self._warden.alive else self._hangs()
        if why is not None:
            with suppress(OSError):
                self._replace(why)
        with suppress(OSError):
            self._warden.beat()

    def _hangs(self) -> str | None:
        """What keeps the warden from reading its beats, or None; one of them is a second."""
        with suppress(OSError):
            silent_s = self._warden.unread() * _BEAT_S
            process = identify(self._warden.process.pid)
            if silent_s > WARDEN_STOPPED_S and process is not None and stopped(process):
                return f"was stopped for {WARDEN_STOPPED_S:g} s"
            if silent_s > WARDEN_SILENT_S:
                return f"read no beat for {WARDEN_SILENT_S:g} s"
        return None

    def _replace(self, why: str) -> None:
        lost = self._warden
        if lost.alive:
            lost.process.kill()
        self._warden = self._started()
        with suppress(OSError):
            os.close(lost.life_fd)
        with suppress(OSError):
            self._run.event("note", what="warden_lost", text=f"the warden {why}: a new one was started")

    def dismiss(self) -> None:
        """Say that all is in order: it ends without touching anything."""
        self._dismissed = True
        self._warden.dismiss()

    def kill(self) -> None:
        """End it without asking."""
        self._warden.process.kill()
