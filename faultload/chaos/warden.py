"""The warden: undoes a run's open faults and ends its processes if the conductor dies or hangs.

`python -m faultload.chaos.warden RUN_DIR LIFE_FD [--standalone]`: LIFE_FD is the reading end of a pipe whose
other end only the conductor has. It writes a byte a second and `q` at an orderly end; end of file means dead.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from faultload.chaos.journal import OpenFault, still_open
from faultload.chaos.undo import end_late_helpers, undo, undo_all
from faultload.errors import InvalidInput, in_words
from faultload.host.processes import Process, ProcessId, Spawn, end, myself
from faultload.host.state import write_json
from faultload.record.directory import RunDirectory
from faultload.record.events import ProcessEvent
from faultload.record.lines import numbered_lines
from faultload.record.logs import spawn

T = TypeVar("T")
BEAT = b"."
GOODBYE = b"q"
HUNG_AFTER_S = 15.0
OVERDUE_S = {"ACTIVE": 5.0, "ENDED": 5.0, "INJECTING": 20.0}
"""How long past its maximum duration a fault is left to its own rollback: a helper may take long to start."""
KEEP_TRYING_S = 3600.0
"""So long after its run a warden goes on undoing what could not be undone, at most."""
_LOOKS = 10
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
"""Between two tries to undo a fault; each wait is twice as long as the one before."""


@dataclass(frozen=True, slots=True)
class WardenProcess:
    """A started warden, with the writing end of its pipe."""

    process: Process
    life_fd: int

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def beat(self) -> None:
        """Say that the conductor lives."""
        os.write(self.life_fd, BEAT)

    def unread(self) -> int:
        """How many beats the warden has not read yet. Raises OSError."""
        waiting = fcntl.ioctl(self.life_fd, termios.FIONREAD, b"\0" * 4)
        return int.from_bytes(waiting, sys.byteorder)

    def dismiss(self) -> None:
        """Say that all is in order: the warden ends without touching anything."""
        try:
            os.write(self.life_fd, GOODBYE)
        except (BrokenPipeError, BlockingIOError):
            pass
        finally:
            os.close(self.life_fd)


def start_warden(run: RunDirectory, *, standalone: bool = False, spawn: Spawn = spawn) -> WardenProcess:
    """Start a warden for a run; the writing end of its pipe stays with the caller and is not inherited."""
    reading, writing = os.pipe()
    argv = [sys.executable, "-m", "faultload.chaos.warden", str(run.path), str(reading)]
    if standalone:
        argv.append("--standalone")
    try:
        process = spawn(argv, log=run.log("warden"), pass_fds=[reading])
    finally:
        os.close(reading)
    os.set_blocking(writing, False)
    return WardenProcess(process, writing)


class Warden:
    """Watches one run."""

    def __init__(self, run: RunDirectory, life_fd: int, *, standalone: bool) -> None:
        self.run = run
        self.life_fd = life_fd
        self.standalone = standalone
        self._hung = False
        self._last_beat = time.monotonic()
        self._tried: dict[str, tuple[float, float]] = {}
        """By fault: when it may be tried again, and how long the wait after that is."""
        self._gone: set[str] = set()

    def watch(self) -> None:
        """Until the pipe says goodbye or ends, and nothing is open any more.

        Whatever the conductor left is undone, in any state: an undo of its own that took too long ended with it.
        The fault's lock keeps this undo and a last one of the conductor apart.
        """
        self._watch_conductor()
        until = time.monotonic() + KEEP_TRYING_S
        while (left := self._left()) != [] and time.monotonic() < until:
            for fault in left or ():
                self._try_again(fault)
            time.sleep(0.5)

    def _watch_conductor(self) -> None:
        while True:
            readable, _, _ = select.select([self.life_fd], [], [], 0.5)
            if readable:
                data = os.read(self.life_fd, 4096)
                if not data:
                    self.conductor_died()
                    return
                if GOODBYE in data:
                    return
                self._last_beat = time.monotonic()
                self._hung = False
            self._look()

    def _look(self) -> None:
        """Undo what is overdue, and everything when the conductor hangs."""
        still_there = self._open()
        if still_there is None:
            return
        silent_s = time.monotonic() - self._last_beat
        if not self.standalone and silent_s > HUNG_AFTER_S and not self._hung:
            self._hung = True
            text = f"no heartbeat from the conductor for {silent_s:.0f} s: undoing every open fault"
            self._note("conductor_hung", text)
            undo_all(still_there, "warden")
            still_there = self._open() or []
        for fault in still_there:
            if fault.state == "UNDO_FAILED":
                self._try_again(fault)
            elif fault.overdue_s > OVERDUE_S.get(fault.state, math.inf):
                self._undo(fault, "overdue", f"{fault.label} is past its maximum duration")
            elif _abandoned(fault):
                text = f"the process that injected {fault.label} died: undoing the fault now"
                self._undo(fault, "injector_died", text)

    def _try_again(self, fault: OpenFault) -> None:
        self._undo(fault, "undo_again", f"{fault.label} could not be undone: the warden tries again")

    def _undo(self, fault: OpenFault, what: str, text: str) -> None:
        """Undo a fault, and say why the first time; later ones wait longer and longer."""
        next_s, wait_s = self._tried.get(fault.fault_id, (0.0, _FIRST_WAIT_S))
        if time.monotonic() < next_s:
            return
        if fault.fault_id not in self._tried:
            self._note(what, text)
        if self._step(lambda: undo(fault, "warden")):
            self._gone.add(fault.fault_id)
            self._step(lambda: end_late_helpers([fault]))
        self._tried[fault.fault_id] = (time.monotonic() + wait_s, min(2 * wait_s, _LONGEST_WAIT_S))

    def _left(self) -> list[OpenFault] | None:
        """What is still open, but for faults seen to be gone: on a read-only disk their entries stay."""
        still_there = self._open()
        return still_there and [fault for fault in still_there if fault.fault_id not in self._gone]

    def _open(self) -> list[OpenFault] | None:
        """The run's open faults; an entry that cannot be read keeps none of the others open.

        None where this process cannot look, for want of a descriptor or with a disk that fails: it looks again.
        """
        with suppress(OSError):
            return still_open(self.run)
        return None

    def _undo_all(self) -> str:
        """Undo everything that is open, after some more looks where the first fails; what came of it, in words."""
        for _ in range(_LOOKS):
            still_there = self._open()
            if still_there is not None:
                left = undo_all(still_there, "warden")
                return f"could not undo {', '.join(fault.label for fault in left)}" if left else "all is undone"
            time.sleep(_FIRST_WAIT_S)
        return "could not look what is open: the warden goes on trying"

    def conductor_died(self) -> None:
        """Undo at once, then end what is left of the run, and the target if this run started it.

        No step needs another one to succeed.
        """
        if not self.standalone:
            self._note("conductor_died", "the conductor died: the warden undoes its faults and ends the run")
            self._step(lambda: stop_injecting(self.run))
        injected = self._open() or []
        result = self._step(self._undo_all)
        if not self.standalone:
            self._step(lambda: end_processes(self.run))
        self._step(lambda: end_late_helpers(injected))
        self._step(lambda: stop_own_target(self.run))
        self._note("warden_ended", result or "not everything could be undone")

    @staticmethod
    def _step(step: Callable[[], T]) -> T | None:
        """Do one thing, or say why it failed: everything else is undone and ended all the same."""
        try:
            return step()
        except Exception as error:  # noqa: BLE001 - it is said
            with suppress(OSError):  # the log's disk is full, or nobody reads the log any more
                print(in_words(error), file=sys.stderr, flush=True)
            return None

    def _note(self, what: str, text: str) -> None:
        """Note something in the record; a full disk or a damaged record keeps no fault in place."""
        with suppress(OSError, InvalidInput):
            self.run.event("note", what=what, text=text)


def _abandoned(fault: OpenFault) -> bool:
    """Whether nobody is left who would undo a fault in its time.

    A one-shot fault keeps the time that it has to come back by itself: waiting for it here would keep the
    warden from seeing the conductor die.
    """
    if fault.injector is None or fault.injector.alive() or fault.state == "UNDO_FAILED":
        return False
    return not fault.one_shot or fault.overdue_s > 0


def processes_of(run: RunDirectory) -> dict[str, ProcessId]:
    """The processes that a run started, by name, from its record; a damaged line hides no other."""
    found = {}
    for _, value in numbered_lines(run.events_path):
        if ProcessEvent.is_kind_of(value):
            with suppress(InvalidInput):
                event = ProcessEvent.from_json(value)
                if event.state == "started" and event.pid is not None and event.started is not None:
                    found[event.process] = ProcessId(event.pid, event.started)
    return found


def conductor_lives(run: RunDirectory) -> bool:
    """Whether a run is still being conducted, by another process than this one."""
    conductor = processes_of(run).get("conductor")
    return conductor is not None and conductor != myself() and conductor.alive()


def stop_injecting(run: RunDirectory) -> None:
    """End the run's chaos processes at once, so that nothing is injected while everything is undone."""
    for name, process in processes_of(run).items():
        if name.startswith("chaos-"):
            process.signal(signal.SIGKILL)


def end_processes(run: RunDirectory) -> list[ProcessId]:
    """End what a dead run left, but for the caller and a conductor; returns what would not go."""
    me = myself()
    found = processes_of(run).items()
    return end([process for name, process in found if process != me and name != "conductor"])


def started_target(run: RunDirectory) -> str | None:
    """The id of the reference system that a run started for itself; None also where run.json is damaged."""
    with suppress(InvalidInput):
        return run.info().started_target
    return None


def stop_own_target(run: RunDirectory) -> None:
    """Stop the reference system that a run started for itself."""
    started = started_target(run)
    if started:
        from faultload import reference

        known = reference.of_id(started)
        if known is not None:
            reference.stop(*known)


def main() -> None:
    """Entry of the warden process."""
    run = RunDirectory(Path(sys.argv[1]))
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    if "--standalone" not in sys.argv:
        with suppress(OSError):  # without it nothing is injected; what is open is undone all the same
            write_json(run.path / "warden.json", myself().to_json())
    Warden(run, int(sys.argv[2]), standalone="--standalone" in sys.argv).watch()


if __name__ == "__main__":
    main()
