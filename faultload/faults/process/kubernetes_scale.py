"""Scale: fewer or more pods, through the Deployment or StatefulSet that owns them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.pods import KubernetesFault
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes import selectors as label_selectors
from faultload.platforms.kubernetes.client import api_client, asking, is_gone, namespace_of, pods_in, pods_of
from faultload.platforms.kubernetes.extension import actions
from faultload.platforms.kubernetes.rights import Demands, rights
from faultload.spec.target import TargetFile

_SEEN_S = 30.0


@dataclass(frozen=True, slots=True)
class Owner:
    """A Deployment or StatefulSet as it is now."""

    kind: str
    name: str
    namespace: str
    uid: str
    replicas: int
    version: str
    created: float
    selector: str


def apps(target: TargetFile) -> Any:
    """The apps API, by a client of its own."""
    from kubernetes.client import AppsV1Api

    return AppsV1Api(api_client(target))


def read_owner(target: TargetFile, kind: str, name: str, namespace: str) -> Owner | None:
    """A Deployment or StatefulSet by its name; None when it is not there."""
    from kubernetes.client.exceptions import ApiException

    with asking(f"look at {kind} {name} in namespace '{namespace}'"):
        try:
            api = apps(target)
            read = api.read_namespaced_deployment if kind == "Deployment" else api.read_namespaced_stateful_set
            found = read(name, namespace)
        except ApiException as error:
            if is_gone(error):
                return None
            raise
    meta = found.metadata
    return Owner(
        kind,
        name,
        namespace,
        str(meta.uid),
        1 if found.spec.replicas is None else int(found.spec.replicas),
        str(meta.resource_version),
        float(meta.creation_timestamp.timestamp()),
        label_selectors.text(found.spec.selector),
    )


def owner_of(target: TargetFile, service: str) -> Owner:
    """The one Deployment or StatefulSet that keeps a service's pods, and none but these. Raises Refused."""
    namespace = namespace_of(target, service)
    pods = [pod for pod in pods_of(target, service) if not pod.leaving]
    if not pods:
        raise Refused(f"service '{service}' has no pods: nothing says what to scale")
    owners = {pod.owner for pod in pods}
    found = {_above(target, namespace, owner) for owner in owners}
    if len(found) != 1:
        listed = ", ".join(sorted(f"{kind} {name}" for kind, name in found))
        raise Refused(f"the pods of service '{service}' belong to several owners ({listed}): which one is meant?")
    kind, name = found.pop()
    owner = read_owner(target, kind, name, namespace) if kind in ("Deployment", "StatefulSet") else None
    if owner is None:
        raise Refused(f"the pods of service '{service}' belong to {kind} {name}, which cannot be scaled")
    declared = {pod.uid for pod in pods}
    others = [
        pod.name
        for pod in pods_in(target, namespace, owner.selector)
        if not pod.leaving and pod.uid not in declared
    ]
    if others:
        raise Refused(f"{kind} {name} has pods that service '{service}' does not declare: {', '.join(others)}")
    return owner


def _above(target: TargetFile, namespace: str, owner: tuple[str, str, str] | None) -> tuple[str, str]:
    """The owner that is scaled: for a ReplicaSet of a Deployment that Deployment."""
    if owner is None:
        return "nobody", "at all"
    kind, name, _ = owner
    if kind != "ReplicaSet":
        return kind, name
    with asking(f"look at ReplicaSet {name} in namespace '{namespace}'"):
        found = apps(target).read_namespaced_replica_set(name, namespace)
    above = [one for one in found.metadata.owner_references or [] if one.controller]
    return (str(above[0].kind), str(above[0].name)) if above else (kind, name)


@makes("scale", "kubernetes")
class Scale(KubernetesFault):
    """Another number of replicas; undo sets the number from before, unless somebody changed it meanwhile."""

    gone_within_s = 90.0
    made_by = (
        "chaostoolkit-kubernetes sets `replicas` of the Deployment or StatefulSet that owns the service's pods"
    )
    needs = "one owner for all of the service's pods and no others"
    witnessed_by = "the requested number of pods is ready, and the others are terminating"
    undone_by = "restores the earlier number, unless someone has changed it since; has no timer"

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        return Demands(
            (
                *rights("list", "pods"),
                *rights("get", "replicasets", "apps"),
                *rights("get patch", "deployments", "apps"),
                *rights("get patch", "statefulsets", "apps"),
            )
        )

    @property
    def service(self) -> str:
        return str(self.request.arguments["service"])

    @property
    def to(self) -> int:
        return int(self.request.arguments["to"])

    def resolve(self) -> list[Instance]:
        owner = owner_of(self.target, self.service)
        if owner.replicas == self.to:
            raise Refused(f"{owner.kind} {owner.name} has {self.to} replicas already: nothing to scale")
        return [Instance(self.service, owner.uid, owner.created, f"{owner.kind.lower()}/{owner.name}")]

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        owner = owner_of(self.target, self.service)
        return {
            "kind": owner.kind,
            "name": owner.name,
            "namespace": owner.namespace,
            "uid": owner.uid,
            "before": owner.replicas,
            "to": self.to,
        }

    def _owner(self, plan: Mapping[str, Any]) -> Owner | None:
        """The very owner, or None when it is gone; another of the same name is not it."""
        found = read_owner(self.target, plan["kind"], plan["name"], plan["namespace"])
        return found if found is not None and found.uid == plan["uid"] else None

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        owner = self._owner(plan)
        if owner is None or owner.replicas != plan["before"]:
            raise TargetError(f"{plan['kind']} {plan['name']} changed before the fault: nothing was touched")
        what = f"scale {owner.kind} {owner.name} to {self.to}"
        if owner.kind == "Deployment":
            with actions(self.target, "deployment.actions", what) as deployments:
                deployments.scale_deployment(owner.name, self.to, owner.namespace)
        else:
            with actions(self.target, "statefulset.actions", what) as sets:
                sets.scale_statefulset(owner.name, self.to, owner.namespace)

    def _counts(self) -> tuple[int, int]:
        """How many pods are ready, and how many are there and not leaving."""
        pods = [pod for pod in pods_of(self.target, self.service) if not pod.leaving]
        return sum(pod.ready for pod in pods), len(pods)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        deadline = time.monotonic() + _SEEN_S
        while (counts := self._counts()) != (self.to, self.to) and time.monotonic() < deadline:
            time.sleep(0.2)
        ready, there = counts
        return WitnessReport(
            counts == (self.to, self.to), f"{ready} of {there} pods are ready, {self.to} were asked for"
        )

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        owner = self._owner(plan)
        if owner is None:
            return WitnessReport(False, f"{plan['kind']} {plan['name']} was removed")
        if owner.replicas != int(plan["to"]):
            return WitnessReport(False, f"somebody set {owner.replicas} replicas, {plan['to']} were asked for")
        return WitnessReport(True, f"{owner.replicas} replicas are asked for")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Only what is as it was set: an autoscaler's or a person's number stays."""
        from kubernetes.client.exceptions import ApiException

        while (owner := self._owner(plan)) is not None and owner.replicas == plan["to"]:
            body = {"metadata": {"resourceVersion": owner.version}, "spec": {"replicas": plan["before"]}}
            api = apps(self.target)
            patch = (
                api.patch_namespaced_deployment if owner.kind == "Deployment" else api.patch_namespaced_stateful_set
            )
            with asking(f"scale {owner.kind} {owner.name} back to {plan['before']}"):
                try:
                    patch(owner.name, owner.namespace, body)
                except ApiException as error:
                    if error.status != 409:  # changed since it was looked at: look again
                        raise

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        owner = self._owner(plan)
        if owner is None:
            return WitnessReport(True, f"{plan['kind']} {plan['name']} was removed meanwhile")
        if owner.replicas not in (plan["before"], plan["to"]):
            return WitnessReport(True, f"somebody set {owner.replicas} replicas meanwhile: left as they are")
        ready, there = self._counts()
        before = int(plan["before"])
        seen = owner.replicas == before and ready == there == before
        return WitnessReport(seen, f"{ready} of {there} pods are ready, {before} before the fault")
