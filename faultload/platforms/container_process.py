"""Finds the main process of a container by its id, and kills it.

Runs where the node's processes can be seen: a helper is given this file's text by `python3 -c`, so it needs
nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path


def members(container_id: str, proc: Path = Path("/proc")) -> Iterator[int]:
    """The processes whose cgroup is the container's, by version 1 or 2, with any runtime and cgroup driver."""
    for entry in os.scandir(proc):
        if entry.name.isdigit() and _belongs(proc / entry.name, container_id):
            yield int(entry.name)


def _belongs(process: Path, container_id: str) -> bool:
    try:
        return container_id in (process / "cgroup").read_text()
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
        raise ValueError(f"{container_id!r} is no container id")
    found = sorted((_started(pid, proc), pid) for pid in members(container_id, proc))
    return found[0][1] if found else None


def kill(container_id: str) -> int | None:
    """SIGKILL for the container's main process; its pid, or None when there was none.

    The process is held by a pidfd and looked at again, so that a pid used again is never hit.
    """
    pid = main_process(container_id)
    if pid is None:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if main_process(container_id) != pid:
            return None
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    return pid


def main(argv: list[str]) -> int:
    """`pid ID` prints the container's main process; `kill ID...` kills that of each."""
    command, *container_ids = argv
    for container_id in container_ids:
        pid = main_process(container_id) if command == "pid" else kill(container_id)
        if pid is None:
            print(f"no process of container {container_id} on this node", file=sys.stderr)
            return 1
        print(pid)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
