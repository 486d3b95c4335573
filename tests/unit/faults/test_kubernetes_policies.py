"""Partition by NetworkPolicy against recorded answers: what is written, what expires, what undo deletes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded_api import Answer, RecordedApi, recorded

from faultload.errors import Refused
from faultload.faults.base import FaultRequest, WitnessReport
from faultload.faults.network import kubernetes_policy
from faultload.faults.network.kubernetes_policy import PolicyPartition
from faultload.platforms.kubernetes.client import Executed
from faultload.spec.target import TargetFile

PODS = "/api/v1/namespaces/shop/pods"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
JOBS = "/apis/batch/v1/namespaces/shop/jobs"
TARGET = TargetFile.model_validate(
    {
        "id": "k",
        "name": "shop",
        "platform": "kubernetes",
        "namespace": "shop",
        "network": "policy",
        "services": {"front": {"selector": "app=front"}, "web": {"selector": "app=web", "port": 80}},
        "links": {"front -> web": {"protocol": "http"}},
    }
)


class Stream:
    """A probe's channel whose program answers what is given."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.written: list[str] = []
        self.closed = False

    def is_open(self) -> bool:
        return not self.closed

    def readline_stdout(self, timeout: float) -> str:
        return self.lines.pop(0) if self.lines else ""

    def write_stdin(self, text: str) -> None:
        self.written.append(text)

    def close(self) -> None:
        self.closed = True


class Cluster(RecordedApi):
    """A client pod and two server pods, on an API of a version."""

    def __init__(self, folder: Path, minor: str) -> None:
        super().__init__(folder)
        self.minor = minor
        for pod in recorded("pods")["items"]:
            self.put(PODS, pod)
        front = recorded("pods")["items"][0]
        front["metadata"] = {**front["metadata"], "name": "front-1", "uid": "front-1", "labels": {"app": "front"}}
        front["status"]["podIP"] = "10.0.0.9"
        self.put(PODS, front)
        self.objects[POLICIES], self.objects[JOBS] = {}, {}
        self.special.append(self.tell_version)

    def tell_version(self, method: str, path: str, body: Any) -> Answer | None:
        if path.rstrip("/") != "/version":
            return None
        known = recorded("version")
        return 200, {**known, "major": "1", "minor": self.minor}

    @property
    def policies(self) -> dict[str, Any]:
        return self.objects[POLICIES]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, getattr(request, "param", "27+"))
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("FAULTLOAD_HELPER_IMAGE", "helper:1")
    monkeypatch.setattr(kubernetes_policy, "execute", lambda *_: Executed(0, "", ""))
    yield cluster
    cluster.close()


def partition(fault_id: str = "cut#1@run") -> PolicyPartition:
    return PolicyPartition(TARGET, FaultRequest(fault_id, "partition", {"link": "front -> web"}, 20.0))


def injected(fault: PolicyPartition) -> tuple[list[Any], dict[str, Any]]:
    instances = fault.resolve()
    plan = fault.undo_plan(instances)
    fault.inject(instances, plan)
    return instances, plan


def test_each_side_may_talk_to_everybody_but_the_other(cluster: Cluster) -> None:
    injected(partition())
    client, server = cluster.policies.values()
    assert client["spec"]["podSelector"] == {
        "matchExpressions": [{"key": "app", "operator": "In", "values": ["front"]}]
    }
    assert server["spec"]["policyTypes"] == ["Ingress", "Egress"]
    others, same, v4, v6 = server["spec"]["ingress"][0]["from"]
    assert server["spec"]["egress"][0]["to"] == [others, same, v4, v6]
    assert others["namespaceSelector"]["matchExpressions"] == [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["shop"]}
    ]
    assert same["podSelector"]["matchExpressions"] == [{"key": "app", "operator": "NotIn", "values": ["front"]}]
    assert v4["ipBlock"] == {"cidr": "0.0.0.0/0", "except": ["10.0.0.9/32"]}
    assert v6["ipBlock"] == {"cidr": "::/0"}
    ips = sorted(pod["status"]["podIP"] for pod in recorded("pods")["items"])
    assert client["spec"]["ingress"][0]["from"][2]["ipBlock"]["except"] == [f"{ip}/32" for ip in ips]


def test_trap_policies_of_two_faults_have_names_of_their_own(cluster: Cluster) -> None:
    """deny_all_ingress and its like have fixed names: a second one collides, and undo takes the wrong one."""
    first, second = partition("cut#1@run"), partition("cut#2@run")
    instances, plan = injected(first)
    injected(second)
    assert len(cluster.policies) == 4
    first.undo(instances, plan)
    left = {policy["metadata"]["annotations"]["faultload.io/fault-id"] for policy in cluster.policies.values()}
    assert left == {"cut#2@run"} and len(cluster.policies) == 2


def test_undo_deletes_exactly_our_policies_and_nothing_the_second_time(cluster: Cluster) -> None:
    somebodys = {"metadata": {"name": "default-deny", "namespace": "shop"}, "spec": {"podSelector": {}}}
    cluster.put(POLICIES, somebodys)
    instances, plan = injected(partition())
    # of our very name, but without our label: it is not ours
    taken = {"metadata": {"name": plan["policies"][0]["name"], "namespace": "shop"}, "spec": {"podSelector": {}}}
    cluster.put(POLICIES, taken)
    partition().undo(instances, plan)
    assert set(cluster.policies) == {"default-deny", plan["policies"][0]["name"]}
    assert cluster.objects[JOBS] == {}
    asked = len([one for one in cluster.asked if one[0] != "GET"])
    partition().undo(instances, plan)
    assert len([one for one in cluster.asked if one[0] != "GET"]) == asked


def test_a_policy_expires_with_the_job_that_owns_it(cluster: Cluster) -> None:
    """Removed by the cluster itself, by its garbage collector, when every process of ours is dead."""
    _, plan = injected(partition())
    (job,) = cluster.objects[JOBS].values()
    assert job["spec"]["activeDeadlineSeconds"] == 25
    assert job["spec"]["ttlSecondsAfterFinished"] == 0
    for policy in cluster.policies.values():
        (owner,) = policy["metadata"]["ownerReferences"]
        assert owner == {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": plan["job"],
            "uid": job["metadata"]["uid"],
        }


@pytest.mark.parametrize("cluster", ["20", "20+", ""], indirect=True)
def test_where_finished_jobs_stay_there_is_no_expiry(cluster: Cluster) -> None:
    """TTL-after-finished is off before Kubernetes 1.21: the Job would end and its policies would stay."""
    instances, plan = injected(partition())
    assert plan["expires"] is False and cluster.objects[JOBS] == {}
    assert all("ownerReferences" not in policy["metadata"] for policy in cluster.policies.values())
    partition().undo(instances, plan)
    assert cluster.policies == {}


@pytest.mark.parametrize(
    ("established", "new", "seen"),
    [
        ([], [], True),
        (["10.0.0.1:80"], [], False),
        ([], ["10.0.0.1:80"], False),
    ],
)
def test_the_witness_believes_only_silence_on_old_and_new_connections(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, established: list[str], new: list[str], seen: bool
) -> None:
    import json

    answer = {"held": ["10.0.0.1:80", "10.0.0.2:80"], "established": established, "new": new}
    stream = Stream(['{"open": 2}', json.dumps(answer)])
    monkeypatch.setattr(kubernetes_policy, "open_exec", lambda *_, **__: stream)
    fault = partition()
    instances = fault.resolve()
    fault.prepare(instances)
    sight = fault.witness(instances)
    assert sight.seen is seen, sight.what
    assert stream.written == ["look\n"] and stream.closed


def test_a_probe_that_says_nothing_is_no_silence_of_the_network(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(['{"open": 2}'])
    monkeypatch.setattr(kubernetes_policy, "open_exec", lambda *_, **__: stream)
    monkeypatch.setattr(kubernetes_policy, "_LOOK_S", 0.2)
    fault = partition()
    instances = fault.resolve()
    fault.prepare(instances)
    assert not fault.witness(instances).seen


def test_gone_measures_that_a_client_reaches_a_server_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(line: str) -> WitnessReport:
        monkeypatch.setattr(kubernetes_policy, "open_exec", lambda *_, **__: Stream([line]))
        return partition().gone(instances, plan)

    instances, plan = injected(partition())
    assert not look('{"open": 2}').seen
    partition().undo(instances, plan)
    assert not look('{"open": 0}').seen
    assert look('{"open": 1}').seen


def test_a_client_that_cannot_be_asked_is_refused_before_anything(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_policy, "execute", lambda *_: Executed(127, "", "not found"))
    fault = partition()
    instances = fault.resolve()
    with pytest.raises(Refused, match="no python3"):
        fault.prepare(instances)
    assert cluster.policies == {}


def test_a_link_without_pods_is_refused(cluster: Cluster) -> None:
    del cluster.objects[PODS]["front-1"]
    with pytest.raises(Refused, match="'front' has no running pods"):
        partition().resolve()
