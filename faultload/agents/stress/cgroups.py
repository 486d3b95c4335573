"""A process's control groups, v1 and v2: where they are, and how to join them. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


class CgroupError(Exception):
    """A control group that cannot be reached or joined from here, and why."""


def folders(pid: int, wanted: str | None = None) -> list[Path]:
    """The control groups of a process as folders of this mount namespace, of both versions.

    Only those with a controller, or the one `wanted`. Raises CgroupError where it cannot be reached from here.
    """
    lines, mounts = _memberships(pid), list(_mounts())
    found, controllers = [], set[str]()
    for line in lines:
        _, names, inside = line.split(":", 2)
        if names.startswith("name="):
            continue
        for root, point, kind, options in mounts:
            v2 = kind == "cgroup2"
            if v2 != (not names) or (names and not set(names.split(",")) & options):
                continue
            relative = os.path.relpath(inside, root)
            if relative.startswith(".."):
                continue
            folder = point / relative
            mine = set((folder / "cgroup.controllers").read_text().split()) if v2 else set(names.split(","))
            if mine:
                controllers |= {"blkio" if name == "io" else name for name in mine}
                found.append(folder)
            break
    if not found or (wanted is not None and wanted not in controllers):
        what = f"a control group for {wanted}" if wanted else "any control group"
        raise CgroupError(f"{what} of process {pid} cannot be reached from here")
    return found


def _memberships(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError as error:
        raise CgroupError(f"process {pid} cannot be read: {error.strerror}") from None


def _mounts() -> Iterator[tuple[str, Path, str, set[str]]]:
    """Root, mount point, type and super options of each mounted hierarchy."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            fields = head.split()
            yield fields[3], Path(fields[4]), kind, set(options.split(","))


def join(pid: int, wanted: str | None = None) -> None:
    """Move this process into the control groups of another. Raises CgroupError."""
    for folder in folders(pid, wanted):
        try:
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        except OSError as error:
            raise CgroupError(f"{folder} cannot be joined: {error.strerror}") from None


def memory_room(pid: int) -> int | None:
    """Bytes that the memory limits on a process leave, those of groups above included; None for no limit."""
    return min((room for folder in _upwards(pid, "memory") if (room := _room(folder)) is not None), default=None)


def cpu_limit(pid: int) -> float | None:
    """The processors' worth of time that the control groups of a process allow at most; None for no limit."""
    limits = (limit for folder in _upwards(pid, "cpu") if (limit := _quota(folder)) is not None)
    return min(limits, default=None)


def _upwards(pid: int, controller: str) -> Iterator[Path]:
    with suppress(CgroupError):
        for folder in folders(pid, controller):
            while (folder / "cgroup.procs").exists():
                yield folder
                folder = folder.parent


def _room(folder: Path) -> int | None:
    limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
    if limit is None:
        limit, used = _number(folder / "memory.limit_in_bytes"), _number(folder / "memory.usage_in_bytes")
    return None if limit is None or used is None or limit >= 2**60 else limit - used


def _quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except OSError:
        found = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        return None if found[0] is None or not found[1] or found[0] < 0 else found[0] / found[1]
    return None if quota == "max" else int(quota) / int(period)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
