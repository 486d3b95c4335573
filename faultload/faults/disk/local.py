"""Faults on the disks of local instances: constant writes, or filling up to a floor."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faultload.agents.stress.stressor import file_system, free_bytes, io_files
from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.stress import stressors
from faultload.faults.stress.local import Stress
from faultload.host.state import state_home
from faultload.platforms.base import Instance
from faultload.spec import units

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
LEAST_FLOOR = 16 * 1024**2
LEAST_FLOOR_HERE = 256 * 1024**2
"""Where faultload itself, or the system, has to go on writing."""
_LOOK_S = 1.0
_LEAST_WRITTEN = 256 * 1024


class _OnDisk(Stress):
    def _folders(self, instances: Sequence[Instance]) -> list[Path]:
        """One folder for each disk of the instances. Raises Refused."""
        found: dict[int, Path] = {}
        for instance in instances:
            folder = self._folder(instance)
            found.setdefault(folder.stat().st_dev, folder)
        return list(found.values())

    def _folder(self, instance: Instance) -> Path:
        given = self.request.argument("path")
        folder = Path(str(given)) if given is not None else _working_folder(instance)
        if not folder.is_absolute():
            raise Refused(f"path '{folder}' does not begin with /")
        if not folder.is_dir():
            raise Refused(f"{folder} is not a folder on this machine")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise Refused(f"{folder} is not writable for this user: choose another path, or run as root")
        if os.statvfs(folder).f_blocks == 0:
            raise Refused(f"{folder} is not on a disk")
        return folder

    @property
    def _name(self) -> str:
        return f".faultload-{hashlib.sha256(self.request.fault_id.encode()).hexdigest()[:12]}"

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        disks = [{"folder": str(folder), "free": free_bytes(str(folder))} for folder in self._folders(instances)]
        return {**super().undo_plan(instances), "disks": disks, "files": self._files(instances)}

    def _files(self, instances: Sequence[Instance]) -> list[str]:
        """Every file that a stressor may have made: what it could not take away itself, undo does."""
        raise NotImplementedError

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        super().undo(instances, plan)
        for file in plan["files"]:
            Path(file).unlink(missing_ok=True)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        left = [file for file in plan["files"] if Path(file).exists()]
        if left:
            return WitnessReport(False, f"still there: {', '.join(left)}")
        return super().gone(instances, plan)


def _working_folder(instance: Instance) -> Path:
    root = Path(f"/proc/{instance.id}")
    try:
        elsewhere = (root / "ns" / "mnt").stat().st_ino != Path("/proc/self/ns/mnt").stat().st_ino
        folder = (root / "cwd").readlink()
    except OSError as error:
        raise Refused(f"where {instance.label} lives cannot be seen ({error.strerror}): give a path") from None
    if elsewhere:
        raise Refused(f"{instance.label} has its own file systems: give a path on this machine")
    return folder


@makes("io_stress", "local")
class IoStress(_OnDisk):
    """Small files written over and over, each write synced."""

    made_by = "processes write 256 KiB and fsync, over and over, each to its own small file"
    needs = "a folder on a disk where you can write, with 256 MiB free"
    witnessed_by = (
        "by the kernel's count, every worker writes to the disk within 1 s; also reports how long an fsync takes"
    )
    undone_by = f"{Stress.undone_by}; removes their files"
    _before_s: Sequence[float] = ()

    @property
    def workers(self) -> int:
        return int(self.request.argument("workers", 1))

    def resolve(self) -> list[Instance]:
        found = super().resolve()
        for folder in self._folders(found):
            if (kind := file_system(str(folder))) in IN_MEMORY:
                raise Refused(f"{folder} is in memory ({kind}): nothing written there reaches a disk")
        return found

    def _files(self, instances: Sequence[Instance]) -> list[str]:
        names = io_files(self._name, self.workers)
        return [str(folder / name) for folder in self._folders(instances) for name in names]

    def prepare(self, instances: Sequence[Instance]) -> None:
        folders = self._folders(instances)
        self._before_s = [_sync_s(folder) for folder in folders]
        for folder in folders:
            wanted = ["--path", str(folder), "--workers", str(self.workers), "--name", self._name]
            self._prepare_one("io", wanted)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        folders = self._folders(instances)
        processes = stressors.running(self.mark)
        before, started = {one: stressors.written_bytes([one]) for one in processes}, time.monotonic()
        time.sleep(_LOOK_S)
        written = [stressors.written_bytes([one]) - count for one, count in before.items()]
        lasted = time.monotonic() - started
        syncs = ", ".join(
            f"{_sync_s(folder) * 1000:.1f} ms (before: {before_s * 1000:.1f} ms)"
            for folder, before_s in zip(folders, self._before_s, strict=True)
        )
        writing = sum(count >= _LEAST_WRITTEN for count in written)
        rate = sum(written) / lasted / 1e6
        wanted = self.workers * len(folders)
        what = f"{writing} of {wanted} workers write, {rate:.1f} MB/s in all; an fsync takes {syncs}"
        return WitnessReport(writing >= wanted, what)


def _sync_s(folder: Path) -> float:
    """Seconds to write and sync one page in a folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x" * 4096)
        file.flush()
        started = time.monotonic()
        os.fsync(file.fileno())
        return time.monotonic() - started


@makes("fill_disk", "local")
class FillDisk(_OnDisk):
    """Space taken by a file without a name, which the kernel frees as soon as its process is gone."""

    made_by = "a process allocates an unnamed file until only the floor is free"
    needs = (
        "a folder where you can write; a floor of at least 16 MiB, or 256 MiB on a disk that faultload or the "
        "system writes to"
    )
    witnessed_by = "the free space has dropped to the floor"
    undone_by = f"{Stress.undone_by}; the kernel then frees the space"

    @property
    def floor(self) -> int:
        return units.size(self.request.arguments["floor"])

    def resolve(self) -> list[Instance]:
        found = super().resolve()
        here = {_device(place) for place in (Path("/"), state_home(), Path.cwd(), Path(tempfile.gettempdir()))}
        for folder in self._folders(found):
            least = LEAST_FLOOR_HERE if _device(folder) in here else LEAST_FLOOR
            if self.floor < least:
                raise Refused(f"the floor of {folder} must be at least {least >> 20} MiB, not {self.floor} bytes")
        return found

    def prepare(self, instances: Sequence[Instance]) -> None:
        for folder in self._folders(instances):
            if (free := free_bytes(str(folder))) <= self.floor:
                raise Refused(f"{folder} has {free} bytes free: the floor of {self.floor} is reached already")
        for folder in self._folders(instances):
            self._prepare_one("fill", ["--path", str(folder), "--floor", str(self.floor), "--name", self._name])

    def _files(self, instances: Sequence[Instance]) -> list[str]:
        return [str(folder / self._name) for folder in self._folders(instances)]

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._free_before = {disk["folder"]: int(disk["free"]) for disk in plan["disks"]}
        super().inject(instances, plan)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        seen, told = True, []
        for folder, before in self._free_before.items():
            free = free_bytes(folder)
            seen &= free <= self.floor + max(4 << 20, (before - self.floor) // 20)
            told.append(f"{folder} has {free >> 20} MiB free, {before >> 20} before")
        return WitnessReport(seen and bool(told), "; ".join(told))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """The stressors are gone, and at least half of what they took is free again: others write too."""
        for disk in plan["disks"]:
            free, before = free_bytes(str(disk["folder"])), int(disk["free"])
            if free < (before + self.floor) // 2:
                return WitnessReport(
                    False, f"{disk['folder']} has {free >> 20} MiB free, {before >> 20} before the fault"
                )
        return super().gone(instances, plan)


def _device(folder: Path) -> int:
    """The device of a folder, or of the nearest above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder.stat().st_dev
