"""What a process was given by whoever started it: user, rights, limits, control groups and the like."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Circumstances = dict[str, Any]
"""By name for people; plain JSON, equal where the circumstances are."""

_NAMESPACES = ("mnt", "net", "pid", "uts", "ipc", "user", "cgroup", "time")
_FILES = ("oom_score_adj", "coredump_filter")
"""Left out where the kernel does not have them."""
_IO_PRIORITY = {"x86_64": (252, 251), "aarch64": (31, 30)}
"""Numbers of ioprio_get(2) and ioprio_set(2), which libraries have no functions for."""
libc = ctypes.CDLL(None, use_errno=True)


def circumstances_of(pid: int) -> Circumstances:
    """The circumstances of a process. Raises FileNotFoundError, ProcessLookupError, PermissionError."""
    root = Path(f"/proc/{pid}")
    status = status_of(pid)
    return {
        "user": [int(number) for number in status["Uid"].split()],
        "group": [int(number) for number in status["Gid"].split()],
        "further groups": sorted(int(number) for number in status.get("Groups", "").split()),
        "namespaces": {name: _namespace(root, name) for name in _NAMESPACES},
        "limits": limits_of(pid),
        "control groups": sorted((root / "cgroup").read_text().splitlines()),
        "capabilities": {name: status[f"Cap{name}"].strip() for name in ("Inh", "Bnd", "Amb")},
        "no_new_privs": status["NoNewPrivs"].strip(),
        "seccomp filters": [status.get(name, "0").strip() for name in ("Seccomp", "Seccomp_filters")],
        "umask": status["Umask"].strip(),
        "ignored signals": [
            int(one) for one in sorted(signal.valid_signals()) if int(status["SigIgn"], 16) >> (one - 1) & 1
        ],
        "niceness": os.getpriority(os.PRIO_PROCESS, pid),
        "scheduling policy": [os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority],
        "I/O priority": io_priority(pid),
        "processor affinity": sorted(os.sched_getaffinity(pid)),
        "folder": _place(root / "cwd"),
        "root folder": _place(root / "root"),
        **{name: (root / name).read_text().strip() for name in _FILES if os.access(root / name, os.R_OK)},
    }


def status_of(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status."""
    text = Path(f"/proc/{pid}/status").read_bytes().decode(errors="replace")
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def limits_of(pid: int) -> dict[str, list[str]]:
    """Soft and hard limit by the kernel's name, in the order of their numbers."""
    found = {}
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]:
        name, values = line[:26].strip(), line[26:].split()
        found[name] = values[:2]
    return found


def io_priority(pid: int) -> int:
    """The I/O priority of a process as ioprio_get(2) gives it; 0, which is none, where it cannot be asked."""
    numbers = _IO_PRIORITY.get(platform.machine())
    return 0 if numbers is None else max(0, int(libc.syscall(numbers[0], 1, pid)))


def set_io_priority(value: int) -> None:
    """The I/O priority of the calling process."""
    numbers = _IO_PRIORITY.get(platform.machine())
    if numbers is not None:
        libc.syscall(numbers[1], 1, 0, value)


def mounted_groups() -> dict[str, str]:
    """Where each hierarchy of control groups is mounted whole, by controllers as /proc/PID/cgroup names them."""
    named = [line.split(":", 2)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if before.split()[3] != "/":
            continue
        if kind == "cgroup2":
            found[""] = before.split()[4]
        elif kind == "cgroup":
            of = set(options.split(","))
            found |= {name: before.split()[4] for name in named if name and set(name.split(",")) <= of}
    return found


def _namespace(root: Path, name: str) -> str | None:
    try:
        return str((root / "ns" / name).readlink())
    except FileNotFoundError:  # a kernel without it
        return None


def _place(link: Path) -> list[int]:
    found = link.stat()
    return [found.st_dev, found.st_ino]


def differences(wanted: Mapping[str, Any], had: Mapping[str, Any]) -> Iterator[str]:
    """What of the circumstances that were wanted could not be had, for people."""
    for name, want in wanted.items():
        have = had.get(name)
        if want == have:
            continue
        if isinstance(want, dict) and isinstance(have, dict):
            for key, value in want.items():
                if value != have.get(key):
                    yield f"{name}: {key} {_short(value)}, would be {_short(have.get(key))}"
        elif name == "control groups":
            lost = sorted(set(want) - set(have or ()))
            yield f"{name}: {_short(lost)}, would be {_short(sorted(set(have or ()) - set(want)))}"
        else:
            yield f"{name}: {_short(want)}, would be {_short(have)}"


def _short(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
