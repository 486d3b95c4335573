"""Starts stressor processes, finds those that belong to a fault, and ends them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from faultload.agents.stress import cgroups
from faultload.errors import TargetError
from faultload.host.processes import ProcessId, end, identify
from faultload.platforms.local.matching import all_argv

MODULE = "faultload.agents.stress.stressor"
_READY_S = 60.0


def mark_of(fault_id: str) -> str:
    """What the argument list of a fault's stressors says: whose they are."""
    return f"faultload:{fault_id}"


def start(what: str, mark: str, seconds: float, arguments: Sequence[str], cgroup: int | None = None) -> ProcessId:
    """Start a stressor with a time-out of its own, and wait until it is in effect. Raises TargetError."""
    argv = [sys.executable, "-m", MODULE, what, "--mark", mark, "--seconds", f"{seconds:.3f}", *arguments]
    if cgroup is not None:
        argv += ["--cgroup", str(cgroup)]
    # it outlives this process, at most until its own time-out: undo may come from another one
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": _importable_from()},
    )
    assert process.stdout is not None
    said = b""
    deadline = time.monotonic() + _READY_S
    with process.stdout as output:
        while b"\nready\n" not in b"\n" + said:
            waited, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(output.fileno(), 4096) if waited else b""
            if not more:
                process.kill()
                process.wait()
                text = said.decode(errors="replace").strip()
                raise TargetError(text or f"the {what} stressor was not in effect within {_READY_S:g} s")
            said += more
    started = identify(process.pid)
    if started is None:
        raise TargetError(f"the {what} stressor ended as soon as it was in effect")
    return started


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
