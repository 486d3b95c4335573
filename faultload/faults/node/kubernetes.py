"""Drain a node: cordoned, and its pods evicted; only where all of them are declared."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import WitnessReport, choose
from faultload.faults.pods import KubernetesFault
from faultload.platforms import platform_of
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.client import Pod, asking, core, is_gone, pod_from, pods_of, said
from faultload.platforms.kubernetes.helper import FAULT_LABEL, fault_label
from faultload.platforms.kubernetes.rights import Demands, rights
from faultload.spec.target import TargetFile

_EVICTED_WITHIN_S = 60.0
_LEFT_WITHIN_S = 60.0
_MIRROR = "kubernetes.io/config.mirror"


@makes("drain_node", "kubernetes")
class DrainNode(KubernetesFault):
    """The node of one instance is cordoned and its pods are evicted, one Eviction each, by UID.

    Not by chaostoolkit-kubernetes: its `drain_nodes` evicts whatever is on the node, leaves out pods with an
    emptyDir without a word, gives up at the first refusal, and leaves no mark by which undo could tell our
    cordon from somebody else's.
    """

    gone_within_s = 120.0
    made_by = (
        "cordons the node, with our own mark, and creates an Eviction (policy/v1) for each declared pod on it, by "
        "UID"
    )
    needs = "Kubernetes 1.22 for policy/v1 Evictions; a node with only declared and DaemonSet pods"
    witnessed_by = "those pods have ended, and only DaemonSet pods run on the node"
    undone_by = "uncordons the node if the mark is ours, even after half a drain; has no timer"
    not_run = "inject and undo tested only against recorded API answers"

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        return Demands(
            (
                *rights("list", "pods", cluster=True),
                *rights("get patch", "nodes", cluster=True),
                *rights("create", "pods/eviction"),
            ),
            served=("v1 pods/eviction policy/v1",),
        )

    @property
    def service(self) -> str:
        return str(self.request.arguments["service"])

    def _node_of(self, pods: Sequence[Pod], instance: Instance) -> str:
        node = next((pod.node for pod in pods if pod.uid == instance.id), "")
        if not node:
            raise TargetError(f"{instance.label} is no longer on a node")
        return node

    def resolve(self) -> list[Instance]:
        """Every declared pod on the node of one chosen instance. Raises Refused where others are on it too."""
        (chosen,) = choose(self.request, self.service, platform_of(self.target).instances(self.service))
        node = self._node_of(pods_of(self.target, self.service), chosen)
        if self._read(node).spec.unschedulable:
            raise Refused(f"node {node} is already cordoned, so undo could not know whether to uncordon it")
        declared = {
            instance.id: instance
            for service in self.target.services
            for instance in platform_of(self.target).instances(service)
        }
        found = []
        for pod in self._on(node):
            if pod.uid not in declared:
                raise Refused(
                    f"node {node} holds pod {pod.namespace}/{pod.name}, which the target file does not declare"
                )
            if pod.owner is None:
                raise Refused(f"{pod.name} on node {node} has no controller: nothing would bring it back")
            found.append(declared[pod.uid])
        return sorted(found, key=lambda one: (one.service, one.name))

    def _on(self, node: str) -> list[Pod]:
        """The pods on a node that an eviction would be for: none of a DaemonSet, static, or ended."""
        with asking(f"list the pods on node {node}"):
            found = core(self.target).list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}")
        every = [(one, pod_from(one)) for one in found.items]
        return [
            pod
            for one, pod in every
            if _MIRROR not in (one.metadata.annotations or {})
            and pod.phase not in ("Succeeded", "Failed")
            and (pod.owner is None or pod.owner[0] != "DaemonSet")
        ]

    def _read(self, node: str) -> Any:
        with asking(f"look at node {node}"):
            return core(self.target).read_node(node)

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        pods = {pod.uid: pod for service in self.target.services for pod in pods_of(self.target, service)}
        nodes = {pods[one.id].node for one in instances if one.id in pods}
        if len(nodes) != 1:
            raise TargetError("the pods of the node moved before the fault: nothing was touched")
        node = self._read(nodes.pop())
        ready = {service: len(platform_of(self.target).ready(service)) for service in self.target.services}
        return {
            "node": str(node.metadata.name),
            "uid": str(node.metadata.uid),
            "mark": fault_label(self.request.fault_id),
            "pods": [{"namespace": pods[one.id].namespace, "name": one.name, "uid": one.id} for one in instances],
            "expected": {service: count for service, count in ready.items() if count},
        }

    def prepare(self, instances: Sequence[Instance]) -> None:
        self._plan = self.undo_plan(instances)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        node = self._read(plan["node"])
        if node.metadata.uid != plan["uid"] or node.spec.unschedulable:
            raise TargetError(f"node {plan['node']} changed before the fault: nothing was touched")
        self._mark(node, plan["mark"], cordoned=True)
        deadline = time.monotonic() + min(_EVICTED_WITHIN_S, max(self.request.duration_s, 1.0))
        for pod in plan["pods"]:
            self._evict(pod, deadline)

    def _mark(self, node: Any, mark: str | None, *, cordoned: bool) -> bool:
        """Cordon or uncordon a node as it was when looked at; False when it changed since."""
        from kubernetes.client.exceptions import ApiException

        body = {
            "metadata": {"resourceVersion": node.metadata.resource_version, "labels": {FAULT_LABEL: mark}},
            "spec": {"unschedulable": cordoned or None},
        }
        with asking(f"{'cordon' if cordoned else 'uncordon'} node {node.metadata.name}"):
            try:
                core(self.target).patch_node(node.metadata.name, body)
            except ApiException as error:
                if error.status != 409 or cordoned:
                    raise
                return False
        return True

    def _evict(self, pod: Mapping[str, str], deadline: float) -> None:
        """Ask for one pod's eviction until a disruption budget allows it. Raises TargetError when none does."""
        from kubernetes import client
        from kubernetes.client.exceptions import ApiException

        body = client.V1Eviction(
            metadata=client.V1ObjectMeta(name=pod["name"], namespace=pod["namespace"]),
            delete_options=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=pod["uid"])),
        )
        with asking(f"evict {pod['name']}"):
            while True:
                try:
                    core(self.target).create_namespaced_pod_eviction(pod["name"], pod["namespace"], body)
                    return
                except ApiException as error:
                    if is_gone(error) or error.status == 409:
                        return
                    if error.status != 429:
                        raise
                    if time.monotonic() >= deadline:
                        raise TargetError(
                            f"a disruption budget keeps {pod['name']} on the node: {said(error)}"
                        ) from None
                    time.sleep(0.5)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        node = self._plan["node"]
        deadline = time.monotonic() + _LEFT_WITHIN_S
        while (left := [pod.name for pod in self._on(node)]) and time.monotonic() < deadline:
            time.sleep(0.5)
        if left:
            return WitnessReport(False, f"still on node {node}: {', '.join(left)}")
        return WitnessReport(True, f"node {node} is empty: {len(instances)} pods left it")

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Whether the node is still cordoned by this fault: whoever uncordons it lets pods in again."""
        node = self._marked(plan)
        if node is None or not node.spec.unschedulable:
            return WitnessReport(False, f"somebody uncordoned node {plan['node']}")
        return WitnessReport(True, f"node {plan['node']} is cordoned")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Uncordons the very node where it still carries the mark of this fault."""
        while True:
            node = self._marked(plan)
            if node is None or self._mark(node, None, cordoned=False):
                return

    def _marked(self, plan: Mapping[str, Any]) -> Any:
        """The node where it is there and carries this fault's mark; None elsewhere."""
        from kubernetes.client.exceptions import ApiException

        with asking(f"look at node {plan['node']}"):
            try:
                node = core(self.target).read_node(plan["node"])
            except ApiException as error:
                if is_gone(error):
                    return None
                raise
        mine = node.metadata.uid == plan["uid"] and (node.metadata.labels or {}).get(FAULT_LABEL) == plan["mark"]
        return node if mine else None

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """The node carries no mark, and as many pods are ready as before."""
        if self._marked(plan) is not None:
            return WitnessReport(False, f"node {plan['node']} is still cordoned by this fault")
        short = [
            f"{service}: {ready} of {count} pods are ready"
            for service, count in plan["expected"].items()
            if (ready := len(platform_of(self.target).ready(service))) < count
        ]
        return WitnessReport(not short, "; ".join(short) or f"node {plan['node']} takes pods, all are ready again")
