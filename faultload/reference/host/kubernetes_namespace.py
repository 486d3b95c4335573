"""A reference system's namespace: what is created in it, when it is ready, and how it is removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from faultload.errors import TargetError
from faultload.host.private import write_text
from faultload.platforms.kubernetes import client as cluster
from faultload.record.redactor import Redactor
from faultload.reference.host import kubernetes_manifests
from faultload.reference.host.kubernetes_manifests import Placement
from faultload.spec.target import TargetFile

QUOTED_LINES = 12
FORCED_AFTER_S = 30.0
LOG_BYTES = 10 * 1024 * 1024


class Namespace:
    """A namespace of one cluster by name; every method asks the API anew and raises TargetError for no answer."""

    def __init__(self, name: str, context: str | None) -> None:
        self.name = name
        self._about = TargetFile(
            id="reference", name="reference", platform="kubernetes", namespace=name, context=context
        )

    @property
    def _core(self) -> Any:
        return cluster.core(self._about)

    def reach(self) -> None:
        """Ask the API anything at all."""
        cluster.server_version(self._about)

    def read(self) -> Any | None:
        """The namespace as it is now, or None."""
        from kubernetes.client.exceptions import ApiException

        with cluster.asking(f"look for namespace '{self.name}'"):
            try:
                return self._core.read_namespace(self.name)
            except ApiException as error:
                if cluster.is_gone(error):
                    return None
                raise

    def is_of(self, start_id: str) -> bool:
        """Whether it is there, and this start made it."""
        return _made_by(self.read(), start_id)

    # made

    def make(self, place: Placement) -> None:
        """Every object; with a bridge where the API server listens on its node's loopback only."""
        api = cluster.api_client(self._about)
        first, *others = kubernetes_manifests.objects(place)
        with cluster.asking(f"make the reference system in namespace '{self.name}'"):
            kubernetes_manifests.create(api, first)
            if not self._pods_reach_the_api():
                port = urlsplit(str(api.configuration.host)).port or 443
                made = [kubernetes_manifests.create(api, one) for one in kubernetes_manifests.bridge(place, port)]
                address = str(made[0].spec.cluster_ip)
                others = [kubernetes_manifests.across(one, address) for one in others]
            for one in others:
                kubernetes_manifests.create(api, one)

    def _pods_reach_the_api(self) -> bool:
        """Whether anything is behind the service `kubernetes`; yes, where that may not be asked."""
        from kubernetes.client.exceptions import ApiException

        try:
            found = self._core.read_namespaced_endpoints("kubernetes", "default")
        except ApiException as error:
            return not cluster.is_gone(error)
        return bool(found.subsets)

    # ready

    def not_ready(self) -> str | None:
        """What is still missing of what its workloads ask for, in words; None when every pod is ready."""
        from kubernetes.client import AppsV1Api

        apps: Any = AppsV1Api(cluster.api_client(self._about))
        with cluster.asking(f"look at the workloads of namespace '{self.name}'"):
            found = [
                *apps.list_namespaced_deployment(self.name).items,
                *apps.list_namespaced_stateful_set(self.name).items,
            ]
        if not found:
            return "nothing was made yet"
        short = [
            f"{one.metadata.name} ({one.status.ready_replicas or 0} of {one.spec.replicas} pods)"
            for one in found
            if (one.status.ready_replicas or 0) < one.spec.replicas
        ]
        return f"not ready: {', '.join(short)}" if short else None

    def node_port(self, service: str, port: int) -> int:
        """The NodePort of a service's port."""
        with cluster.asking(f"look at service '{service}'"):
            found = self._core.read_namespaced_service(service, self.name)
        return int(next(one.node_port for one in found.spec.ports if one.port == port))

    def a_node(self) -> str:
        """The address of a node that runs one of its pods: NodePorts answer on every node."""
        addresses = sorted({str(pod.status.host_ip) for pod in self._pods() if pod.status.host_ip})
        if not addresses:
            raise TargetError(f"no pod of namespace '{self.name}' is on a node")
        return addresses[0]

    def _pods(self) -> list[Any]:
        with cluster.asking(f"list the pods of namespace '{self.name}'"):
            return list(self._core.list_namespaced_pod(self.name).items)

    def last_lines(self) -> str:
        """Of each pod that is not ready: what it waits for, and the end of its log."""
        lines = []
        for pod in self._pods():
            if not cluster.pod_from(pod).ready:
                lines.append(f"{pod.metadata.name}: {', '.join(_states(pod)) or pod.status.phase}")
                with suppress(TargetError):
                    lines += ["  " + line for line in self._log(pod, tail_lines=QUOTED_LINES).splitlines()]
        return "\n".join(lines)

    def _log(self, pod: Any, **asked: Any) -> str:
        with cluster.asking(f"read the log of pod {pod.metadata.name}"):
            return str(self._core.read_namespaced_pod_log(pod.metadata.name, self.name, **asked) or "")

    # gone

    def keep_logs(self, start_id: str, folder: Path) -> None:
        """The end of each container's log as a file, those of containers that were killed too."""
        if not self.is_of(start_id):
            return
        for pod in self._pods():
            for previous in (True, False):
                with suppress(TargetError):
                    text = self._log(pod, previous=previous, limit_bytes=LOG_BYTES)
                    ending = "-previous" if previous else ""
                    write_text(folder / f"{pod.metadata.name}{ending}.log", Redactor.from_environment().text(text))

    def remove(self, start_id: str, within_s: float) -> list[str]:
        """Remove it with all that is in it, if this start made it; what would not go, in words.

        Its pods get a second: nothing of them is worth an orderly end. Those that a busy node has not reported gone
        after a while are forgotten; their containers end all the same.
        """
        from kubernetes.client.exceptions import ApiException

        found = self.read()
        if not _made_by(found, start_id):
            return []
        assert found is not None
        uid = found.metadata.uid
        with cluster.asking(f"remove namespace '{self.name}'"):
            try:
                self._core.delete_namespace(self.name, body={"preconditions": {"uid": uid}})
            except ApiException as error:
                if error.status not in (404, 409):  # gone, or going already
                    raise
            self._core.delete_collection_namespaced_pod(self.name, grace_period_seconds=1)
        deadline, force_at = time.monotonic() + within_s, time.monotonic() + FORCED_AFTER_S
        while (now := self.read()) is not None and now.metadata.uid == uid:
            if time.monotonic() >= deadline:
                return [f"namespace {self.name}"]
            if time.monotonic() >= force_at:
                force_at = deadline
                with cluster.asking(f"remove the pods of namespace '{self.name}'"):
                    self._core.delete_collection_namespaced_pod(self.name, grace_period_seconds=0)
            time.sleep(0.25)
        return []


def _made_by(namespace: Any | None, start_id: str) -> bool:
    annotations = {} if namespace is None else namespace.metadata.annotations or {}
    return bool(annotations.get(kubernetes_manifests.START) == start_id)


def _states(pod: Any) -> Iterator[str]:
    """What the containers of a pod wait for, or how they ended."""
    for status in pod.status.container_statuses or []:
        state = status.state
        if state is not None and state.waiting is not None:
            yield f"{status.name} waits: {state.waiting.reason} {state.waiting.message or ''}".strip()
        elif state is not None and state.terminated is not None:
            yield f"{status.name} ended: {state.terminated.reason} ({state.terminated.exit_code})"
