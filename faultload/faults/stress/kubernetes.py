"""Stress beside the containers of pods: processor time and memory, taken by helpers in their control groups."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from faultload.agents.stress.stressor import MEMORY_FLOOR
from faultload.agents.when_told import IDLE_S, PREPARED
from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import WitnessReport, choose
from faultload.faults.pods import HELPER_S, KubernetesFault
from faultload.platforms import platform_of
from faultload.platforms.base import Instance, names
from faultload.platforms.kubernetes import helper as helpers
from faultload.platforms.kubernetes.client import namespace_of, pods_of, running_container
from faultload.platforms.kubernetes.helper import Helper
from faultload.platforms.kubernetes.rights import Demands, rights
from faultload.spec import units
from faultload.spec.target import TargetFile

EXPIRY_MARGIN_S = 5.0
_READY_S = 60.0
_LOOK_S = 1.5
_METER_S = 60.0
_CGROUPS = "/sys/fs/cgroup"
_ROOM = 16 * 1024**2
_AT = 'pid=$(python3 -m faultload.agents.container.process pid "$1") || exit 1; shift; exec python3 -m '


class Stress(KubernetesFault):
    """A stressor for each instance, in a helper on its node that has joined its container's control groups."""

    gone_within_s = 60.0
    preparation_s = HELPER_S
    needs = "helper pods that see the node's processes and control groups; room for them on the node"
    undone_by = "deletes this fault's helper pods, which also end on their own 5 s after its duration"
    stress: ClassVar[str] = ""

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        return Demands(rights("list", "pods"), helper=True)

    @property
    def service(self) -> str:
        return str(self.request.arguments["service"])

    @property
    def namespace(self) -> str:
        return namespace_of(self.target, self.service)

    @property
    def mark(self) -> str:
        return f"faultload:{self.request.fault_id}"

    def _arguments(self) -> list[str]:
        raise NotImplementedError

    def resolve(self) -> list[Instance]:
        return choose(self.request, self.service, platform_of(self.target).instances(self.service))

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        containers = {}
        there = {pod.uid: pod for pod in pods_of(self.target, self.service)}
        for one in instances:
            pod = there.get(one.id)
            container = running_container(self.target, self.service, pod) if pod is not None else None
            if pod is None or pod.leaving or container is None or container.started != one.started:
                raise TargetError(f"{one.label} ended or restarted before the fault, so nothing was touched")
            containers[one.id] = {"id": container.id, "node": pod.node}
        return {
            "mark": self.mark,
            "containers": containers,
            "helpers": helpers.helper_namespace(self.target, self.namespace),
        }

    def prepare(self, instances: Sequence[Instance]) -> None:
        """What the containers use without the fault; and a helper for each, which waits until it is told to begin.

        Raises Refused for what a container or node cannot spare.
        """
        self._plan: Mapping[str, Any] = self.undo_plan(instances)
        self._running: list[Helper] = []
        self._before = self._measure(self._plan)
        self._refuse_too_much(instances)
        self._start_helpers(instances)

    def _refuse_too_much(self, instances: Sequence[Instance]) -> None:
        return

    def _start_helpers(self, instances: Sequence[Instance]) -> None:
        seconds = self.request.duration_s + EXPIRY_MARGIN_S
        argv = [self.stress, "--when-told", *self._arguments(), "--mark", self.mark, "--seconds", f"{seconds:.3f}"]
        script = f'{_AT}faultload.agents.stress.stressor "$@" --cgroup "$pid"'
        for one in instances:
            container = self._plan["containers"][one.id]
            helper = helpers.start(
                self.target,
                self._plan["helpers"],
                container["node"],
                helpers.waiting(["sh", "-c", script, "sh", container["id"], *argv]),
                self.request.fault_id,
                seconds + _READY_S + IDLE_S,
                capabilities=("DAC_OVERRIDE",),
                node_folders=(_CGROUPS,),
            )
            self._running.append(helper)
        for helper in self._running:
            helpers.wait_until_it_says(self.target, helper, PREPARED, _READY_S)

    def release(self) -> None:
        helpers.remove(self.target, helpers.helper_namespace(self.target, self.namespace), self.request.fault_id)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        helpers.tell_to_begin(self.target, self._running)
        for helper in self._running:
            helpers.wait_until_it_says(self.target, helper, "ready", _READY_S)

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Whether every stressor's helper runs, and the container beside it since the same start."""
        there = helpers.helpers_of(self.target, plan["helpers"], self.request.fault_id)
        running = {pod.uid for pod in there if pod.phase == "Running"}
        over = [f"the stressor in {one.name} ended" for one in self._running if one.uid not in running]
        pods = {pod.uid: pod for pod in pods_of(self.target, self.service)}
        for one in instances:
            pod = pods.get(one.id)
            container = None if pod is None else running_container(self.target, self.service, pod)
            if container is None or container.id != plan["containers"][one.id]["id"]:
                over.append(f"{one.name} ended or was started again")
        return WitnessReport(not over, "; ".join(over) or f"{len(self._running)} stressors run")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        helpers.remove(self.target, plan["helpers"], self.request.fault_id)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """No helper is left, and the nodes run no stressor with this fault's mark."""
        if left := helpers.helpers_of(self.target, plan["helpers"], self.request.fault_id):
            return WitnessReport(False, f"{len(left)} helper pods of the fault are still there")
        running = sum(len(found["stressors"]) for found in self._measure(plan).values())
        if running:
            return WitnessReport(False, f"{running} stressor processes still run")
        return WitnessReport(True, "no stressor of this fault runs on the nodes any more")

    # measuring

    def _meter(self, plan: Mapping[str, Any], node: str) -> list[str]:
        ids = [one["id"] for one in plan["containers"].values() if one["node"] == node]
        return ["python3", "-m", "faultload.agents.stress.cgroup_meter", "--mark", str(plan["mark"]), *ids]

    def _measure(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """By node, with a helper that looks once and ends."""
        found = {}
        look = f"{self.request.fault_id}/look"
        try:
            for node in sorted({one["node"] for one in plan["containers"].values()}):
                helper = helpers.start(
                    self.target,
                    plan["helpers"],
                    node,
                    self._meter(plan, node),
                    look,
                    _METER_S,
                    node_folders=(_CGROUPS,),
                )
                ended = helpers.wait_ended(self.target, helper)
                if ended.code != 0:
                    raise TargetError(f"the helper on {node} could not measure: {ended.message}")
                found[node] = json.loads(ended.message)
        finally:
            helpers.remove(self.target, plan["helpers"], look, wait_s=0.0)
        return found

    def _measure_here(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """By node, in the helpers that run already."""
        found = {}
        for helper in self._running:
            if helper.node not in found:
                done = helpers.execute_in(self.target, helper, self._meter(plan, helper.node))
                if done.code != 0:
                    raise TargetError(f"the helper on {helper.node} could not measure: {done.err.strip()}")
                found[helper.node] = json.loads(done.out)
        return found

    def _container(self, measured: Mapping[str, Any], instance: Instance) -> Mapping[str, Any]:
        place = self._plan["containers"][instance.id]
        found: Mapping[str, Any] = measured[place["node"]]["containers"].get(place["id"], {})
        if not found:
            raise TargetError(f"the container of {instance.label} does not run on {place['node']}")
        return found


@makes("cpu_stress", "kubernetes")
class CpuStress(Stress):
    """Busy processes within the processor limit of the container."""

    made_by = "busy processes in a helper pod that has joined the container's control groups"
    witnessed_by = (
        "over 1.5 s, the container's control group uses half of what was asked for or of its limit, or uses some "
        "while no processor on the node is idle"
    )
    stress = "cpu"

    def _arguments(self) -> list[str]:
        workers = self.request.argument("workers")
        return [
            *(["--workers", str(workers)] if workers else []),
            "--load",
            str(self.request.argument("load", 1.0)),
        ]

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        first = self._measure_here(self._plan)
        time.sleep(_LOOK_S)
        second = self._measure_here(self._plan)
        seen = []
        for one in instances:
            place = self._plan["containers"][one.id]["node"]
            node, earlier = second[place], first[place]
            before, after = self._container(first, one), self._container(second, one)
            if before["processor_s"] is None or after["processor_s"] is None:
                return WitnessReport(False, f"the processor time of {one.label} cannot be read on its node")
            passed = node["at_s"] - earlier["at_s"]
            busy = 1 - (node["idle_s"] - earlier["idle_s"]) / passed / node["processors"]
            used = (after["processor_s"] - before["processor_s"]) / passed
            workers = int(self.request.argument("workers", node["processors"]))
            wanted = min(workers, node["processors"]) * float(self.request.argument("load", 1.0))
            most = min(wanted, after["processors"] or wanted)
            text = f"{one.name} uses {used:.2f} of {most:.2f} processors, its node is {busy:.0%} busy"
            # on a node without an idle processor the container gets what its share is worth, and no more
            if used < most / 2 and not (used >= most / 10 and busy >= 0.9):
                return WitnessReport(False, text)
            seen.append(text)
        return WitnessReport(True, "; ".join(seen))


@makes("memory_stress", "kubernetes")
class MemoryStress(Stress):
    """Memory taken and touched within the memory limit of the container."""

    made_by = "a process in a helper pod that has joined the container's control groups takes memory and touches it"
    witnessed_by = (
        "nine tenths of the memory are resident in the stressors and charged to the container's control group"
    )
    stress = "memory"

    @property
    def size(self) -> int:
        return units.size(self.request.arguments["bytes"])

    def _arguments(self) -> list[str]:
        return ["--bytes", str(self.size)]

    def _refuse_too_much(self, instances: Sequence[Instance]) -> None:
        for one in instances:
            room = self._container(self._before, one)["memory_room_bytes"]
            if room is not None and room - self.size < _ROOM:
                raise Refused(
                    f"{one.label} has room for {room >> 20} MiB below its memory limit: {self.size >> 20} MiB "
                    "more would have it killed"
                )
        for node, measured in self._before.items():
            places = self._plan["containers"].values()
            wanted = self.size * sum(place["node"] == node for place in places)
            if measured["available_bytes"] - wanted < MEMORY_FLOOR:
                raise Refused(
                    f"node {node} has {measured['available_bytes'] >> 20} MiB available: {wanted >> 20} MiB of "
                    f"stress would leave less than {MEMORY_FLOOR >> 20} MiB"
                )

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        now = self._measure_here(self._plan)
        held = sum(measured["resident_bytes"] for measured in now.values())
        wanted = self.size * len(instances)
        text = f"{held >> 20} of {wanted >> 20} MiB are resident beside {names(instances)}"
        for one in instances:
            before, after = self._container(self._before, one), self._container(now, one)
            if before["memory_bytes"] is None or after["memory_bytes"] is None:
                return WitnessReport(False, f"the memory of {one.label} cannot be read on its node")
            more = after["memory_bytes"] - before["memory_bytes"]
            text += f", {more >> 20} MiB more are charged to {one.name}"
            if more < 0.8 * self.size:
                return WitnessReport(False, text)
        return WitnessReport(held >= 0.9 * wanted, text)
