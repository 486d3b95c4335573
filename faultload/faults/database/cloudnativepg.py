"""Failover and switchover of PostgreSQL clusters managed by CloudNativePG.

The operator's own words are used: the label `cnpg.io/cluster` on its pods, and in the Cluster's status
`currentPrimary`, `targetPrimary`, `readyInstances` and `phase` (CloudNativePG documentation, "API Reference").
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.faults.database.kubernetes_primary import PrimaryDies, instance_of
from faultload.faults.pods import KubernetesFault
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.client import Pod, api_client, asking, namespace_of, pods_of
from faultload.platforms.kubernetes.rights import Right
from faultload.spec.target import TargetFile

CLUSTER = "cnpg.io/cluster"
GROUP, VERSION, PLURAL = "postgresql.cnpg.io", "v1", "clusters"
HEALTHY = "Cluster in healthy state"
SWITCHING = "Switchover in progress"
_MOVED_S = 60.0
RIGHTS = (Right("get", PLURAL, GROUP), Right("patch", f"{PLURAL}/status", GROUP))


class _OnCluster(PlatformFault):
    """A fault on the Cluster that a service's pods belong to; gone when a primary leads and all are ready."""

    gone_within_s = 120.0
    target: TargetFile
    service: str

    def gate(self) -> list[str]:
        status = self._status()
        phase = str(status.get("phase", "unknown"))
        found = [] if phase == HEALTHY else [f"{self.service}: the cluster is not healthy: {phase}"]
        if int(status.get("readyInstances", 0)) < 2:
            found.append(
                f"{self.service}: {status.get('readyInstances', 0)} instances are ready: nobody could take over"
            )
        if status.get("currentPrimary") != status.get("targetPrimary"):
            found.append(f"{self.service}: {status.get('targetPrimary')} is just taking over")
        return found

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        status = self._status()
        return {
            "cluster": self._cluster_name(),
            "primary": status.get("currentPrimary"),
            "timeline": int(status.get("timelineID") or 0),
            "ready": int(status.get("readyInstances", 0)),
        }

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        status = self._status(str(plan["cluster"]))
        primary, ready = status.get("currentPrimary"), int(status.get("readyInstances", 0))
        text = f"{primary} leads, {ready} of {plan['ready']} instances are ready: {status.get('phase')}"
        whole = primary is not None and primary == status.get("targetPrimary") and ready >= int(plan["ready"])
        return WitnessReport(whole and status.get("phase") == HEALTHY, text)

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Nothing to restore: the operator brings the member back, and who leads is no part of a healthy state."""

    # the cluster

    def _cluster_pods(self) -> list[Pod]:
        return pods_of(self.target, self.service)

    def _cluster_name(self) -> str:
        names = {pod.labels[CLUSTER] for pod in self._cluster_pods() if CLUSTER in pod.labels}
        if len(names) != 1:
            raise Refused(f"the pods of service '{self.service}' belong to {len(names)} clusters of CloudNativePG")
        return names.pop()

    def _status(self, cluster: str | None = None) -> dict[str, Any]:
        name = cluster or self._cluster_name()
        found = self._read(name).get("status")
        return dict(found) if isinstance(found, dict) else {}

    def _read(self, name: str) -> dict[str, Any]:
        from kubernetes.client import CustomObjectsApi

        namespace = namespace_of(self.target, self.service)
        with asking(f"look at the CloudNativePG cluster {name}"):
            api: Any = CustomObjectsApi(api_client(self.target))
            return dict(api.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name))

    def _primary_pod(self) -> Pod:
        primary = self._status().get("currentPrimary")
        found = next((pod for pod in self._cluster_pods() if pod.name == primary), None)
        if found is None:
            raise Refused(f"service '{self.service}' has no primary: nothing to fail over")
        return found


class CloudNativeFailover(PrimaryDies, _OnCluster, KubernetesFault):
    """The primary's postmaster dies, or its pod."""

    def _primary(self) -> Pod:
        return self._primary_pod()


class CloudNativeSwitchover(_OnCluster, KubernetesFault):
    """The Cluster's `targetPrimary` names another instance, as `kubectl cnpg promote` does it."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.service = str(request.argument("service", "db"))
        self._plan: Mapping[str, Any] = {}

    def resolve(self) -> list[Instance]:
        self._candidate()
        return [instance_of(self.target, self.service, self._primary_pod())]

    def _candidate(self) -> str:
        """Who takes over: the one that was asked for, or the first ready standby. Raises Refused."""
        pods, primary = {pod.name: pod for pod in self._cluster_pods()}, self._primary_pod().name
        wanted = self.request.argument("candidate")
        able = sorted(name for name, pod in pods.items() if pod.ready and name != primary)
        if wanted is None and not able:
            raise Refused(f"service '{self.service}' cannot switch over: no standby is ready")
        if wanted is not None and wanted not in able:
            why = "leads already" if wanted == primary else "is no ready instance"
            raise Refused(f"service '{self.service}' cannot switch over: '{wanted}' {why}")
        fenced = str(
            (self._read(self._cluster_name())["metadata"].get("annotations") or {}).get(
                "cnpg.io/fencedInstances", ""
            )
        )
        free = [
            name for name in ([wanted] if wanted else able) if f'"{name}"' not in fenced and '"*"' not in fenced
        ]
        if not free:
            raise Refused(f"service '{self.service}' cannot switch over: {wanted or 'every standby'} is fenced")
        return str(free[0])

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {**super().undo_plan(instances), "candidate": self._candidate()}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """One patch of the status, refused by the API when anything changed since it was read."""
        from kubernetes.client import CustomObjectsApi

        self._plan = plan
        cluster = self._read(str(plan["cluster"]))
        if cluster["status"].get("currentPrimary") != plan["primary"]:
            raise TargetError(f"{plan['primary']} no longer leads, so nothing was touched")
        change = {
            "metadata": {"resourceVersion": cluster["metadata"]["resourceVersion"]},
            "status": {
                "targetPrimary": plan["candidate"],
                "targetPrimaryTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "phase": SWITCHING,
                "phaseReason": f"Switching over to {plan['candidate']}",
            },
        }
        with asking(f"switch {plan['cluster']} over to {plan['candidate']}"):
            api: Any = CustomObjectsApi(api_client(self.target))
            api.patch_namespaced_custom_object_status(
                GROUP,
                VERSION,
                namespace_of(self.target, self.service),
                PLURAL,
                plan["cluster"],
                change,
                _content_type="application/merge-patch+json",
            )

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        deadline = time.monotonic() + _MOVED_S
        while True:
            leads = self._status(str(self._plan["cluster"])).get("currentPrimary")
            text = f"{leads or 'nobody'} leads now, {self._plan['primary']} led before"
            if leads == self._plan["candidate"]:
                return WitnessReport(True, text)
            if time.monotonic() >= deadline:
                return WitnessReport(False, text)
            time.sleep(0.2)
