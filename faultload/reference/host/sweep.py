"""Finds and ends every process of a started reference system, whoever its parent is by now.

`python -m faultload.reference.host.sweep FOLDER` waits for the end of its standard input first: the supervisor
holds
the other end, so its death, however it comes, ends the whole system.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from faultload.host import state
from faultload.host.processes import ProcessId, descendants, identify, myself, wait_gone
from faultload.platforms.local.parents import STARTED_BY_US

MARK = STARTED_BY_US
"""Set to the folder in the environment of every process of a system; PostgreSQL inherits it through Patroni."""


def processes_file(folder: Path) -> Path:
    return folder / "processes.json"


def recorded(folder: Path) -> dict[str, ProcessId]:
    """The processes that the supervisor started last, by name; they may be gone."""
    found = state.read_json(processes_file(folder)) or {}
    return {name: ProcessId.from_json(value) for name, value in found.items()}


def belonging(folder: Path) -> list[ProcessId]:
    """All running processes of a system: recorded, marked, and what is below them."""
    found = {process for process in recorded(folder).values() if process.alive()}
    wanted = f"{MARK}={folder}".encode()
    for pid in psutil.pids():
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                process = identify(pid)
                if process is not None:
                    found.add(process)
    for process in list(found):
        found.update(descendants(process))
    return sorted(found - {myself()})


def with_argument(processes: list[ProcessId], argument: str) -> list[ProcessId]:
    """Those that have exactly this argument."""
    wanted = argument.encode()
    found = []
    for process in processes:
        with suppress(OSError):
            if wanted in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0"):
                found.append(process)
    return found


def runs(folder: Path, argv: tuple[str, ...]) -> bool:
    """Whether a process of a system runs this program, by itself or behind what starts it (`unshare ...`)."""
    for process in belonging(folder):
        with suppress(OSError):
            found = tuple(os.fsdecode(Path(f"/proc/{process.pid}/cmdline").read_bytes()).rstrip("\0").split("\0"))
            if len(found) > 2 and argv[-len(found) :] == found:
                return True
    return False


def kill(processes: list[ProcessId]) -> list[ProcessId]:
    """SIGKILL, and wait; returns those that would not go."""
    for process in processes:
        with suppress(PermissionError):
            process.signal(signal.SIGKILL)
    return wait_gone(processes, 5.0)


def sweep(folder: Path) -> list[ProcessId]:
    """End everything that belongs to a system; a killed one may have just started another, so look again."""
    left: list[ProcessId] = []
    for _ in range(10):
        found = belonging(folder)
        if not found:
            return []
        left = kill(found)
    return left


def main() -> None:
    """Wait for the supervisor's end, then sweep."""
    folder = Path(sys.argv[1])
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    while os.read(0, 1024):
        pass
    sweep(folder)


if __name__ == "__main__":
    main()
