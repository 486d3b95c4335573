"""Undo: declarative, idempotent, under the fault's own lock, witnessed, and the same whoever calls it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from faultload.chaos.journal import OpenFault
from faultload.errors import FaultloadError, InvalidInput, in_words
from faultload.faults.base import PlatformFault, WitnessReport
from faultload.record.directory import RunDirectory

PERSON = "undo"
"""Who calls undo, when it is a person by `faultload undo`."""
_LOOK_EVERY_S = 0.2
_LATE_S = (0.5, 1.0, 2.5)
"""Waits between looks for helpers that an engine makes for a process that was killed just after asking for one."""


def undo(fault: OpenFault, by: str) -> bool:
    """Undo one fault and see that it is gone. True when it is gone, also when another process undid it.

    A one-shot fault is given until its maximum duration to come back by itself; what then is not back is
    restored.
    """
    if fault.one_shot and fault.state in ("INJECTING", "ACTIVE"):
        _wait_until_back(fault)
    with fault.locked() as current:
        if current is None:
            return True
        run = RunDirectory(Path(current.entry["run"]))
        if by == PERSON and _lasts(current):
            current = current.mark_undo("ENDED", by, seen_ns=time.monotonic_ns(), ended="`faultload undo` ended it")
        current = current.mark_undo("UNDOING", by)
        problem = ""
        try:
            handler = current.handler()
            if not (current.one_shot and handler.gone(current.instances, current.plan).seen):
                handler.undo(current.instances, current.plan)
            sight = _look_until_gone(handler, current)
            gone, what = sight.seen, sight.what
        except Exception as error:  # noqa: BLE001 - one fault's trouble must not keep the others from being undone
            problem = type(error).__name__
            gone, what = False, str(error) if isinstance(error, FaultloadError | OSError) else f"{problem}: {error}"
        # a full disk, a damaged run.json: the fault matters more than its record
        with suppress(OSError, InvalidInput):
            if run.info_path.exists():
                run.event(
                    "witness",
                    fault=current.entry["fault"],
                    k=current.entry["k"],
                    of="gone",
                    seen=gone,
                    what=what,
                    by=by,
                )
        current.mark_undo("UNDONE" if gone else "UNDO_FAILED", by, problem=what if not gone else None)
        return gone


def _lasts(fault: OpenFault) -> bool:
    """Whether a fault is active, has time left, and belongs to somebody who counts on it."""
    injector = fault.injector
    within = fault.state == "ACTIVE" and not fault.one_shot and fault.overdue_s < 0
    return within and injector is not None and injector.alive()


def _wait_until_back(fault: OpenFault) -> None:
    while fault.overdue_s < 0:
        with suppress(Exception):  # undo itself says what is wrong
            if fault.handler().gone(fault.instances, fault.plan).seen:
                return
        time.sleep(_LOOK_EVERY_S)


def _look_until_gone(handler: PlatformFault, fault: OpenFault) -> WitnessReport:
    deadline = time.monotonic() + handler.gone_within_s
    while not (sight := handler.gone(fault.instances, fault.plan)).seen and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    return sight


def undo_all(faults: Sequence[OpenFault], by: str) -> list[OpenFault]:
    """Undo faults, last in first; one-shot ones after those that hold. Returns those that are still there."""
    held_first = sorted(faults, key=lambda fault: fault.one_shot)
    return [fault for fault in held_first if not _undone(fault, by)]


def end_late_helpers(faults: Sequence[OpenFault]) -> None:
    """End the helpers that come after undo: those of faults whose process was killed, on an engine or a cluster.

    An engine goes on making a container for a client that died, and nobody starts it or knows of it.
    """
    orphaned = [one for one in faults if one.on_engine and one.injector is not None and not one.injector.alive()]
    for wait_s in _LATE_S if orphaned else ():
        time.sleep(wait_s)
        for fault in orphaned:
            with suppress(Exception):  # undo itself says what is wrong with an engine
                fault.handler().end_helpers(fault.plan)


def _undone(fault: OpenFault, by: str) -> bool:
    """`undo`; an entry that cannot be read just now, or a lock that fails, keeps no other fault in place."""
    try:
        return undo(fault, by)
    except Exception as error:  # noqa: BLE001 - it is said
        with suppress(OSError):
            print(f"{fault.label} could not be undone: {in_words(error)}", file=sys.stderr, flush=True)
        return False
