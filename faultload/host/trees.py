"""Process trees: a root with all its descendants, read again right before each signal."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from faultload.host.processes import ProcessId, state_of, usages

STOP_WITHIN_S = 2.0
_STOPPED = ("T", "t")


@dataclass(frozen=True)
class Family:
    """Who started whom, at one moment."""

    parents: Mapping[int, int]
    started: Mapping[int, float]

    @cached_property
    def _children(self) -> Mapping[int, list[int]]:
        found: dict[int, list[int]] = {}
        for pid, parent in self.parents.items():
            found.setdefault(parent, []).append(pid)
        return found

    def children(self, pid: int) -> Sequence[int]:
        """The processes that a process started, as far as they run and it does."""
        return self._children.get(pid, [])

    def above(self, pid: int) -> Iterator[int]:
        """The parent of a process, its parent and so on; not pid 0."""
        passed = {pid}
        while (pid := self.parents.get(pid, 0)) > 0 and pid not in passed:
            passed.add(pid)  # a pid that was used again while all were read could lead in a circle
            yield pid

    def below(self, pid: int) -> Iterator[int]:
        """A process and all its descendants, parents before their children."""
        left, passed = [pid], {pid}
        while left:
            yield (pid := left.pop())
            below = [child for child in self.children(pid) if child not in passed]
            passed.update(below)
            left += reversed(below)

    def tops(self, pids: Iterable[int]) -> list[int]:
        """Those that have none of the others above them, in order of their start."""
        several = set(pids)
        tops = [pid for pid in several if several.isdisjoint(self.above(pid))]
        return sorted(tops, key=lambda pid: (self.started.get(pid, 0.0), pid))

    def process(self, pid: int) -> ProcessId:
        return ProcessId(pid, self.started[pid])


def family() -> Family:
    """All processes of this machine as they are now."""
    known = usages()
    return Family(
        {pid: usage.parent for pid, usage in known.items()}, {pid: usage.started for pid, usage in known.items()}
    )


def tree(roots: Iterable[ProcessId]) -> list[ProcessId]:
    """The processes that still run of these, and all their descendants, parents before their children.

    Given everything that was found before, it also finds what a member left behind when it ended.
    """
    now = family()
    found: dict[int, ProcessId] = {}
    for root in roots:
        if now.started.get(root.pid) == root.started:
            found |= {pid: now.process(pid) for pid in now.below(root.pid)}
    return [process for process in found.values() if process.alive()]


def stopped(process: ProcessId) -> bool:
    """Whether the process is stopped by a signal."""
    return state_of(process) in _STOPPED


def freeze(roots: Iterable[ProcessId], within_s: float = STOP_WITHIN_S) -> list[ProcessId]:
    """Stop trees from the root down, until no process of them runs; returns all that were found.

    A process may start another while it is being stopped, so the tree is read until nothing new appears. Gives up
    on one that does not stop within `within_s` seconds: witnesses tell. Raises PermissionError.
    """
    known = list(roots)
    deadline = time.monotonic() + within_s
    while True:
        found = tree(known)
        running = [process for process in found if not stopped(process)]
        known = list(dict.fromkeys([*known, *found]))
        if not running or time.monotonic() >= deadline:
            return known
        for process in running:
            process.signal(signal.SIGSTOP)
        _wait_until_stopped(running, deadline)


def _wait_until_stopped(processes: Sequence[ProcessId], deadline: float) -> None:
    while any(process.alive() and not stopped(process) for process in processes):
        if time.monotonic() >= deadline:
            return
        time.sleep(0.005)


def thaw(roots: Iterable[ProcessId], within_s: float = STOP_WITHIN_S) -> None:
    """Continue trees, children before their parents, who may watch them, until nothing in them is stopped.

    Raises PermissionError.
    """
    known = list(roots)
    deadline = time.monotonic() + within_s
    while True:
        found = tree(known)
        known = list(dict.fromkeys([*known, *found]))
        still = [process for process in found if stopped(process)]
        if not still or time.monotonic() >= deadline:
            return
        for process in reversed(still):
            process.signal(signal.SIGCONT)
        time.sleep(0.005)


def kill(roots: Iterable[ProcessId]) -> list[ProcessId]:
    """SIGKILL whole trees; returns all that were killed.

    What has descendants is stopped first: a master would start others for workers that are killed before it, and
    workers of one that is killed before them would be nobody's. Raises PermissionError.
    """
    given = list(roots)
    several = len(tree(given)) > len(given)
    members = freeze(given) if several else given
    for process in members:
        process.signal(signal.SIGKILL)
    return members
