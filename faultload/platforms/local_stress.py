"""Stress beside local instances: processor time and memory, taken by processes with a time-out of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from faultload import units
from faultload.errors import Refused
from faultload.faults import makes
from faultload.platforms import cgroups, stressors
from faultload.platforms.base import Instance, Sight, names
from faultload.platforms.local_links import EXPIRY_MARGIN_S
from faultload.platforms.local_processes import cpu_ticks, process_of
from faultload.platforms.local_signals import OnService
from faultload.platforms.stressor import MEMORY_FLOOR, available_memory
from faultload.processes import ProcessId

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

    undone_by = "ending the stressors of this very fault, which also end by themselves 5 s after its duration"

    @property
    def mark(self) -> str:
        return stressors.mark_of(self.request.fault_id)

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {"mark": self.mark}

    def _start(self, what: str, arguments: Sequence[str], cgroup: int | None = None) -> None:
        stressors.start(what, self.mark, self.request.duration_s + EXPIRY_MARGIN_S, arguments, cgroup)

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        stressors.stop(str(plan["mark"]))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> Sight:
        left = stressors.running(str(plan["mark"]))
        if left:
            return Sight(False, f"{len(left)} stressor processes still run")
        return Sight(True, "no stressor of this fault runs any more")


@makes("cpu_stress", "local")
class CpuStress(Stress):
    """Busy processes on the processors that the instances may use."""

    made_by = "busy processes on the processors that the instances may use, in their control groups where joined"
    needs = "nothing; root puts the stressors into the instances' control groups, where their limits count too"
    witnessed_by = "the stressors get half of what was asked for, or some of it and no processor is idle, over 1 s"

    @property
    def load(self) -> float:
        return float(self.request.argument("load", 1.0))

    def _workers(self, place: _Place) -> int:
        return int(self.request.argument("workers", len(place.cpus)))

    def _places(self, instances: Sequence[Instance]) -> list[_Place]:
        """One for all instances that share processors and control group: they are stressed together."""
        found: dict[Any, _Place] = {}
        for instance in instances:
            pid = int(instance.id)
            try:
                cpus = frozenset(os.sched_getaffinity(pid))
            except ProcessLookupError:
                raise Refused(f"{instance.label} has ended meanwhile") from None
            if stressors.joinable(pid, "cpu"):
                key: Any = (cpus, *cgroups.folders(pid, "cpu"))
                found.setdefault(key, _Place(cpus, pid, cgroups.cpu_limit(pid)))
            else:
                found.setdefault(cpus, _Place(cpus, None, None))
        return list(found.values())

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        for place in self._places(instances):
            cpus = ",".join(str(cpu) for cpu in sorted(place.cpus))
            wanted = ["--workers", str(self._workers(place)), "--load", str(self.load), "--cpus", cpus]
            self._start("cpu", wanted, place.cgroup_of)

    def witness(self, instances: Sequence[Instance]) -> Sight:
        places = self._places(instances)
        processes = stressors.running(self.mark)
        if not processes:
            return Sight(False, "no stressor runs")
        tick = os.sysconf("SC_CLK_TCK")
        before, busy_before, started = self._ticks(processes), psutil.cpu_times(percpu=True), time.monotonic()
        time.sleep(_LOOK_S)
        used, lasted = (self._ticks(processes) - before) / tick, time.monotonic() - started
        busy_after = psutil.cpu_times(percpu=True)
        cpus = frozenset[int]().union(*(place.cpus for place in places))
        busy = min(_busy(busy_before[cpu], busy_after[cpu]) for cpu in cpus)
        wanted = sum(self._share_of(place) for place in places)
        got = used / lasted
        what = f"the stressors use {got:.2f} of {wanted:.2f} processors, each of {len(cpus)} is {busy:.0%} busy"
        return Sight(got >= wanted / 2 or (got >= wanted / 10 and busy >= 0.9), what)

    def _share_of(self, place: _Place) -> float:
        """Processors' worth of time that the stressors of a place can have, next to nothing else."""
        most = min(self._workers(place) * self.load, float(len(place.cpus)))
        # a limit is shared with the instances that it was made for
        return most if place.limit is None else min(most, place.limit / 2)

    def _ticks(self, processes: Sequence[ProcessId]) -> int:
        return sum(cpu_ticks(process) or 0 for process in processes)


def _busy(before: Any, after: Any) -> float:
    """The share of a processor's time in which it was not idle."""
    passed = sum(after) - sum(before)
    idle = (after.idle + after.iowait) - (before.idle + before.iowait)
    return 1.0 - idle / passed if passed > 0 else 0.0


@makes("memory_stress", "local")
class MemoryStress(Stress):
    """Memory taken and touched, a process for each instance; never so much that the machine runs short."""

    made_by = "a process for each instance that takes memory and touches it each second"
    needs = (
        "512 MiB of memory that stay available; root puts the stressors into the instances' control groups, where "
        "their limits count too"
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

    def _joins(self, instance: Instance) -> bool:
        return stressors.joinable(int(process_of(instance).pid), "memory")

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        for instance in instances:
            cgroup = int(instance.id) if self._joins(instance) else None
            self._start("memory", ["--bytes", str(self.size)], cgroup)

    def witness(self, instances: Sequence[Instance]) -> Sight:
        held, wanted = stressors.resident_bytes(stressors.running(self.mark)), self.size * len(instances)
        dropped = self._free_before - available_memory()
        what = f"{held >> 20} of {wanted >> 20} MiB are resident beside {names(instances)}"
        return Sight(held >= 0.9 * wanted, f"{what}; {dropped >> 20} MiB less are available than before")
