"""Partition by NetworkPolicies of our own, where the cluster enforces them; the witness checks that it does."""

from __future__ import annotations

import ipaddress
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults.base import FaultRequest, WitnessReport
from faultload.faults.pods import KubernetesFault
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.client import (
    Pod,
    api_client,
    asking,
    container_of,
    execute,
    is_gone,
    namespace_of,
    open_exec,
    pods_of,
    running_container,
)
from faultload.platforms.kubernetes.extension import actions
from faultload.platforms.kubernetes.helper import FAULT_ID, fault_label, image, labels_of, source
from faultload.platforms.kubernetes.rights import EXEC, Demands, rights
from faultload.platforms.kubernetes.selectors import negated, requirements
from faultload.spec.target import TargetFile

EXPIRY_MARGIN_S = 5.0
_EXPIRING_SINCE = (1, 21)
"""Kubernetes removes finished Jobs by itself since 1.21 (TTL-after-finished, beta and on)."""
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that every namespace has since Kubernetes 1.21."""
_GROUP = "networking.k8s.io"
_LOOK_S = 10.0


def expires(target: TargetFile) -> bool:
    """Whether the cluster removes an expired policy by itself: by its owner, a Job that ends and is removed."""
    from kubernetes.client import VersionApi

    with asking("ask the cluster for its version"):
        found = VersionApi(api_client(target)).get_code()
    try:
        version = (int(found.major), int("".join(filter(str.isdigit, found.minor))))
    except ValueError:
        return False
    return version >= _EXPIRING_SINCE


def policy(name: str, fault_id: str, selector: str, other: Side, owner: Mapping[str, str] | None) -> dict[str, Any]:
    """A policy that lets the pods of a selector talk to everybody but the other side, both ways.

    Policies only allow: everybody else is allowed instead. Whoever selects a pod of the other side is left
    out by each of its labels in turn, since not all of them together hold for anybody else.
    """
    away = {"key": _NAMESPACE_NAME, "operator": "NotIn", "values": [other.namespace]}
    there = {"matchLabels": {_NAMESPACE_NAME: other.namespace}}
    peers: list[dict[str, Any]] = [{"namespaceSelector": {"matchExpressions": [away]}}]
    peers += [
        {"namespaceSelector": there, "podSelector": {"matchExpressions": [expression]}}
        for expression in negated(other.selector)
    ]
    for whole, version in (("0.0.0.0/0", 4), ("::/0", 6)):
        hosts = [ip for ip in other.ips if ipaddress.ip_address(ip).version == version]
        block: dict[str, Any] = {"cidr": whole}
        if hosts:
            block["except"] = [f"{ip}/{32 if version == 4 else 128}" for ip in hosts]
        peers.append({"ipBlock": block})
    metadata: dict[str, Any] = {"name": name, "labels": labels_of(fault_id), "annotations": {FAULT_ID: fault_id}}
    if owner is not None:
        metadata["ownerReferences"] = [
            {"apiVersion": "batch/v1", "kind": "Job", "name": owner["name"], "uid": owner["uid"]}
        ]
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchExpressions": requirements(selector)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peers}],
            "egress": [{"to": peers}],
        },
    }


def expiry(name: str, fault_id: str, seconds: float) -> dict[str, Any]:
    """A Job that ends after some seconds and is then removed, and what it owns with it."""
    longest = math.ceil(seconds)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels_of(fault_id), "annotations": {FAULT_ID: fault_id}},
        "spec": {
            "activeDeadlineSeconds": longest,
            "ttlSecondsAfterFinished": 0,
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels_of(fault_id)},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {
                            "name": "timer",
                            "image": image(),
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["sleep", str(longest)],
                        }
                    ],
                },
            },
        },
    }


class Side:
    """One end of a link: its pods, where they are, and how they are selected."""

    def __init__(self, target: TargetFile, service: str) -> None:
        self.service = service
        self.namespace = namespace_of(target, service)
        self.selector = str(target.services[service].selector)
        self.pods = [
            pod
            for pod in pods_of(target, service)
            if not pod.leaving and running_container(target, service, pod) is not None
        ]

    @property
    def ips(self) -> list[str]:
        return sorted(pod.ip for pod in self.pods if pod.ip)


class PolicyPartition(KubernetesFault):
    """Two policies, one a side, that forbid only the traffic between them."""

    gone_within_s = 30.0
    made_by = "two NetworkPolicies named after the fault allow all traffic except the link's"
    needs = "a cluster that enforces NetworkPolicies, 1.21 or newer; python3 in the client's container"
    witnessed_by = "from the client's containers: neither old nor new connections get an answer"
    undone_by = "deletes exactly these policies; they also go when the Job that owns them ends"
    not_run = "an enforced policy, and its expiry by ownerReference"

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.link = str(request.arguments["link"])
        if self.link not in target.links:
            raise Refused(f"link '{self.link}' is not declared in the target file")
        self.client, self.server = self.link.split(" -> ")
        self._probes: dict[str, Any] = {}

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        policies = rights("list create delete", "networkpolicies", _GROUP)
        timers = rights("list create delete", "jobs", "batch")
        return Demands(
            (*rights("list", "pods"), *EXEC, *policies, *timers), served=(f"{_GROUP}/v1 networkpolicies",)
        )

    @property
    def port(self) -> int:
        declared = self.target.links[self.link].port or self.target.services[self.server].port
        if declared is None:
            raise Refused(f"link '{self.link}' has no port in the target file: nothing could be asked over it")
        return declared

    @property
    def protocol(self) -> str:
        return self.target.links[self.link].protocol or "tcp"

    def _sides(self) -> tuple[Side, Side]:
        return Side(self.target, self.client), Side(self.target, self.server)

    def resolve(self) -> list[Instance]:
        """The pods of both ends. Raises Refused where one end has none, or nothing could be asked over the link."""
        _ = self.port
        sides = self._sides()
        for side in sides:
            if not side.pods:
                raise Refused(f"service '{side.service}' has no running pods: nothing to part")
        return [
            Instance(side.service, pod.uid, started, pod.name, self.port if side is sides[1] else None)
            for side in sides
            for pod in side.pods
            if (started := pod.containers[container_of(self.target, side.service, pod)].started) is not None
        ]

    def _run(self, pod: Pod, argv: Sequence[str]) -> int | None:
        try:
            return execute(
                self.target, pod.namespace, pod.name, container_of(self.target, self.client, pod), argv
            ).code
        except TargetError as error:
            if "Forbidden" in str(error):
                raise
            return None

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        hashed = fault_label(self.request.fault_id)
        places = {service: namespace_of(self.target, service) for service in (self.client, self.server)}
        return {
            "policies": [
                {"name": f"faultload-{hashed}-{end}", "namespace": places[service], "service": service}
                for end, service in (("client", self.client), ("server", self.server))
            ],
            "job": f"faultload-{hashed}",
            "expires": expires(self.target),
        }

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Connections from each client to each server, opened before the fault and held.

        Raises Refused where a client's container has nothing to open them with.
        """
        client, server = self._sides()
        for pod in client.pods:
            if self._run(pod, ["python3", "-c", "pass"]) != 0:
                raise Refused(
                    f"{pod.name} has no python3 to see with whether traffic stops: use `network: helper` in the "
                    "target file"
                )
        addresses = [f"{ip}:{self.port}" for ip in server.ips]
        argv = ["python3", "-c", source("pod_probe"), self.protocol, *addresses]
        for pod in client.pods:
            container = container_of(self.target, self.client, pod)
            probe = open_exec(self.target, pod.namespace, pod.name, container, argv, stdin=True)
            self._probes[pod.name] = probe
            opened = _line(probe, 3.0 + 4.0 * len(addresses))
            if opened.get("open") != len(addresses):
                self._close_probes()
                raise TargetError(f"{self.link}: {pod.name} does not reach every server before the fault")

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        from kubernetes.client import BatchV1Api

        fault_id = self.request.fault_id
        client, server = self._sides()
        owners: dict[str, Mapping[str, str]] = {}
        if plan["expires"]:
            timer: Any = expiry(plan["job"], fault_id, self.request.duration_s + EXPIRY_MARGIN_S)
            for namespace in sorted({one["namespace"] for one in plan["policies"]}):
                with asking(f"create the Job that ends the policies in namespace '{namespace}'"):
                    job = BatchV1Api(api_client(self.target)).create_namespaced_job(namespace, timer)
                owners[namespace] = {"name": plan["job"], "uid": str(job.metadata.uid)}  # type: ignore[union-attr]
        for one in plan["policies"]:
            mine, other = (client, server) if one["service"] == client.service else (server, client)
            spec = policy(one["name"], fault_id, mine.selector, other, owners.get(one["namespace"]))
            with actions(self.target, "networking.actions", f"create NetworkPolicy {one['name']}") as networking:
                networking.create_network_policy(spec=spec, ns=one["namespace"])

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        """Asks over every held connection and over new ones; nothing may answer."""
        seen: list[str] = []
        try:
            for name, probe in self._probes.items():
                probe.write_stdin("look\n")
                found = _line(probe, _LOOK_S)
                if not found.get("held"):
                    return WitnessReport(False, f"{name} holds no connection from before the fault")
                seen += [f"an established connection from {name} to {it}" for it in found["established"]]
                seen += [f"a new connection from {name} to {it}" for it in found["new"]]
        finally:
            self._close_probes()
        if seen:
            return WitnessReport(
                False, f"traffic goes on, this cluster does not enforce the policy: {'; '.join(seen)}"
            )
        return WitnessReport(True, f"{self.link}: no answer over established connections, none over new ones")

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Whether the policies are there: asking over the link would need a process in the client for each look."""
        namespaces = sorted({one["namespace"] for one in plan["policies"]})
        there = {str(found.metadata.name) for namespace in namespaces for found in self._policies(namespace)}
        gone = [one["name"] for one in plan["policies"] if one["name"] not in there]
        what = f"somebody deleted {', '.join(gone)}" if gone else f"{len(there)} policies are there"
        return WitnessReport(not gone, what)

    def _close_probes(self) -> None:
        while self._probes:
            self._probes.popitem()[1].close()

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Deletes the policies of these names that carry this fault's label, and the Job that owns them."""
        self._close_probes()
        names = {one["name"] for one in plan["policies"]}
        for namespace in sorted({one["namespace"] for one in plan["policies"]}):
            for found in self._policies(namespace):
                if found.metadata.name in names:
                    self._delete("NetworkPolicy", found.metadata, namespace)
            if plan["expires"]:
                for found in self._jobs(namespace):
                    self._delete("Job", found.metadata, namespace)

    def _labels(self) -> str:
        return ",".join(f"{key}={value}" for key, value in labels_of(self.request.fault_id).items())

    def _policies(self, namespace: str) -> Iterable[Any]:
        from kubernetes.client import NetworkingV1Api

        with asking(f"look for policies in namespace '{namespace}'"):
            api = NetworkingV1Api(api_client(self.target))
            return list(api.list_namespaced_network_policy(namespace, label_selector=self._labels()).items)

    def _jobs(self, namespace: str) -> Iterable[Any]:
        from kubernetes.client import BatchV1Api

        with asking(f"look for Jobs in namespace '{namespace}'"):
            api = BatchV1Api(api_client(self.target))
            return list(api.list_namespaced_job(namespace, label_selector=self._labels()).items)

    def _delete(self, kind: str, meta: Any, namespace: str) -> None:
        from kubernetes.client import BatchV1Api, NetworkingV1Api, V1DeleteOptions, V1Preconditions
        from kubernetes.client.exceptions import ApiException

        client = api_client(self.target)
        body = V1DeleteOptions(preconditions=V1Preconditions(uid=str(meta.uid)), propagation_policy="Background")
        with asking(f"delete {kind} {meta.name}"):
            try:
                if kind == "Job":
                    BatchV1Api(client).delete_namespaced_job(meta.name, namespace, body=body)
                else:
                    NetworkingV1Api(client).delete_namespaced_network_policy(meta.name, namespace, body=body)
            except ApiException as error:
                if not is_gone(error) and error.status != 409:
                    raise

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """No policy of ours is left, and a client reaches a server."""
        left = [
            str(found.metadata.name)
            for namespace in sorted({one["namespace"] for one in plan["policies"]})
            for found in self._policies(namespace)
        ]
        if left:
            return WitnessReport(False, f"still there: {', '.join(left)}")
        client, server = self._sides()
        if not client.pods or not server.pods:
            return WitnessReport(True, "the policies are gone, and nobody is there to ask with")
        addresses = [f"{ip}:{self.port}" for ip in server.ips]
        argv = ["python3", "-c", source("pod_probe"), self.protocol, *addresses]
        pod = client.pods[0]
        probe = open_exec(
            self.target, pod.namespace, pod.name, container_of(self.target, self.client, pod), argv, stdin=True
        )
        try:
            opened = _line(probe, 3.0 + 4.0 * len(addresses)).get("open", 0)
        finally:
            probe.close()
        return WitnessReport(opened > 0, f"{self.link}: {pod.name} reaches {opened} of {len(addresses)} servers")


def _line(probe: Any, timeout_s: float) -> dict[str, Any]:
    """The next line of a probe's answers; empty when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0 and probe.is_open():
        with suppress(ValueError):
            text = probe.readline_stdout(timeout=left)
            if text:
                return dict(json.loads(text))
    return {}
