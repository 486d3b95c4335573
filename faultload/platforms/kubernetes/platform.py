"""The Kubernetes platform: instances are pods of declared selectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from faultload.errors import TargetError
from faultload.host.processes import in_a_control_group_here
from faultload.platforms.base import Instance, Platform
from faultload.platforms.kubernetes.client import (
    Pod,
    api_client,
    asking,
    core,
    is_gone,
    namespaces,
    pods_of,
    running_container,
    server_url,
)
from faultload.platforms.kubernetes.rights import HELPER, LOOK, Demands, Right, demanding, merged

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


class Kubernetes(Platform):
    """Pods found by the selectors of the target file, through the API of one context."""

    def identity(self) -> str:
        """`kubernetes:`, the UID of the namespace kube-system, and the target's namespace."""
        with asking("ask the cluster who it is (namespace kube-system)"):
            found = core(self.target).read_namespace("kube-system")
        namespace = self.target.namespace or next(iter(namespaces(self.target)), "")
        return f"kubernetes:{found.metadata.uid}:{namespace}"

    @property
    def address(self) -> str:
        return server_url(self.target)

    def unproven(self) -> list[str]:
        """A reason where no node runs on this machine's kernel, and no container of a service as a process here."""
        mine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        if mine in self._boots() or in_a_control_group_here([*self._containers()]):
            return []
        return [f"nothing shows that the cluster at {self.address} runs on this machine"]

    def _boots(self) -> set[str]:
        """What the nodes say of their kernels; nothing where they may not be asked."""
        try:
            with asking("ask which machines its nodes are"):
                return {str(node.status.node_info.boot_id) for node in core(self.target).list_node().items}
        except TargetError:
            return set()

    def _containers(self) -> Iterator[str]:
        for service in self.target.services:
            for pod in pods_of(self.target, service):
                container = running_container(self.target, service, pod)
                if container is not None and container.id:
                    yield container.id

    def instances(self, service: str) -> list[Instance]:
        """Pods whose container runs and that are not being deleted."""
        return [instance for _, instance in self._instances(service)]

    def ready(self, service: str) -> list[Instance]:
        """Those of them whose Ready condition holds."""
        return [instance for pod, instance in self._instances(service) if pod.ready]

    def _instances(self, service: str) -> list[tuple[Pod, Instance]]:
        port = self.target.services[service].port
        found = []
        for pod in pods_of(self.target, service):
            container = running_container(self.target, service, pod)
            if container is not None and container.started is not None and not pod.leaving:
                found.append((pod, Instance(service, pod.uid, container.started, pod.name, port)))
        return found

    def not_ready(self, service: str) -> list[str]:
        """By the pods' Ready condition; of a declared Patroni cluster, by its members."""
        declared = self.target.services[service]
        if declared.patroni is not None:
            from faultload.platforms.databases.patroni import cluster_problems

            return cluster_problems(service, declared.patroni)
        there = [pod for pod in pods_of(self.target, service) if not pod.leaving]
        ready = sum(pod.ready for pod in there)
        wanted = declared.count or max(1, len(there))
        floor = wanted if declared.min_ready is None else declared.min_ready
        if ready >= floor:
            return []
        return [f"{service}: {ready} of {wanted} pods are ready, {floor} must be"]

    def preflight(self, faults: Mapping[str, type]) -> list[str]:
        """Rights for inject and undo, API versions, and whether a privileged helper pod would be let in."""
        api = api_client(self.target)
        found: list[str] = []
        demands: dict[str, Demands] = {
            word: fault.demands(self.target) for word, fault in sorted(faults.items()) if demanding(fault)
        }
        found += self._missing_rights(api, demands)
        for kind, demand in demands.items():
            for served in demand.served:
                if not _serves(api, served):
                    found.append(f"{kind}: this cluster's API has no {served}")
        if not found and merged(demands.values()).helper:
            found += self._refused_helpers()
        return found

    def helper_namespaces(self) -> list[str]:
        """Where helper pods may run."""
        return [self.target.helper_namespace] if self.target.helper_namespace else namespaces(self.target)

    def _missing_rights(self, api: ApiClient, demands: dict[str, Demands]) -> Iterator[str]:
        """Each right that is missing, once, with the fault that needs it and the manifest that grants it."""
        asked: dict[tuple[Right, str | None], bool] = {}
        for kind, demand in {"": Demands(LOOK), **demands}.items():
            wanted = [(right, where) for right in demand.rights for where in self._where(right)]
            if demand.helper:
                wanted += [(right, where) for right in HELPER for where in self.helper_namespaces()]
            missing: dict[str, list[str]] = {}
            for right, where in dict.fromkeys(wanted):
                if (right, where) not in asked:
                    asked[right, where] = allowed(api, right, where)
                    if not asked[right, where]:
                        missing.setdefault(where or "", []).append(str(right))
            for where, lacking in missing.items():
                place = f"in namespace '{where}'" if where else "in the cluster"
                yield (
                    f"{kind or 'every fault'} needs the right to {', '.join(lacking)} {place}: "
                    f"deploy/rbac/{kind or 'look'}.yaml grants it "
                    f"(`python -m faultload.faults.rbac {kind or 'look'}` prints it)"
                )

    def _where(self, right: Right) -> list[str | None]:
        return [None] if right.cluster else [*namespaces(self.target)]

    def _refused_helpers(self) -> Iterator[str]:
        from faultload.platforms.kubernetes.helper import refused

        for namespace in self.helper_namespaces():
            why = refused(self.target, namespace)
            if why is not None:
                yield (
                    f"namespace '{namespace}' does not let a privileged helper pod in ({why}): name another as "
                    "helper_namespace in the target file"
                )


def allowed(api: ApiClient, right: Right, namespace: str | None) -> bool:
    """Whether this user has a right, as the cluster itself answers (SelfSubjectAccessReview)."""
    from kubernetes import client

    resource, _, subresource = right.resource.partition("/")
    attributes = client.V1ResourceAttributes(
        verb=right.verb,
        group=right.group,
        resource=resource,
        subresource=subresource or None,
        namespace=namespace,
        name=right.name or None,
    )
    review = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    )
    with asking("ask the cluster for this user's rights"):
        answer = client.AuthorizationV1Api(api).create_self_subject_access_review(review)
    return bool(answer.status is not None and answer.status.allowed)


def _serves(api: ApiClient, kind: str) -> bool:
    """Whether the API serves a kind of objects, written as in `Demands.served`."""
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException

    where, resource, *own = kind.split()
    group, _, version = where.rpartition("/")
    with asking(f"ask what the API serves of {where}"):
        try:
            if group:
                answer = client.CustomObjectsApi(api).get_api_resources(group, version)
            else:
                answer = client.CoreV1Api(api).get_api_resources()
        except ApiException as error:
            if is_gone(error):
                return False
            raise
    for one in answer.resources:
        if one.name == resource and (not own or f"{one.group}/{one.version}" == own[0]):
            return True
    return False


PLATFORM = Kubernetes
