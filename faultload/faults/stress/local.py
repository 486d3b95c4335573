"""Stress beside local instances: processor time and memory, taken by processes with a time-out of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.agents.stress import cgroups
from faultload.agents.stress.stressor import MEMORY_FLOOR, available_memory
from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.base import FaultRequest, WitnessReport
from faultload.faults.network.local import EXPIRY_MARGIN_S
from faultload.faults.process.local import OnService
from faultload.faults.stress import stressors
from faultload.faults.stress.stressors import Stressor
from faultload.host.processes import ProcessId
from faultload.host.trees import stopped
from faultload.platforms.base import Instance, names
from faultload.platforms.local.processes import process_of, tree_of
from faultload.spec import units
from faultload.spec.target import TargetFile

_LOOK_S = 1.0
_ROOM_IN_CGROUP = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class _Place:
    """Where instances share processors: those that they may use, and their control group where it is joined."""

    cpus: frozenset[int]
    cgroup_of: int | None
    limit: float | None


class Stress(OnService):
    """A fault made by stressor processes that are found again by the id of their fault."""

    preparation_s = 1.0
    undone_by = "ends this fault's stressors, which also end on their own 5 s after its duration"

    @property
    def mark(self) -> str:
        return stressors.mark_of(self.request.fault_id)

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {"mark": self.mark}

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self._stressors: list[Stressor] = []

    def _prepare_one(self, what: str, arguments: Sequence[str], cgroup: int | None = None) -> None:
        """Start a stressor, which waits for the injection."""
        lasts_s = self.request.duration_s + EXPIRY_MARGIN_S
        self._stressors.append(Stressor(what, self.mark, lasts_s, arguments, cgroup))

    def release(self) -> None:
        for one in self._stressors:
            one.end()

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        for one in self._stressors:
            one.begin()

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Whether every stressor runs: one that loses a worker ends with all of them."""
        processes = [one.process for one in self._stressors]
        ended = sum(one is None or not one.alive() for one in processes)
        held = sum(one is not None and stopped(one) for one in processes)
        if ended or held:
            how = f"{ended} ended early" if ended else f"{held} were stopped"
            return WitnessReport(False, f"of {len(processes)} stressors {how}")
        return WitnessReport(True, f"{len(processes)} stressors run")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        stressors.stop(str(plan["mark"]))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        left = stressors.running(str(plan["mark"]))
        if left:
            return WitnessReport(False, f"{len(left)} stressor processes still run")
        return WitnessReport(True, "no stressor of this fault runs any more")


@makes("cpu_stress", "local")
class CpuStress(Stress):
    """Busy processes on the processors that the instances' process trees may use."""

    made_by = "busy processes on the processors that the trees may use, in their control groups if root"
    needs = "nothing; as root, the stressors join the instances' control groups and share their limits"
    witnessed_by = "over 1 s, the stressors run or wait for a busy processor for at least half the time asked for"

    @property
    def load(self) -> float:
        return float(self.request.argument("load", 1.0))

    def _workers(self, place: _Place) -> int:
        return int(self.request.argument("workers", len(place.cpus)))

    def _places(self, instances: Sequence[Instance]) -> list[_Place]:
        """One for all processes that share processors and control group: they are stressed together."""
        found: dict[Any, _Place] = {}
        for instance in instances:
            if not (members := tree_of(instance)):
                raise Refused(f"{instance.label} has ended meanwhile")
            for member in members:
                with suppress(ProcessLookupError):  # a worker may end; its master starts another
                    self._add_place(found, member.pid)
        return list(found.values())

    def _add_place(self, found: dict[Any, _Place], pid: int) -> None:
        cpus = frozenset(os.sched_getaffinity(pid))
        if stressors.joinable(pid, "cpu"):
            key: Any = (cpus, *cgroups.folders(pid, "cpu"))
            found.setdefault(key, _Place(cpus, pid, cgroups.cpu_limit(pid)))
        else:
            found.setdefault(cpus, _Place(cpus, None, None))

    def prepare(self, instances: Sequence[Instance]) -> None:
        for place in self._places(instances):
            cpus = ",".join(str(cpu) for cpu in sorted(place.cpus))
            wanted = ["--workers", str(self._workers(place)), "--load", str(self.load), "--cpus", cpus]
            self._prepare_one("cpu", wanted, place.cgroup_of)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        places = self._places(instances)
        processes = stressors.running(self.mark)
        if not processes:
            return WitnessReport(False, "no stressor runs")
        before, started = _spent_s(processes), time.monotonic()
        time.sleep(_LOOK_S)
        used, waited = (now - then for now, then in zip(_spent_s(processes), before, strict=True))
        lasted = time.monotonic() - started
        wanted = sum(self._share_of(place) for place in places)
        got, asked = used / lasted, (used + waited) / lasted
        what = f"the stressors use {got:.2f} and compete for {asked:.2f} of {wanted:.2f} processors"
        return WitnessReport(asked >= wanted / 2 and got >= wanted / 50, what)

    def _share_of(self, place: _Place) -> float:
        """Processors' worth of time that the stressors of a place can have, next to nothing else."""
        most = min(self._workers(place) * self.load, float(len(place.cpus)))
        # a limit is shared with the instances that it was made for
        return most if place.limit is None else min(most, place.limit / 2)


def _spent_s(processes: Sequence[ProcessId]) -> tuple[float, float]:
    """Seconds that processes ran, and that they waited for a processor: the kernel counts both in schedstat."""
    ran = waited = 0
    for process in processes:
        with suppress(OSError):
            fields = Path(f"/proc/{process.pid}/schedstat").read_text().split()
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
    return ran / 1e9, waited / 1e9


@makes("memory_stress", "local")
class MemoryStress(Stress):
    """Memory taken and touched, a process for each instance; never so much that the machine runs short."""

    made_by = "one process per instance takes memory and touches it every second"
    needs = (
        "512 MiB of memory left over; as root, the stressors join the instances' control groups and share their "
        "limits"
    )
    witnessed_by = "nine tenths of the memory are resident in the stressors"

    @property
    def size(self) -> int:
        return units.size(self.request.arguments["bytes"])

    def resolve(self) -> list[Instance]:
        if self.size < 1:
            raise Refused("bytes is above 0")
        return super().resolve()

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Refuse what the machine or a control group cannot spare."""
        wanted, free = self.size * len(instances), available_memory()
        if free - wanted < MEMORY_FLOOR:
            raise Refused(
                f"memory_stress of {wanted >> 20} MiB in all would leave {max(0, free - wanted) >> 20} MiB "
                f"available, {MEMORY_FLOOR >> 20} MiB must stay"
            )
        for instance in instances:
            room = cgroups.memory_room(int(instance.id)) if self._joins(instance) else None
            if room is not None and room - self.size < _ROOM_IN_CGROUP:
                raise Refused(f"the control group of {instance.label} has room for {room >> 20} MiB only")
        self._free_before = free
        for instance in instances:
            cgroup = int(instance.id) if self._joins(instance) else None
            self._prepare_one("memory", ["--bytes", str(self.size)], cgroup)

    def _joins(self, instance: Instance) -> bool:
        return stressors.joinable(int(process_of(instance).pid), "memory")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        held, wanted = stressors.resident_bytes(stressors.running(self.mark)), self.size * len(instances)
        dropped = self._free_before - available_memory()
        what = f"{held >> 20} of {wanted >> 20} MiB are resident beside {names(instances)}"
        return WitnessReport(held >= 0.9 * wanted, f"{what}; {dropped >> 20} MiB less are available than before")
