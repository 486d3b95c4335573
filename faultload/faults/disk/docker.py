"""Faults on the disks of containers: constant writes, or filling up to a floor."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.agents.stress.stressor import io_files
from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.containers import at_once
from faultload.faults.stress.docker import InContainers
from faultload.platforms.base import Instance
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker.stats import usage
from faultload.spec import units

DEFAULT_FOLDER = "/tmp"
IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
LEAST_FLOOR = 16 * 1024**2
LEAST_FLOOR_OF_MACHINE = 256 * 1024**2
"""Where others on the machine may write too, its engine among them."""
_LEAST_WRITTEN = 256 * 1024
_NEARLY = 4 * 1024**2


class _OnDisk(InContainers):
    @property
    def folder(self) -> str:
        return str(self.request.argument("path", DEFAULT_FOLDER))

    @property
    def _name(self) -> str:
        return f".faultload-{hashlib.sha256(self.request.fault_id.encode()).hexdigest()[:12]}"

    def resolve(self) -> list[Instance]:
        if not self.folder.startswith("/"):
            raise Refused(f"path '{self.folder}' does not begin with /")
        return super().resolve()

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        looks = at_once(
            lambda one: self.look_into(one, "look", self.folder, self._files()), self.the_very(instances)
        )
        found = {instance.id: disk for instance, disk in zip(instances, looks, strict=True)}
        for instance in instances:
            self._check(instance, found[instance.id])
        free = {id_: disk["free"] for id_, disk in found.items()}
        return {"folder": self.folder, "files": self._files(), "free": free}

    def _check(self, instance: Instance, disk: Mapping[str, Any]) -> None:
        """Raise Refused for a disk that this fault must not be made on."""
        if disk["there"]:
            raise Refused(f"{instance.label} already has files with this fault's names: {', '.join(disk['there'])}")

    def _prepare_all(self, instances: Sequence[Instance], what: str, wanted: Sequence[str]) -> None:
        """A stressor for each instance, which writes where that container's own processes would."""
        roots = {one.id: str(docker_client.state_of(one)["Pid"]) for one in self.the_very(instances)}
        at_once(lambda one: self.prepare_in(one, what, [*wanted, "--root", roots[one.id]]), instances)

    def _files(self) -> list[str]:
        """Every file that a stressor may have made: what it could not take away itself, undo does."""
        return [self._name]

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        super().undo(instances, plan)
        for instance in instances:
            one = docker_client.container(instance.id)
            if one is not None and docker_client.runs(one) and self._left(instance, plan):
                self.look_into(one, "remove", str(plan["folder"]), list(plan["files"]))

    def _left(self, instance: Instance, plan: Mapping[str, Any]) -> list[str]:
        """The files of the fault that are still in a container, also in one that does not run now."""
        from docker.errors import NotFound

        one = docker_client.container(instance.id)
        left = []
        for name in plan["files"] if one is not None else []:
            file = f"{str(plan['folder']).rstrip('/')}/{name}"
            with docker_client.asking(f"look for {file} in {instance.name}"):
                try:
                    assert one is not None
                    stream, _ = one.get_archive(file)
                except NotFound:
                    continue
                stream.close()  # type: ignore[attr-defined]
                left.append(file)
        return left

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        for instance in instances:
            if left := self._left(instance, plan):
                return WitnessReport(False, f"still in {instance.name}: {', '.join(left)}")
        return super().gone(instances, plan)


@makes("io_stress", "docker")
class IoStress(_OnDisk):
    """Small files written over and over in the container, each write synced."""

    made_by = "processes in the container's control group write 256 KiB and fsync, over and over"
    needs = f"{InContainers.needs}; a folder on a disk with 256 MiB free (by default `/tmp`)"
    witnessed_by = (
        "by the kernel's count, the container's processes write at least 256 KiB per worker in 1 s; also reports "
        "how long an fsync takes"
    )
    undone_by = f"{InContainers.undone_by}; removes its files by name"
    _before: Mapping[str, Mapping[str, Any]] = {}

    @property
    def workers(self) -> int:
        return int(self.request.argument("workers", 1))

    def _files(self) -> list[str]:
        return io_files(self._name, self.workers)

    def _check(self, instance: Instance, disk: Mapping[str, Any]) -> None:
        super()._check(instance, disk)
        if disk["kind"] in IN_MEMORY:
            raise Refused(
                f"{self.folder} of {instance.label} is in memory ({disk['kind']}): nothing written there reaches a "
                "disk; name another path"
            )

    def prepare(self, instances: Sequence[Instance]) -> None:
        self._before = self._writes(instances)
        wanted = ["--path", self.folder, "--workers", str(self.workers), "--name", self._name]
        self._prepare_all(instances, "io", wanted)

    def _writes(self, instances: Sequence[Instance]) -> dict[str, Mapping[str, Any]]:
        """What the processes in each container write in a second, and how long syncing a page takes there."""
        looks = at_once(lambda one: self.look_into(one, "writes", self.folder), self.the_very(instances))
        return {instance.id: writes for instance, writes in zip(instances, looks, strict=True)}

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        writes = self._writes(instances)
        seen, told = bool(instances), []
        for instance in instances:
            before, now = self._before[instance.id], writes[instance.id]
            seen &= now["written_per_s"] - before["written_per_s"] >= _LEAST_WRITTEN * self.workers
            told.append(
                f"{instance.name} writes {now['written_per_s'] / 1e6:.1f} MB/s "
                f"(before: {before['written_per_s'] / 1e6:.1f}), an fsync takes {now['fsync_s'] * 1000:.1f} ms "
                f"(before: {before['fsync_s'] * 1000:.1f})"
            )
        return WitnessReport(seen, "; ".join(told))


@makes("fill_disk", "docker")
class FillDisk(_OnDisk):
    """Space taken by a file without a name in the container, which the kernel frees with its process."""

    made_by = "a process in the container's control group allocates an unnamed file until only the floor is free"
    needs = (
        f"{InContainers.needs}; a floor of at least 16 MiB, or 256 MiB on one of the machine's disks (the "
        "path is the container's `/tmp` by default)"
    )
    witnessed_by = "the free space the container sees has dropped to the floor"
    undone_by = f"{InContainers.undone_by}; the kernel then frees the space"

    @property
    def floor(self) -> int:
        return units.size(self.request.arguments["floor"])

    def _check(self, instance: Instance, disk: Mapping[str, Any]) -> None:
        super()._check(instance, disk)
        in_memory = disk["kind"] in IN_MEMORY
        least = LEAST_FLOOR if in_memory else LEAST_FLOOR_OF_MACHINE
        if self.floor < least:
            raise Refused(
                f"the floor of {self.folder} in {instance.label} must be at least {least >> 20} MiB, "
                f"not {self.floor} bytes"
            )
        if disk["free"] <= self.floor:
            raise Refused(
                f"{self.folder} of {instance.label} has {disk['free']} bytes free: the floor is reached already"
            )
        one = docker_client.container(instance.id)
        limit = int(one.attrs["HostConfig"].get("Memory") or 0) if one is not None else 0
        found = usage(instance.id)
        if in_memory and limit and found is not None and limit - found.memory_bytes < disk["free"] - self.floor:
            raise Refused(
                f"{self.folder} of {instance.label} is in memory, and filling it would reach its memory limit of "
                f"{limit >> 20} MiB: give a higher floor, or another path"
            )

    def prepare(self, instances: Sequence[Instance]) -> None:
        wanted = ["--path", self.folder, "--floor", str(self.floor), "--name", self._name]
        self._prepare_all(instances, "fill", wanted)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._plan = plan
        for instance, one in zip(instances, self.the_very(instances), strict=True):
            if instance != instances[0] and self._full(int(self.look_into(one, "look", self.folder)["free"])):
                continue  # it shares the disk of one before it
            self.begin_in(instance)

    def _full(self, free: int, before: int = 0) -> bool:
        return free <= self.floor + max(_NEARLY, (before - self.floor) // 20)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        seen, told = bool(instances), []
        for instance, one in zip(instances, self.the_very(instances), strict=True):
            before = int(self._plan["free"][instance.id])
            free = int(self.look_into(one, "look", self.folder)["free"])
            seen &= self._full(free, before)
            told.append(f"{self.folder} of {instance.name} has {free >> 20} MiB free, {before >> 20} before")
        return WitnessReport(seen, "; ".join(told))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """The stressors are gone, and at least half of what they took is free again: others write too."""
        sight = super().gone(instances, plan)
        if not sight.seen:
            return sight
        for instance in instances:
            one = docker_client.container_of(instance)
            before = int(plan["free"][instance.id])
            if one is not None:
                free = int(self.look_into(one, "look", str(plan["folder"]))["free"])
                if free < (before + self.floor) // 2:
                    return WitnessReport(
                        False, f"{instance.name} has {free >> 20} MiB free, {before >> 20} before the fault"
                    )
        return sight
