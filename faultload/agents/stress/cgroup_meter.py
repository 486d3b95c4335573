"""Measures on a node what containers use, by control group, and which stressors run beside them.

`python -m faultload.agents.stress.cgroup_meter --mark MARK ID...` prints one JSON object, and leaves it where
a pod's last words are looked for. Standard library only, and of faultload what it needs in a helper.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from faultload.agents.container.process import main_process
from faultload.agents.stress import cgroups

LAST_WORDS = Path("/dev/termination-log")
"""Where a pod's container leaves its termination message, unless its manifest says otherwise."""


def processor_s(pid: int) -> float | None:
    """Processor time that a process's control group has used so far."""
    for folder in _folders(pid, "cpu"):
        with suppress(OSError):
            return int((folder / "cpuacct.usage").read_text()) / 1e9
        with suppress(OSError):
            lines = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
            if "usage_usec" in lines:
                return int(lines["usage_usec"]) / 1e6
    return None


def memory_bytes(pid: int) -> int | None:
    """Memory that is charged to a process's control group."""
    for folder in _folders(pid, "memory"):
        for name in ("memory.current", "memory.usage_in_bytes"):
            with suppress(OSError):
                return int((folder / name).read_text())
    return None


def _folders(pid: int, controller: str) -> list[Path]:
    try:
        return cgroups.folders(pid, controller)
    except cgroups.CgroupError:
        return []


def stressors(mark: str, proc: Path = Path("/proc")) -> list[int]:
    """The processes that carry a mark in their argument list, workers included."""
    found = []
    for entry in os.scandir(proc):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            argv = (proc / entry.name / "cmdline").read_bytes().decode(errors="replace").split("\0")
            # a meter that looks for the mark names it too
            if mark in argv and "faultload.agents.stress.stressor" in argv:
                found.append(int(entry.name))
    return sorted(found)


def resident_bytes(pids: list[int], proc: Path = Path("/proc")) -> int:
    """Memory of processes that is really there (proc_pid_statm(5))."""
    total = 0
    for pid in pids:
        with suppress(OSError, IndexError):
            total += int((proc / str(pid) / "statm").read_text().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE")


def measure(container_ids: list[str], mark: str) -> dict[str, Any]:
    """Every container that runs here by its id, the stressors of the mark, and when this was."""
    containers: dict[str, Any] = {}
    for container_id in container_ids:
        pid = main_process(container_id)
        if pid is None:
            continue
        containers[container_id] = {
            "processor_s": processor_s(pid),
            "processors": cgroups.cpu_limit(pid),
            "memory_bytes": memory_bytes(pid),
            "memory_room_bytes": cgroups.memory_room(pid),
        }
    pids = stressors(mark)
    return {
        "at_s": time.monotonic(),
        "containers": containers,
        "stressors": pids,
        "resident_bytes": resident_bytes(pids),
        "processors": os.cpu_count(),
        "idle_s": idle_s(),
        "available_bytes": _available(),
    }


def idle_s(stat: Path = Path("/proc/stat")) -> float:
    """Processor time that the node has spent idle since boot, waiting for disks included (proc_stat(5))."""
    fields = stat.read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _available() -> int | None:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="faultload.agents.stress.cgroup_meter")
    parser.add_argument("--mark", required=True)
    parser.add_argument("containers", nargs="*")
    given = parser.parse_args()
    text = json.dumps(measure(given.containers, given.mark))
    print(text, flush=True)
    if LAST_WORDS.is_file():
        LAST_WORDS.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
