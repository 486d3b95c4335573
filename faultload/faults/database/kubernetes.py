"""Failover and switchover of a database on Kubernetes, under Patroni, CloudNativePG or neither."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.faults.database import cloudnativepg
from faultload.faults.database.cloudnativepg import CloudNativeFailover, CloudNativeSwitchover
from faultload.faults.database.cluster_fault import ClusterFault, FailoverFault, SwitchoverFault
from faultload.faults.database.kubernetes_primary import PrimaryDies, instance_of
from faultload.faults.pods import Delegated, KubernetesFault
from faultload.platforms.base import Instance
from faultload.platforms.databases import patroni
from faultload.platforms.kubernetes.api_proxy import proxied
from faultload.platforms.kubernetes.client import Pod, asking, core, namespace_of, pods_of, running_container
from faultload.platforms.kubernetes.rights import EXEC, Demands, Right, rights
from faultload.spec.target import TargetFile

PROXY = (Right("get", "pods/proxy"), Right("create", "pods/proxy"))
"""What asking a member's Patroni through the API server needs, where the target file declares no URLs."""


def with_urls(target: TargetFile, service: str) -> TargetFile:
    """The target with the URLs of its Patroni members: the declared ones, or its pods by the API server."""
    declared = target.services[service]
    if declared.patroni is not None:
        return target
    urls = [proxied(target, namespace, name, port) for namespace, name, port in _patroni_pods(target, service)]
    named = declared.model_copy(update={"patroni": urls})
    return target.model_copy(update={"services": {**target.services, service: named}})


def _patroni_pods(target: TargetFile, service: str) -> list[tuple[str, str, int]]:
    """Namespace, name and REST port of the pods in which Patroni says so by the annotation `status`."""
    selector, namespace = target.services[service].selector, namespace_of(target, service)
    with asking(f"list the pods of service '{service}'"):
        pods = core(target).list_namespaced_pod(namespace, label_selector=selector).items
    found = []
    for pod in pods:
        try:
            status = json.loads((pod.metadata.annotations or {}).get("status", ""))
            port = int(str(status["api_url"]).split("/")[2].rsplit(":", 1)[1])
        except (ValueError, KeyError, IndexError, TypeError):
            continue
        found.append((namespace, str(pod.metadata.name), port))
    return sorted(found)


def keeper_of(target: TargetFile, service: str) -> str:
    """Who keeps a service's database: `patroni`, `cloudnativepg`, or `nobody` that is known here."""
    if service not in target.services:
        raise Refused(f"there is no service '{service}' in the target file")
    if target.services[service].patroni is not None:
        return "patroni"
    if any(cloudnativepg.CLUSTER in pod.labels for pod in pods_of(target, service)):
        return "cloudnativepg"
    return "patroni" if _patroni_pods(target, service) else "nobody"


class _OfPatroni(ClusterFault):
    """A cluster under Patroni whose members are pods, found by their names or addresses."""

    gone_within_s = 60.0

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(with_urls(target, str(request.argument("service", "db"))), request)

    def _pod_of(self, leader: patroni.Member) -> Pod:
        pods = [pod for pod in pods_of(self.target, self.service) if not pod.leaving]
        named = [pod for pod in pods if pod.name == leader.name]
        found = named or [pod for pod in pods if pod.ip == leader.host]
        if not found:
            raise Refused(f"no pod of service '{self.service}' is its leader {leader.name} ({leader.host})")
        return found[0]


class PatroniFailover(PrimaryDies, _OfPatroni, FailoverFault):
    """The leader's postmaster dies, or its pod; Patroni makes another one the leader."""

    def gate(self) -> list[str]:
        # a member is brought back by the kubelet and not by undo: there is no hurry to wait for
        return ClusterFault.gate(self)

    def _primary(self) -> Pod:
        return self._pod_of(self._leader())

    def _bring_back(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Nothing: the kubelet and the pod's controller do."""


class PatroniSwitchover(_OfPatroni, SwitchoverFault):
    """The leader hands over through Patroni's own API."""

    def _instance(self, leader: patroni.Member) -> Instance:
        return instance_of(self.target, self.service, self._pod_of(leader))


class PlainFailover(PrimaryDies, KubernetesFault):
    """The one pod that the service's selector finds: it must pick the primary."""

    gone_within_s = 120.0

    def _primary(self) -> Pod:
        pods = [pod for pod in self._pods() if not pod.leaving]
        if len(pods) != 1:
            raise Refused(
                f"service '{self.service}' has {len(pods)} pods, and nothing says which is the primary: give a "
                "selector that picks it, or `patroni` URLs"
            )
        if pods[0].owner is None:
            raise Refused(
                f"{pods[0].name} of service '{self.service}' has no controller: nothing would bring it back"
            )
        return pods[0]

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Nothing to restore: the controller of the pod brings it back."""

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """A pod that the selector finds is ready, and what died does not run in it."""
        ready = [pod for pod in self._pods() if pod.ready]
        for pod in ready:
            container = running_container(self.target, self.service, pod)
            if container is None or (self.whole_member and container.id == plan["container"]):
                continue
            if self.whole_member or self._other_postmaster(pod, plan):
                return WitnessReport(True, f"{pod.name} is ready")
        return WitnessReport(False, f"no pod of service '{self.service}' is ready with a new server")

    def _other_postmaster(self, pod: Pod, plan: Mapping[str, Any]) -> bool:
        try:
            found = self._postmaster(pod)
        except Refused:
            return False
        container = running_container(self.target, self.service, pod)
        return container is not None and (container.id != plan["container"] or found != plan["postmaster"])


class PlainSwitchover(KubernetesFault):
    """Refused: a hand-over in order needs somebody who keeps the database."""

    def resolve(self) -> list[Instance]:
        service = str(self.request.argument("service", "db"))
        raise Refused(
            f"service '{service}' cannot switch over: it is kept neither by Patroni nor by CloudNativePG; "
            "failover_database works on any database"
        )

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self.resolve()

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        return WitnessReport(False, "nothing was done")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Nothing was done."""

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        return WitnessReport(True, "nothing was done")


class _Kept(Delegated):
    """Does a fault in the way of whoever keeps the database; which way, is in the plan."""

    gone_within_s = 120.0
    ways: ClassVar[Mapping[str, type[PlatformFault]]] = {}
    _way: PlatformFault | None = None
    _keeper = ""

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        wanted = [*EXEC, *rights("list delete", "pods")]
        selectors = [str(service.selector) for service in target.services.values()]
        if any("cnpg.io/" in selector for selector in selectors):
            wanted += cloudnativepg.RIGHTS
        elif not any(service.patroni for service in target.services.values()):
            wanted += PROXY
        return Demands(tuple(wanted))

    def _by(self, plan: Mapping[str, Any] | None = None) -> PlatformFault:
        if self._way is None:
            service = str(self.request.argument("service", "db"))
            self._keeper = str(plan["keeper"]) if plan is not None else keeper_of(self.target, service)
            self._way = self.ways[self._keeper](self.target, self.request)
        return self._way

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {**super().undo_plan(instances), "keeper": self._keeper}


@makes("failover_database", "kubernetes")
class Failover(_Kept):
    """The primary dies."""

    made_by = (
        "SIGKILL to the postmaster, by exec in the primary's container; with mode `member`, to everything in the "
        "container, and the pod is deleted"
    )
    needs = "a shell in the container; Patroni, CloudNativePG, or a selector that picks the primary's pod"
    witnessed_by = "that postmaster, or that pod, is gone"
    undone_by = (
        "Patroni, the operator or the controller restores it; if there is no leader, the old one is told to start "
        "again"
    )
    not_run = "CloudNativePG"
    ways: ClassVar[Mapping[str, type[PlatformFault]]] = {
        "patroni": PatroniFailover,
        "cloudnativepg": CloudNativeFailover,
        "nobody": PlainFailover,
    }


@makes("switchover_database", "kubernetes")
class Switchover(_Kept):
    """The leader hands over in order."""

    made_by = (
        "Patroni: `POST /switchover`; CloudNativePG: sets `targetPrimary` of the Cluster, as `kubectl cnpg "
        "promote` does"
    )
    needs = "Patroni or CloudNativePG"
    witnessed_by = "another member leads, according to the members or the operator"
    undone_by = "nothing to undo: any leader is a healthy state"
    not_run = "CloudNativePG"
    ways: ClassVar[Mapping[str, type[PlatformFault]]] = {
        "patroni": PatroniSwitchover,
        "cloudnativepg": CloudNativeSwitchover,
        "nobody": PlainSwitchover,
    }

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        return Demands(tuple(right for right in super().demands(target).rights if right not in EXEC))
