"""Faults on pods: kill, terminate, restart."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.agents.when_told import IDLE_S, PREPARED
from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import WitnessReport, choose
from faultload.faults.pods import HELPER_S, KubernetesFault
from faultload.platforms import platform_of
from faultload.platforms.base import Instance, names
from faultload.platforms.kubernetes import helper as helpers
from faultload.platforms.kubernetes.client import (
    Pod,
    asking,
    container_of,
    core,
    is_gone,
    namespace_of,
    pods_of,
    running_container,
)
from faultload.platforms.kubernetes.extension import actions
from faultload.platforms.kubernetes.rights import Demands, rights
from faultload.spec.target import TargetFile

_NOTICED_S = 5.0
"""A kubelet has told the API of a container's death by then."""
_SEEN_S = 15.0
_HELPER_S = 90.0
_RESTART_GRACE_S = 10.0
_BACK_S = 60.0


class _OnPods(KubernetesFault):
    """Some pods of a service, chosen by seed, each with a controller or kubelet that brings it back."""

    gone_within_s = 60.0

    @property
    def service(self) -> str:
        return str(self.request.arguments["service"])

    @property
    def namespace(self) -> str:
        return namespace_of(self.target, self.service)

    def resolve(self) -> list[Instance]:
        chosen = choose(self.request, self.service, platform_of(self.target).instances(self.service))
        there = self._pods()
        for instance in chosen:
            pod = there.get(instance.id)
            if pod is not None and (why := self._nobody_brings_back(pod)):
                raise Refused(f"{pod.name} of service '{self.service}' {why}: nothing would bring it back")
        return chosen

    def _nobody_brings_back(self, pod: Pod) -> str | None:
        return None if pod.owner is not None else "has no controller"

    def _pods(self) -> dict[str, Pod]:
        return {pod.uid: pod for pod in pods_of(self.target, self.service)}

    def _the_very(self, instances: Sequence[Instance]) -> list[Pod]:
        """The pods that were chosen, as they are now. Raises TargetError when one is not the same any more."""
        there = self._pods()
        found = []
        for instance in instances:
            pod = there.get(instance.id)
            container = running_container(self.target, self.service, pod) if pod is not None else None
            if pod is None or pod.leaving or container is None or container.started != instance.started:
                raise TargetError(f"{instance.label} ended or restarted before the fault, so nothing was touched")
            found.append(pod)
        return found

    def _expected(self) -> int:
        return sum(pod.ready for pod in self._pods().values())

    def _back(self, plan: Mapping[str, Any]) -> WitnessReport:
        ready = [pod.name for pod in self._pods().values() if pod.ready]
        expected = int(plan["expected"])
        return WitnessReport(
            len(ready) >= expected, f"{len(ready)} of {expected} pods are ready: {', '.join(ready)}"
        )


@makes("kill", "kubernetes")
class Kill(_OnPods):
    """SIGKILL for the main process of the pod's container: a crash, seen from outside it."""

    preparation_s = HELPER_S
    made_by = "SIGKILL to the container's main process, found by container id, from a helper pod on its node"
    needs = "helper pods that see the node's processes and have the capability KILL"
    witnessed_by = "that container no longer runs: the pod has a new one, or none"
    undone_by = "the kubelet restarts it; a pod that stays down is deleted, and its controller makes a new one"

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        return Demands(rights("list delete", "pods"), helper=True)

    def _nobody_brings_back(self, pod: Pod) -> str | None:
        return None if pod.owner is not None or pod.restarts_always else "does not restart and has no controller"

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        containers = {}
        for pod in self._the_very(instances):
            container = pod.containers[container_of(self.target, self.service, pod)]
            containers[pod.uid] = {"id": container.id, "restarts": container.restarts}
        return {"expected": self._expected(), "containers": containers, "helpers": self._helpers}

    @property
    def _helpers(self) -> str:
        return helpers.helper_namespace(self.target, self.namespace)

    def prepare(self, instances: Sequence[Instance]) -> None:
        """One helper a node; it finds a container by the id that is written down, so never another."""
        self._before = self.undo_plan(instances)
        by_node: dict[str, list[str]] = {}
        for pod in self._the_very(instances):
            by_node.setdefault(pod.node, []).append(self._before["containers"][pod.uid]["id"])
        self._prepared = [
            helpers.start(
                self.target,
                self._helpers,
                node,
                helpers.waiting(["python3", "-m", "faultload.agents.container.process", "when-told", "kill", *ids]),
                self.request.fault_id,
                _HELPER_S + IDLE_S,
                capabilities=["KILL"],
            )
            for node, ids in by_node.items()
        ]
        for helper in self._prepared:
            helpers.wait_until_it_says(self.target, helper, PREPARED, _HELPER_S)

    def release(self) -> None:
        helpers.remove(self.target, self._helpers, self.request.fault_id)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        try:
            self._the_very(instances)
            helpers.tell_to_begin(self.target, self._prepared)
            for helper in self._prepared:
                ended = helpers.wait_ended(self.target, helper)
                if ended.code != 0:
                    raise TargetError(f"the helper on {helper.node} could not kill: {ended.message} ({ended.code})")
        finally:
            helpers.remove(self.target, plan["helpers"], self.request.fault_id, wait_s=0.0)

    def _alive(self, containers: Mapping[str, Any]) -> list[str]:
        """The pods whose very container still runs, as far as the API knows."""
        alive = []
        for uid, pod in self._pods().items():
            container = running_container(self.target, self.service, pod)
            if uid in containers and container is not None and container.id == containers[uid]["id"]:
                alive.append(pod.name)
        return alive

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        containers = self._before["containers"]
        deadline = time.monotonic() + _SEEN_S
        while alive := self._alive(containers):
            if time.monotonic() >= deadline:
                return WitnessReport(False, f"the container still runs: {', '.join(alive)}")
            time.sleep(0.1)
        return WitnessReport(True, f"the containers are gone: {names(instances)}")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Deletes the pods that stayed down, where a controller makes new ones."""
        helpers.remove(self.target, plan["helpers"], self.request.fault_id)
        there = self._pods()
        for instance in instances:
            pod = there.get(instance.id)
            if pod is None or pod.leaving or pod.owner is None:
                continue
            if running_container(self.target, self.service, pod) is None:
                _delete(self.target, pod)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        if helpers.helpers_of(self.target, plan["helpers"], self.request.fault_id):
            return WitnessReport(False, "a helper pod of the fault is still there")
        deadline = time.monotonic() + _NOTICED_S
        while (alive := self._alive(plan["containers"])) and time.monotonic() < deadline:
            time.sleep(0.2)
        back = self._back(plan)
        return WitnessReport(back.seen, f"{back.what}; never killed: {', '.join(alive)}") if alive else back


@makes("terminate", "kubernetes")
class Terminate(_OnPods):
    """The pod is deleted: SIGTERM, and SIGKILL after `grace_s`; its controller makes another."""

    made_by = "chaostoolkit-kubernetes deletes the pod with `grace_s`"
    needs = "a controller that replaces the pod"
    witnessed_by = "those pods, by UID, are gone"
    undone_by = "their controller replaces them; done when as many pods are ready as before"

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        return Demands(rights("list delete", "pods"))

    @property
    def grace_s(self) -> int:
        """Whole seconds, at least one: none at all would forget the pod before it has ended."""
        return max(1, math.ceil(float(self.request.argument("grace_s", _RESTART_GRACE_S))))

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {"expected": self._expected(), "pods": [instance.id for instance in instances]}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """By exact names of pods that are the very ones; what was deleted is compared with what was meant."""
        wanted = sorted(pod.name for pod in self._the_very(instances))
        pattern = "|".join(re.escape(name) for name in wanted)
        with actions(self.target, "pod.actions", f"delete {', '.join(wanted)}") as pods:
            deleted = pods.terminate_pods(
                label_selector=self.target.services[self.service].selector,
                name_pattern=f"^(?:{pattern})$",
                all=True,
                grace_period=self.grace_s,
                ns=self.namespace,
            )
        if sorted(deleted) != wanted:
            raise TargetError(
                f"{', '.join(wanted)} should have been deleted; deleted: {', '.join(deleted) or 'none'}"
            )
        there = self._pods()
        left = [there[one.id].name for one in instances if one.id in there and not there[one.id].leaving]
        if left:
            raise TargetError(f"not deleted: {', '.join(left)}")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        deadline = time.monotonic() + self.grace_s + _SEEN_S
        while left := [one for one in instances if self._runs(one)]:
            if time.monotonic() >= deadline:
                return WitnessReport(False, f"still running: {names(left)}")
            time.sleep(0.2)
        return WitnessReport(True, f"the pods ended: {names(instances)}")

    def _runs(self, instance: Instance) -> bool:
        pod = self._pods().get(instance.id)
        return pod is not None and running_container(self.target, self.service, pod) is not None

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Nothing to restore: the controller makes the missing pods, and nobody else could."""

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        return self._back(plan)


@makes("restart", "kubernetes")
class Restart(Terminate):
    """The pod is deleted, and its controller starts another: stopped and started by faultload's order."""

    made_by = "like `terminate`, with 10 s of grace"
    witnessed_by = "those pods, by UID, are gone, and as many pods are ready as before"

    def prepare(self, instances: Sequence[Instance]) -> None:
        self._before = self.undo_plan(instances)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        ended = super().witness(instances)
        if not ended.seen:
            return ended
        deadline = time.monotonic() + _BACK_S
        while not (back := self._back(self._before)).seen and time.monotonic() < deadline:
            time.sleep(0.2)
        return WitnessReport(back.seen, f"{ended.what}; {back.what}")


def _delete(target: TargetFile, pod: Pod) -> None:
    """Delete the very pod; nothing when it is gone or another has its name."""
    from kubernetes.client import V1DeleteOptions, V1Preconditions
    from kubernetes.client.exceptions import ApiException

    body = V1DeleteOptions(preconditions=V1Preconditions(uid=pod.uid))
    with asking(f"delete pod {pod.name}"):
        try:
            core(target).delete_namespaced_pod(pod.name, pod.namespace, body=body)
        except ApiException as error:
            if not is_gone(error) and error.status != 409:
                raise
