"""Drain of a node against recorded answers of the API: refused, made, seen, and undone also after half of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded_api import Answer, RecordedApi, recorded, status

from faultload.errors import Refused, TargetError
from faultload.faults import preflight
from faultload.faults.base import FaultRequest
from faultload.faults.node.kubernetes import DrainNode
from faultload.spec.target import TargetFile

PODS = "/api/v1/namespaces/shop/pods"
NODES = "/api/v1/nodes"
TARGET = TargetFile.model_validate(
    {
        "id": "k",
        "name": "shop",
        "platform": "kubernetes",
        "namespace": "shop",
        "services": {"web": {"selector": "app=web"}},
    }
)


class Cluster(RecordedApi):
    """A node with two pods of a Deployment; an eviction removes a pod, unless a budget refuses."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.put(NODES, recorded("node"))
        for pod in recorded("pods")["items"]:
            self.put(PODS, pod)
        self.refusals = 0
        self.special.append(self.evict)

    def evict(self, method: str, path: str, body: Any) -> Answer | None:
        if method != "POST" or not path.endswith("/eviction"):
            return None
        name = path.split("/")[-2]
        if self.refusals:
            self.refusals -= 1
            return status(
                429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget."
            )
        pod = self.objects[PODS].get(name)
        if pod is None:
            return status(404, "NotFound", f'pods "{name}" not found')
        if body["deleteOptions"]["preconditions"]["uid"] != pod["metadata"]["uid"]:
            return status(409, "Conflict", "the UID in the precondition does not match")
        del self.objects[PODS][name]
        return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    @property
    def node(self) -> dict[str, Any]:
        found: dict[str, Any] = self.objects[NODES]["node1"]
        return found

    def other_pod(self, name: str, **changes: Any) -> None:
        pod = copy.deepcopy(recorded("pods")["items"][0])
        pod["metadata"] = {**pod["metadata"], "name": name, "uid": f"uid-of-{name}", **changes}
        self.put(PODS, pod)

    def come_back(self) -> None:
        for pod in recorded("pods")["items"]:
            pod["metadata"]["uid"] = f"new-{pod['metadata']['uid']}"
            self.put(PODS, pod)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    yield cluster
    cluster.close()


def drain(duration_s: float = 5.0) -> DrainNode:
    return DrainNode(TARGET, FaultRequest("drain#1@run", "drain_node", {"service": "web"}, duration_s))


def writes(cluster: Cluster) -> list[tuple[str, str]]:
    return [(method, path) for method, path, _ in cluster.asked if method != "GET"]


def test_a_drain_cordons_the_node_evicts_its_pods_by_uid_and_is_undone_once(cluster: Cluster) -> None:
    fault = drain()
    instances = fault.resolve()
    assert [instance.id for instance in instances] == [pod["metadata"]["uid"] for pod in recorded("pods")["items"]]
    fault.prepare(instances)
    plan = fault.undo_plan(instances)
    assert writes(cluster) == []
    fault.inject(instances, plan)
    assert cluster.node["spec"]["unschedulable"] is True
    assert fault.witness(instances).seen
    assert not drain().gone(instances, plan).seen
    drain().undo(instances, plan)
    assert "unschedulable" not in cluster.node["spec"]
    assert "faultload.io/fault" not in cluster.node["metadata"]["labels"]
    assert drain().gone(instances, plan).what == "web: 0 of 2 pods are ready"
    cluster.come_back()
    assert drain().gone(instances, plan).seen
    before = (len(writes(cluster)), copy.deepcopy(cluster.node))
    drain().undo(instances, plan)
    assert (len(writes(cluster)), cluster.node) == before


def test_trap_a_refused_eviction_never_leaves_the_node_cordoned(cluster: Cluster) -> None:
    """drain_nodes gives up at the first refusal of a disruption budget and leaves its nodes cordoned."""
    fault = drain(duration_s=1.0)
    instances = fault.resolve()
    plan = fault.undo_plan(instances)
    cluster.refusals = 1000
    with pytest.raises(TargetError, match=r"a disruption budget keeps web-.* on the node: Cannot evict"):
        fault.inject(instances, plan)
    assert cluster.node["spec"]["unschedulable"] is True
    drain().undo(instances, plan)
    assert "unschedulable" not in cluster.node["spec"]
    assert drain().gone(instances, plan).seen


def test_a_refusal_that_passes_is_waited_for(cluster: Cluster) -> None:
    fault = drain()
    instances = fault.resolve()
    plan = fault.undo_plan(instances)
    cluster.refusals = 2
    fault.inject(instances, plan)
    assert cluster.objects[PODS] == {}


def test_a_pod_that_is_not_declared_keeps_its_node_from_being_drained(cluster: Cluster) -> None:
    cluster.other_pod("neighbour", labels={"app": "other"})
    with pytest.raises(Refused, match="holds pod shop/neighbour, which the target file does not declare"):
        drain().resolve()
    assert writes(cluster) == []


def test_trap_a_pod_without_an_owner_is_refused_before_anything_is_cordoned(cluster: Cluster) -> None:
    """drain_nodes cordons first, and raises on such a pod afterwards."""
    cluster.other_pod("web-lone", ownerReferences=[])
    with pytest.raises(Refused, match="web-lone on node node1 has no controller"):
        drain().resolve()
    assert writes(cluster) == []


def test_pods_of_daemon_sets_static_ones_and_ended_ones_stay(cluster: Cluster) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d", "controller": True}
    cluster.other_pod("daemon", labels={"app": "agent"}, ownerReferences=[owner])
    cluster.other_pod("static", labels={}, annotations={"kubernetes.io/config.mirror": "x"})
    ended = copy.deepcopy(recorded("pods")["items"][0])
    ended["metadata"] = {**ended["metadata"], "name": "ended", "uid": "e", "labels": {}}
    ended["status"]["phase"] = "Succeeded"
    cluster.put(PODS, ended)
    fault = drain()
    instances = fault.resolve()
    fault.prepare(instances)
    fault.inject(instances, fault.undo_plan(instances))
    assert fault.witness(instances).seen
    assert set(cluster.objects[PODS]) == {"daemon", "static", "ended"}


def test_a_node_that_somebody_cordoned_is_left_as_it_is(cluster: Cluster) -> None:
    cluster.node["spec"]["unschedulable"] = True
    with pytest.raises(Refused, match="already cordoned"):
        drain().resolve()


def test_a_cordon_that_is_not_ours_is_not_undone(cluster: Cluster) -> None:
    fault = drain()
    instances = fault.resolve()
    plan = fault.undo_plan(instances)
    cluster.node["spec"]["unschedulable"] = True
    drain().undo(instances, plan)
    assert cluster.node["spec"]["unschedulable"] is True


def test_an_undo_that_meets_another_change_looks_again(cluster: Cluster) -> None:
    fault = drain()
    instances = fault.resolve()
    plan = fault.undo_plan(instances)
    fault.inject(instances, plan)
    changed = []

    def somebody_else(method: str, path: str, body: Any) -> Answer | None:
        if method == "PATCH" and not changed:
            changed.append(1)
            cluster.put(NODES, {**cluster.node})
        return None

    cluster.special.append(somebody_else)
    drain().undo(instances, plan)
    assert changed and "unschedulable" not in cluster.node["spec"]


def test_a_pod_of_the_same_name_that_took_the_place_is_not_evicted(cluster: Cluster) -> None:
    fault = drain()
    instances = fault.resolve()
    plan = fault.undo_plan(instances)
    cluster.come_back()
    fault.inject(instances, plan)
    assert len(cluster.objects[PODS]) == 2


@pytest.mark.parametrize(("version", "missing"), [("v1", False), ("v1beta1", True)])
def test_evictions_of_another_version_are_named_before_anything(
    cluster: Cluster, version: str, missing: bool
) -> None:

    def discovery(method: str, path: str, body: Any) -> Answer | None:
        if path.rstrip("/") == "/api/v1":
            eviction = {"name": "pods/eviction", "namespaced": True, "kind": "Eviction", "verbs": ["create"]}
            served = [{**eviction, "singularName": "", "group": "policy", "version": version}]
            return 200, {"kind": "APIResourceList", "groupVersion": "v1", "resources": served}
        if path.endswith("selfsubjectaccessreviews"):
            return 201, {**body, "status": {"allowed": True}}
        return None

    cluster.special.append(discovery)
    wanted = ["drain_node: this cluster's API has no v1 pods/eviction policy/v1"] if missing else []
    assert preflight(TARGET, ["drain_node"]) == wanted
