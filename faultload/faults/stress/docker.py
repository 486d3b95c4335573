"""Processor time and memory taken inside the control groups of containers, so that their limits count too."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psutil

from faultload.agents.stress.stressor import MEMORY_FLOOR, available_memory
from faultload.agents.when_told import PREPARED
from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import FaultRequest, WitnessReport
from faultload.faults.containers import HELPER_S, OnContainers, at_once
from faultload.platforms.base import Instance, names
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker import helper as docker_helper
from faultload.platforms.docker.stats import Usage, usage
from faultload.spec import units
from faultload.spec.target import TargetFile

if TYPE_CHECKING:
    from docker.models.containers import Container

_CONTROL_GROUPS = "/sys/fs/cgroup"
_CAPABILITIES = ("SYS_PTRACE", "SYS_CHROOT", "DAC_OVERRIDE")
"""To enter a container's folders as it sees them, whoever owns them."""
_LOOK_S = 1.0
_LOOKS = 3
_OVERHEAD = 24 * 1024**2
"""What a memory stressor itself takes beside what it was asked for."""


class InContainers(OnContainers):
    """A fault made by stressors in the control groups of containers, each in a helper container of its own."""

    needs_helper = True
    preparation_s = HELPER_S
    needs = "helper containers that see the machine's processes and control groups"
    undone_by = "removes the helper, which also ends with its container or 5 s after the fault's duration"

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self._prepared: dict[str, Container] = {}
        """The helper of each instance, by its id."""
        self._stressors: dict[str, str] = {}
        """Which container each helper stresses, by the helper's id."""

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        self.the_very(instances)
        return {}

    def prepare_in(self, instance: Instance, what: str, arguments: Sequence[str]) -> None:
        """Start the helper of a stressor in the control groups of a container; it waits. Raises TargetError."""
        from docker.types import Mount

        (one,) = self.the_very([instance])
        argv = [
            "python3",
            "-m",
            "faultload.agents.stress.container_stress",
            *_process(one),
            what,
            "--when-told",
            "--seconds",
            f"{self.expires_s:.1f}",
        ]
        self._prepared[instance.id] = docker_helper.start(
            [*argv, *arguments],
            self.request.fault_id,
            says=PREPARED,
            sees_machine=True,
            cap_add=list(_CAPABILITIES),
            cgroupns="host",
            mounts=[Mount(target="/machine/cgroup", source=_CONTROL_GROUPS, type="bind")],
        )

    def begin_in(self, instance: Instance) -> None:
        """Let a prepared stressor begin, and wait until it is in effect. Raises TargetError with what it says."""
        self.the_very([instance])
        helper = self._prepared[instance.id]
        docker_helper.tell(helper, docker_helper.READY)
        self._stressors[str(helper.id)] = instance.name

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        at_once(self.begin_in, instances)

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Whether every stressor's helper runs: it ends with the stressor, and with the container."""
        running = {
            str(one.id) for one in docker_helper.helpers_of(self.request.fault_id) if one.status == "running"
        }
        over = [name for id_, name in self._stressors.items() if id_ not in running]
        if over:
            return WitnessReport(False, f"the stressor in {', '.join(over)} ended")
        return WitnessReport(True, f"{len(running)} stressors run")

    def look_into(self, one: Container, what: str, folder: str, file_names: Sequence[str] = ()) -> dict[str, Any]:
        """What a folder's file system has free, and which files are there; see `container_files`."""
        argv = ["python3", "-m", "faultload.agents.container.files", *_process(one), what, folder, *file_names]
        said = docker_helper.run(argv, self.request.fault_id, 30.0, sees_machine=True, cap_add=list(_CAPABILITIES))
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Raises TargetError at once for a container that is paused now, where that keeps the stress alive."""
        found = [one for instance in instances if (one := docker_client.container_of(instance)) is not None]
        frozen = [str(one.name) for one in found if docker_client.state_of(one)["Paused"]]
        if frozen and docker_helper.helpers_of(self.request.fault_id) and _freezes_signals():
            raise TargetError(
                f"{', '.join(frozen)} is paused, and nothing in a frozen control group can be ended: "
                "undo the pause first"
            )
        docker_helper.remove(self.request.fault_id)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        helpers = docker_helper.helpers_of(self.request.fault_id)
        if helpers:
            return WitnessReport(False, f"{len(helpers)} helpers of this fault are still there")
        left = [instance.name for instance in instances if stressors_in(instance)]
        if left:
            return WitnessReport(False, f"a stressor still runs in {', '.join(left)}")
        return WitnessReport(True, f"no stressor runs in {names(instances)} any more")


def _freezes_signals() -> bool:
    """Whether a SIGKILL waits until a frozen process is thawed, as in control groups of version 1."""
    with docker_client.asking("say of which version its control groups are"):
        return str(docker_client.client().info().get("CgroupVersion", "1")) == "1"


def _process(one: Container) -> list[str]:
    """A container's id and its main process."""
    return [str(one.id), str(docker_client.state_of(one)["Pid"])]


def stressors_in(instance: Instance) -> int:
    """How many stressor processes are in the control group of a container, as its engine lists them."""
    from docker.errors import APIError

    one = docker_client.container_of(instance)
    if one is None:
        return 0
    with docker_client.asking(f"list the processes of {one.name}"):
        try:
            found = one.top(ps_args="-eo pid,args")["Processes"] or []
        except APIError as error:
            # 409: it ended meanwhile; 500: so did one of its processes
            if error.status_code not in (409, 500):
                raise
            return 0
    return sum("faultload.agents.stress.container_stress" in process[-1] for process in found)


@makes("cpu_stress", "docker")
class CpuStress(InContainers):
    """Busy processes in the control group of the container: they share its processor limit and its weight."""

    made_by = "busy processes in the container's own control group"
    witnessed_by = (
        "over 1 s, the control group's use has grown by a quarter of what was asked for, or is at its limit"
    )
    _before: Mapping[str, float] = {}

    def prepare(self, instances: Sequence[Instance]) -> None:
        self._before = _rates(instances)
        arguments = ["--load", str(self.request.argument("load", 1.0))]
        if self.request.argument("workers") is not None:
            arguments += ["--workers", str(self.request.argument("workers"))]
        at_once(lambda one: self.prepare_in(one, "cpu", arguments), instances)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        """The engine counts the control group's time; the stressors' own presence is looked at, too."""
        absent = [instance.name for instance in instances if not stressors_in(instance)]
        if absent:
            return WitnessReport(False, f"no stressor runs in {', '.join(absent)}")
        for _ in range(_LOOKS):
            sight = self._look(instances)
            if sight.seen:
                break
        return sight

    def _look(self, instances: Sequence[Instance]) -> WitnessReport:
        psutil.cpu_percent(percpu=True)
        after = _rates(instances)
        full = docker_client.engine_is_here() and min(psutil.cpu_percent(percpu=True)) >= 90
        seen, told = True, []
        for instance in instances:
            wanted, limit = self._wanted(instance, len(instances))
            grew = after[instance.id] - self._before[instance.id]
            at_limit = after[instance.id] >= 0.9 * limit
            seen &= at_limit or grew >= wanted * (0.1 if full else 0.25)
            told.append(f"{instance.name} uses {after[instance.id]:.2f} of {limit:g} processors, {grew:+.2f}")
        return WitnessReport(seen, "; ".join(told))

    def _wanted(self, instance: Instance, beside: int) -> tuple[float, float]:
        """Processors' worth of time that was asked for and can be had, and what the container may have at most.

        `beside`: how many containers are stressed at once; together they have no more than the machine.
        """
        one = docker_client.container_of(instance)
        if one is None:
            raise TargetError(f"{instance.label} ended during the fault")
        most = cpu_limit(one)
        workers = self.request.argument("workers", most)
        asked = float(workers) * float(self.request.argument("load", 1.0))
        return min(asked, most, processors() / beside), most


def _rates(instances: Sequence[Instance]) -> dict[str, float]:
    """Processors' worth of time that each container uses, over a second."""
    before = {one.id: _usage(one) for one in instances}
    time.sleep(_LOOK_S)
    after = {one.id: _usage(one) for one in instances}
    return {id_: (used.cpu_s - before[id_].cpu_s) / (used.at_s - before[id_].at_s) for id_, used in after.items()}


def _usage(instance: Instance) -> Usage:
    found = usage(instance.id)
    if found is None:
        raise TargetError(f"{instance.label} does not run")
    return found


def processors() -> float:
    """How many processors the engine's machine has."""
    with docker_client.asking("say how many processors it has"):
        return float(docker_client.client().info()["NCPU"])


def cpu_limit(one: Container) -> float:
    """How many processors' worth of time a container may use at most."""
    host = one.attrs["HostConfig"]
    most = processors()
    if host.get("CpusetCpus"):
        most = min(most, float(_count(host["CpusetCpus"])))
    if host.get("NanoCpus"):
        most = min(most, host["NanoCpus"] / 1e9)
    if host.get("CpuQuota", 0) > 0:
        most = min(most, host["CpuQuota"] / (host.get("CpuPeriod") or 100_000))
    return most


def _count(cpus: str) -> int:
    """How many processors a list such as 0-2,5 names."""
    ends = [[int(end) for end in part.split("-")] for part in cpus.split(",")]
    return sum(end[-1] - end[0] + 1 for end in ends)


@makes("memory_stress", "docker")
class MemoryStress(InContainers):
    """Memory taken and touched in the control group of the container, up to its limit."""

    made_by = "a process in the container's own control group takes memory and touches it every second"
    needs = f"{InContainers.needs}; 512 MiB of the machine's memory left over"
    witnessed_by = "the control group holds more memory than before, by nine tenths of the amount or more"
    _before: Mapping[str, int] = {}

    @property
    def size(self) -> int:
        return units.size(self.request.arguments["bytes"])

    def resolve(self) -> list[Instance]:
        if self.size < 1:
            raise Refused("bytes is above 0")
        return super().resolve()

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Refuse what a limit or the machine cannot spare."""
        self._before = {instance.id: _usage(instance).memory_bytes for instance in instances}
        for instance, one in zip(instances, self.the_very(instances), strict=True):
            limit = int(one.attrs["HostConfig"].get("Memory") or 0)
            room = limit - self._before[instance.id] - _OVERHEAD
            if limit and self.size > room:
                raise Refused(
                    f"{instance.label} has room for {max(0, room) >> 20} MiB below its limit of {limit >> 20} MiB, "
                    f"not for {self.size >> 20} MiB"
                )
        if docker_client.engine_is_here():
            wanted, free = self.size * len(instances), available_memory()
            if free - wanted < MEMORY_FLOOR:
                raise Refused(
                    f"memory_stress of {wanted >> 20} MiB in all would leave {max(0, free - wanted) >> 20} MiB "
                    f"available, {MEMORY_FLOOR >> 20} MiB must stay"
                )
        at_once(lambda one: self.prepare_in(one, "memory", ["--bytes", str(self.size)]), instances)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        seen, told = True, []
        for instance in instances:
            grew = _usage(instance).memory_bytes - self._before[instance.id]
            seen &= grew >= 0.9 * self.size
            told.append(f"{instance.name} holds {grew >> 20} MiB more than before")
        return WitnessReport(seen and bool(told), "; ".join(told))
