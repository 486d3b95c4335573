"""Finds a container's main process by container id, and kills or terminates it.

Runs in helpers, where the processes of the node or machine can be seen.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def members(container_id: str, proc: Path = Path("/proc")) -> Iterator[int]:
    """The processes whose cgroup is the container's, by version 1 or 2, with any runtime and cgroup driver."""
    for entry in os.scandir(proc):
        if entry.name.isdigit() and belongs(int(entry.name), container_id, proc):
            yield int(entry.name)


def belongs(pid: int, container_id: str, proc: Path = Path("/proc")) -> bool:
    """Whether a process is in a container's control group."""
    try:
        return container_id in (proc / str(pid) / "cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _started(pid: int, proc: Path) -> int:
    """Start time in clock ticks since boot (field 22 of proc_pid_stat(5))."""
    try:
        return int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return sys.maxsize


def main_process(container_id: str, proc: Path = Path("/proc")) -> int | None:
    """The container's first process: the oldest of its cgroup; a command that was run in it came later."""
    if len(container_id) < 12:
        raise ValueError(f"{container_id!r} is not a container id")
    found = sorted((_started(pid, proc), pid) for pid in members(container_id, proc))
    return found[0][1] if found else None


def held(container_id: str) -> int | None:
    """A pidfd of the container's main process, so that a pid used again is never hit; None without one."""
    pid = main_process(container_id)
    if pid is None:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if main_process(container_id) != pid:
        os.close(descriptor)
        return None
    return descriptor


def send(descriptor: int, signum: int) -> bool:
    """Send a signal to a process that is held; False when it had ended."""
    try:
        signal.pidfd_send_signal(descriptor, signum)
    except ProcessLookupError:
        return False
    return True


def end(container_ids: list[str], grace_s: float | None) -> list[str]:
    """SIGKILL for the main process of each container, or SIGTERM first and SIGKILL after `grace_s`.

    Returns the containers that had no process.
    """
    processes = {container_id: held(container_id) for container_id in container_ids}
    try:
        there = {container_id: one for container_id, one in processes.items() if one is not None}
        first = signal.SIGKILL if grace_s is None else signal.SIGTERM
        hit = [container_id for container_id, one in there.items() if send(one, first)]
        if grace_s is not None:
            for descriptor in _still_there(list(there.values()), grace_s):
                send(descriptor, signal.SIGKILL)
    finally:
        for held_one in processes.values():
            if held_one is not None:
                os.close(held_one)
    return [container_id for container_id in container_ids if container_id not in hit]


def _still_there(descriptors: list[int], grace_s: float) -> list[int]:
    """Those of the processes that have not ended by the end of the grace; a pidfd can be read after its end."""
    deadline = time.monotonic() + grace_s
    waiting = list(descriptors)
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        ended = select.select(waiting, [], [], left_s)[0]
        waiting = [one for one in waiting if one not in ended]
    return waiting


def main(argv: list[str]) -> int:
    """`pid ID` prints a container's main process; `kill ID...` kills it, `terminate GRACE_S ID...` in order.

    `when-told` before these: it waits for SIGUSR1 first, and prints `done` when all went well.
    """
    command, *container_ids = argv
    if command == "when-told":
        from faultload.agents.when_told import IDLE_S, wait_until_told

        if not wait_until_told():
            print(f"was not told to begin within {IDLE_S:g} s", file=sys.stderr)
            return 1
        code = main(container_ids)
        print(*([] if code else ["done"]), flush=True)
        return code
    if command == "pid":
        found = {container_id: main_process(container_id) for container_id in container_ids}
        missing = [container_id for container_id, pid in found.items() if pid is None]
        print(*(pid for pid in found.values() if pid is not None), sep="\n")
    else:
        grace_s = float(container_ids.pop(0)) if command == "terminate" else None
        missing = end(container_ids, grace_s)
    for container_id in missing:
        print(f"no process of container {container_id} on this node", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
