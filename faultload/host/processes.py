"""Identifies processes by pid and start time, so a recycled pid is never mistaken for the old process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import psutil

from faultload.host.private import make_folder, opener


@dataclass(frozen=True, slots=True, order=True)
class ProcessId:
    """A process: its pid and its start time in seconds since boot (Linux; elsewhere since the epoch)."""

    pid: int
    started: float

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return state_of(self) not in (None, "Z", "X")

    def signal(self, signum: int) -> bool:
        """Send a signal to this very process; False when it is gone. Raises PermissionError."""
        try:
            handle = os.pidfd_open(self.pid)
        except (ProcessLookupError, OSError) as error:
            if isinstance(error, PermissionError):
                raise
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, signum)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)

    def to_json(self) -> dict[str, Any]:
        return {"id": str(self.pid), "started": self.started}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProcessId:
        return cls(int(value["id"]), float(value["started"]))


def stat_fields(pid: int) -> list[str]:
    """What the kernel says of a pid in proc_pid_stat(5), from its state letter (field 3) on. Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # a name may be any bytes
        return file.read().rpartition(b")")[2].decode("ascii").split()


def _fields(pid: int) -> list[str] | None:
    """The same; None where nobody has the pid."""
    try:
        return stat_fields(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None


def _stat(pid: int) -> tuple[str, float] | None:
    """State letter and start time of a pid, read in one go."""
    fields = _fields(pid)
    return None if fields is None else (fields[0], int(fields[19]) / os.sysconf("SC_CLK_TCK"))


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now, or None."""
    stat = _stat(pid)
    return None if stat is None or stat[0] in "ZX" else ProcessId(pid, stat[1])


def state_of(process: ProcessId) -> str | None:
    """The state letter of a process (R, S, D, T stopped, Z zombie), or None when it is gone."""
    stat = _stat(process.pid)
    return stat[0] if stat is not None and stat[1] == process.started else None


def myself() -> ProcessId:
    """The calling process."""
    found = identify(os.getpid())
    assert found is not None
    return found


class Process(Protocol):
    """A started child, as far as those who start one need to know."""

    @property
    def pid(self) -> int: ...

    @property
    def stdin(self) -> IO[bytes] | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, signum: int, /) -> None: ...

    def kill(self) -> None: ...


class Spawn(Protocol):
    """Whatever starts processes as `spawn` does."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Iterable[int] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> Process: ...


def log_file(log: Path | None) -> int:
    """A descriptor that appends to a log (or throws away), to be closed by the caller.

    A log is an aid: where none can be made, on a full or read-only disk, what it would hold is thrown away.
    """
    if log is not None:
        with suppress(OSError):
            make_folder(log.parent)
            return opener(str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return os.open(os.devnull, os.O_WRONLY)


def spawn(
    argv: Sequence[str],
    *,
    log: Path | int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Iterable[int] = (),
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output appended to `log` (or thrown away).

    `log` may be an open descriptor, which stays open. `env` is added to the environment of the caller.
    """
    output = log if isinstance(log, int) else log_file(log)
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    finally:
        if output != log:
            os.close(output)


def end(processes: Iterable[ProcessId], grace_s: float = 3.0) -> list[ProcessId]:
    """End processes: SIGCONT and SIGTERM, then SIGKILL after `grace_s`; returns those that would not go."""
    left = [process for process in processes if process.alive()]
    for process in left:
        with suppress(PermissionError):
            process.signal(signal.SIGTERM)
            process.signal(signal.SIGCONT)
    left = wait_gone(left, grace_s)
    for process in left:
        with suppress(PermissionError):
            process.signal(signal.SIGKILL)
    return wait_gone(left, 3.0) if left else []


def wait_gone(processes: Iterable[ProcessId], timeout_s: float) -> list[ProcessId]:
    """Wait until processes are gone (a zombie is); returns those left at the time-out."""
    deadline = time.monotonic() + timeout_s
    left = list(processes)
    while True:
        left = [process for process in left if process.alive()]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.02)


def descendants(process: ProcessId) -> list[ProcessId]:
    """All processes below one, as they are now."""
    if not process.alive():
        return []
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []
    return [found for child in children if (found := identify(child.pid)) is not None]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses, as the kernel counts it."""

    parent: int
    started: float
    cpu_s: float
    """User and system time since it began."""
    threads: int
    rss_bytes: int


def usages() -> dict[int, Usage]:
    """Every process of this machine by pid, each read in one go."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found = {}
    for pid in psutil.pids():
        fields = _fields(pid)
        if fields is not None:
            found[pid] = Usage(
                parent=int(fields[1]),
                started=int(fields[19]) / tick,
                cpu_s=(int(fields[11]) + int(fields[12])) / tick,
                threads=int(fields[17]),
                rss_bytes=int(fields[21]) * page,
            )
    return found


def open_files(pid: int) -> int:
    """How many descriptors a process has; 0 where this user may not look, or it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError), os.scandir(f"/proc/{pid}/fd") as entries:
        return sum(1 for _ in entries)
    return 0


def in_a_control_group_here(containers: Collection[str]) -> bool:
    """Whether a process of this machine is in the control group of one of these containers, by their whole ids."""
    for pid in psutil.pids():
        with suppress(OSError):
            groups = Path(f"/proc/{pid}/cgroup").read_text()
            if any(container in groups for container in containers):
                return True
    return False
