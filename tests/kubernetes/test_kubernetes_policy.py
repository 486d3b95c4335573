"""Partition by NetworkPolicy: where the cluster does not enforce one, traffic goes on, and the run is INVALID."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import PYTHON_IMAGE, WEB, Injected, Space, Workspace, http_status

from faultload.errors import Refused
from faultload.faults.base import FaultRequest
from faultload.faults.network.kubernetes_policy import PolicyPartition
from faultload.faults.rbac import demands
from faultload.platforms.kubernetes.client import api_client, execute
from faultload.spec.target import TargetFile

pytestmark = pytest.mark.kubernetes

IDLE = [PYTHON_IMAGE, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]
JOURNEYS = """\
from locust import task

from faultload.load import Journey


class Visit(Journey):
    @task
    def visit(self):
        self.client.get("/")
"""
LINK = "front -> web"


def policies(space: Space) -> list[str]:
    from kubernetes.client import NetworkingV1Api

    found = NetworkingV1Api(api_client(space.api)).list_namespaced_network_policy(space.name)
    return [str(one.metadata.name) for one in found.items]  # type: ignore[union-attr]


def enforced(space: Space) -> bool:
    """Whether this cluster enforces NetworkPolicies, measured by one that denies everything to a pod."""
    from kubernetes.client import NetworkingV1Api

    space.deploy("asked")
    space.deploy("asking", command=IDLE)
    (asked,) = space.pods("asked").values()
    (asking,) = space.pods("asking").values()
    deny: Any = {
        "metadata": {"name": "deny"},
        "spec": {"podSelector": {"matchLabels": {"app": "asked"}}, "policyTypes": ["Ingress"]},
    }
    api = NetworkingV1Api(api_client(space.api))
    api.create_namespaced_network_policy(space.name, deny)
    try:
        program = f"import socket,time; time.sleep(3); socket.create_connection(('{asked.ip}', 8080), 2)"
        return execute(space.api, space.name, asking.name, "web", ["python3", "-c", program], 20.0).code != 0
    finally:
        api.delete_namespaced_network_policy("deny", space.name)


def partition(space: Space, client_command: list[str] = IDLE) -> Injected:
    space.deploy("web", 2)
    space.deploy("front", command=client_command)
    target = space.target("web", "front", links={LINK: {"protocol": "http"}}, network="policy")
    request = FaultRequest(f"cut#1@{space.name}", "partition", {"link": LINK}, 10.0)
    return Injected(space, PolicyPartition(target, request), target, request)


class Elsewhere(Injected):
    """The same, with undo by an object that knows only what was written down."""

    def elsewhere(self) -> PolicyPartition:
        target = TargetFile.model_validate(self.target.to_json())
        return PolicyPartition(target, FaultRequest.from_json(self.request.to_json()))


def test_a_policy_partition_is_seen_only_where_the_cluster_enforces_it(space: Space) -> None:
    made = partition(space)
    fault = Elsewhere(space, made.here, made.target, made.request).inject()
    assert len(policies(space)) == 2
    sight = fault.witness()
    if enforced(space):
        assert sight.seen, sight.what
    else:
        assert not sight.seen
        assert "an established connection from front-" in sight.what
        assert "a new connection from front-" in sight.what
    assert not fault.gone().seen
    fault.undo()
    assert policies(space) == []
    gone = fault.wait_gone()
    assert "reaches 2 of 2 servers" in gone.what
    fault.undo()
    assert policies(space) == []


def test_undo_leaves_a_policy_that_somebody_else_made(space: Space) -> None:
    from kubernetes.client import NetworkingV1Api

    made = partition(space)
    somebodys: Any = {
        "metadata": {"name": "somebodys"},
        "spec": {"podSelector": {"matchLabels": {"app": "none"}}, "policyTypes": ["Ingress"]},
    }
    NetworkingV1Api(api_client(space.api)).create_namespaced_network_policy(space.name, somebodys)
    fault = Elsewhere(space, made.here, made.target, made.request).inject()
    assert len(policies(space)) == 3
    fault.undo()
    fault.undo()
    assert policies(space) == ["somebodys"]


def test_a_client_without_python_is_refused_and_nothing_is_made(space: Space) -> None:
    """Nothing could see there whether traffic stops."""
    with pytest.raises(Refused, match="no python3"):
        partition(space, WEB).inject()
    assert policies(space) == []


def test_trap_a_policy_that_nobody_enforces_makes_the_run_invalid(space: Space, workspace: Workspace) -> None:
    """A NetworkPolicy without an enforcing network is stored and does nothing: a run with it proves nothing."""
    if enforced(space):
        pytest.skip("this cluster enforces NetworkPolicies")
    space.deploy("web", 2)
    space.deploy("front", command=IDLE)
    (first, *_) = space.pods("web").values()
    assert http_status(first.ip) == 200
    target = {
        "name": "shop",
        "platform": "kubernetes",
        "url": f"http://{first.ip}:8080",
        "namespace": space.name,
        "network": "policy",
        "services": {
            "web": {"selector": "app=web", "port": 8080},
            "front": {"selector": "app=front"},
        },
        "links": {LINK: {"protocol": "http"}},
    }
    target_id = space.target("web").id
    workspace.write("target.yaml", target)
    workspace.write("journeys.py", JOURNEYS)
    workspace.experiment("partition", 4.0, link=LINK)
    scenario = {
        "name": "cut",
        "target": "target.yaml",
        "allow": [target_id],
        "load": {"journeys": "journeys.py", "rate": [{"step": "10/s", "for": "40s"}], "timeout": "2s"},
        "faults": [{"name": "cut", "experiment": "experiments/partition.yaml", "at": "16s"}],
        "objectives": ["error_rate <= 50%"],
        "recovery": {"slice": "1s", "hold": "5s", "tolerance": "50%"},
    }
    file = workspace.write("scenarios/cut.yaml", scenario)
    done = workspace.run("faultload", "run", file, "--approve", target_id, "--out", "out")
    assert done.returncode == 4, done.stdout + done.stderr
    verdict = json.loads((workspace.folder / "out" / "verdict.json").read_text())
    assert verdict["verdict"] == "INVALID"
    (fault,) = verdict["faults"]
    assert fault["witnessed"] is False
    known = {*space.pods("web"), *space.pods("front")}
    assert {one["id"] if isinstance(one, dict) else one for one in fault["instances"]} == known
    assert policies(space) == []


def test_the_manifest_of_a_policy_partition_asks_for_no_helper() -> None:
    if "partition-policy" not in demands():
        pytest.skip("no class makes partition on kubernetes")
    assert not demands()["partition-policy"].helper
