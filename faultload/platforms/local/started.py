"""What undo itself started again, kept for the next undo, in another process: it starts no second one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from faultload.errors import Refused
from faultload.host.locks import lock_from_the_living
from faultload.host.private import lock_file, make_folder
from faultload.host.processes import ProcessId, identify
from faultload.host.state import started_file
from faultload.host.trees import tree

GRACE_S = 60.0
"""So long may a server take to appear whose starter was last seen at work, or ended with 0."""
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Start:
    """One start: what runs of it, and when that was last seen, on the clock since boot."""

    seen_s: float
    members: tuple[ProcessId, ...] = ()
    session: int | None = None
    """The session that the first process leads: whoever it leaves behind is still in it."""
    grace: bool = True
    """Whether it may have ended and left a server that nothing here shows yet."""

    def running(self) -> list[ProcessId]:
        """What still runs of it: its processes, their descendants and its session."""
        if self.session is None or identify(self.session) not in (None, *self.members):
            return tree(self.members)  # or its number is another process's by now
        return tree([*self.members, *_of_session(self.session)])

    def to_json(self) -> dict[str, Any]:
        members = [one.to_json() for one in self.members]
        return {"seen_s": self.seen_s, "members": members, "session": self.session, "grace": self.grace}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Start:
        members = tuple(ProcessId.from_json(one) for one in value["members"])
        return cls(float(value["seen_s"]), members, value["session"], bool(value["grace"]))


def now_s() -> float:
    """The clock that processes' start times are on: seconds since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _of_session(session: int) -> Iterator[ProcessId]:
    for pid in psutil.pids():
        with suppress(OSError):
            if os.getsid(pid) == session and (found := identify(pid)) is not None:
                yield found


@dataclass(slots=True)
class Starts:
    """The starts of one fault's undo, by what each was to replace."""

    descriptor: int | None
    starts: dict[str, Start] = field(default_factory=dict)
    _size: int = 0

    def running(self, name: str) -> list[ProcessId]:
        """What runs by now of a start, which is remembered; nothing where there was none."""
        start = self.starts.get(name)
        running = [] if start is None else start.running()
        if start is not None and running:
            self.keep(name, Start(now_s(), tuple(running), start.session, start.grace))
        return running

    def may_appear(self, name: str) -> bool:
        """Whether the grace time of a start runs."""
        start = self.starts.get(name)
        return start is not None and start.grace and now_s() - start.seen_s < GRACE_S

    def pids(self) -> set[int]:
        """All that runs of what was started for this fault."""
        return {process.pid for start in self.starts.values() for process in start.running()}

    def keep(self, name: str, start: Start | None) -> None:
        """Note a start, or with None that there was none after all.

        Survives its writer, not the machine. It is an aid: a full disk keeps nothing from being started again.
        """
        self.starts.pop(name, None)
        if start is not None:
            self.starts[name] = start
        if self.descriptor is not None:
            text = json.dumps({key: one.to_json() for key, one in self.starts.items()}).encode()
            with suppress(OSError):  # blanks in place of what was longer: one call writes it whole
                os.pwrite(self.descriptor, text.ljust(self._size), 0)
                self._size = max(self._size, len(text))


@contextmanager
def starts_of(fault_id: str) -> Iterator[Starts]:
    """What was started again for a fault; nobody else starts anything for it meanwhile."""
    descriptor = _opened(fault_id)
    try:
        if descriptor is None:
            yield Starts(None)
            return
        lock_from_the_living(descriptor, _PATIENCE_S)
        size = os.fstat(descriptor).st_size
        raw = os.pread(descriptor, size, 0)
        yield Starts(descriptor, _read(raw), size)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _opened(fault_id: str) -> int | None:
    path = started_file(fault_id)
    with suppress(OSError, Refused):
        make_folder(path.parent)
        return lock_file(path)
    return None


def _read(raw: bytes) -> dict[str, Start]:
    """The starts of a note, without those from before a reboot; none of a damaged one."""
    try:
        noted = {name: Start.from_json(value) for name, value in json.loads(raw or b"{}").items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: start for name, start in noted.items() if start.seen_s <= now_s()}


def members_from(pids: Sequence[int]) -> tuple[ProcessId, ...]:
    """The processes with these pids that still run."""
    return tuple(found for pid in pids if (found := identify(pid)) is not None)
