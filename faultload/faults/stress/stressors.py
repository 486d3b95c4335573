"""Starts stressor processes, finds those that belong to a fault, and ends them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from faultload.agents.stress import cgroups
from faultload.agents.when_told import PREPARED
from faultload.errors import TargetError
from faultload.host.processes import ProcessId, end, identify
from faultload.platforms.local.matching import all_argv

MODULE = "faultload.agents.stress.stressor"
_READY_S = 60.0


def mark_of(fault_id: str) -> str:
    """What the argument list of a fault's stressors says: whose they are."""
    return f"faultload:{fault_id}"


class Stressor:
    """A stressor with a time-out of its own, which waits until it is told to begin.

    It outlives this process, at most until its own time-out: undo may come from another one.
    """

    def __init__(
        self, what: str, mark: str, seconds: float, arguments: Sequence[str], cgroup: int | None = None
    ) -> None:
        argv = [sys.executable, "-m", MODULE, what, "--when-told", "--mark", mark, "--seconds", f"{seconds:.3f}"]
        argv += [*arguments, *(["--cgroup", str(cgroup)] if cgroup is not None else [])]
        self._what = what
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": _importable_from()},
        )
        self._said = b""
        self._wait_for(PREPARED)
        self.process = identify(self._process.pid)
        """What `lasts` looks at; None where it has ended already."""

    def begin(self) -> None:
        """Let it begin, and wait until it is in effect. Raises TargetError with what it says instead."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)
        self._wait_for("ready")
        assert self._process.stdout is not None
        self._process.stdout.close()

    def end(self) -> None:
        """End it, whether it began or not."""
        self._process.kill()
        self._process.wait()

    def _wait_for(self, word: str) -> None:
        """Read until it says a word on a line of its own. Raises TargetError where it ends or takes too long."""
        output = self._process.stdout
        assert output is not None
        deadline = time.monotonic() + _READY_S
        while f"\n{word}\n".encode() not in b"\n" + self._said:
            waited, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(output.fileno(), 4096) if waited else b""
            if not more:
                self.end()
                output.close()
                text = self._said.decode(errors="replace").replace(PREPARED, "").strip()
                raise TargetError(text or f"the {self._what} stressor was not in effect within {_READY_S:g} s")
            self._said += more


def _importable_from() -> str:
    """Where this package is, also when it is not installed."""
    here = str(Path(__file__).parents[3])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def running(mark: str) -> list[ProcessId]:
    """The stressor processes of a fault, workers included."""
    found = [pid for pid, argv in all_argv() if MODULE in argv and mark in argv]
    return [process for pid in found if (process := identify(pid)) is not None]


def stop(mark: str) -> None:
    """End the stressors of a fault, and nothing else. Raises TargetError for one that would not go."""
    left = end(running(mark))
    if left:
        raise TargetError(f"still running: {', '.join(str(process.pid) for process in left)}")


def joinable(pid: int, controller: str) -> bool:
    """Whether a stressor can be put into the control groups of a process, and whether that would differ."""
    try:
        theirs = cgroups.folders(pid, controller)
        if set(theirs) == set(cgroups.folders(os.getpid())):
            return False
    except cgroups.CgroupError:
        return False
    return all(os.access(folder / "cgroup.procs", os.W_OK) for folder in theirs)


def resident_bytes(processes: Sequence[ProcessId]) -> int:
    """Memory of processes that is really there."""
    return sum(_statm(process) for process in processes) * os.sysconf("SC_PAGE_SIZE")


def _statm(process: ProcessId) -> int:
    try:
        return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0


def written_bytes(processes: Sequence[ProcessId]) -> int:
    """Bytes that processes have sent towards a disk so far."""
    total = 0
    for process in processes:
        with suppress(OSError, ValueError):
            text = Path(f"/proc/{process.pid}/io").read_text()
            total += int(text.partition("\nwrite_bytes:")[2].split(maxsplit=1)[0])
    return total
