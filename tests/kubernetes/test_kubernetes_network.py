"""Partition and latency in pods' networks on a real cluster: felt by the pods, gone after undo, no traces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PYTHON_IMAGE, Space, wait_until
from shopref import IDLE, Shop, tell

from faultload.errors import Refused
from faultload.faults.process.kubernetes_scale import apps
from faultload.platforms.kubernetes.client import core, running_container
from faultload.platforms.kubernetes.helper import helpers_of

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def shop(space: Space) -> Iterator[Shop]:
    yield Shop(space)


def test_partition_silences_new_and_established_connections_to_pods_and_their_service(shop: Shop) -> None:
    fault = shop.space.fault(shop.target, "partition", duration_s=60.0, link="client -> server")
    with shop.holding("client") as held:
        fault.inject()
        sight = fault.witness()
        assert sight.seen, sight.what
        assert shop.ask("client") == [None, None, None]
        assert None not in shop.ask("bystander")
        assert tell(held) == "silent"
    fault.undo()
    assert None not in shop.ask("client")
    gone = fault.gone()
    assert gone.seen, gone.what
    fault.undo()
    assert None not in shop.ask("client")
    wait_until(lambda: helpers_of(fault.target, shop.space.name, fault.request.fault_id) == [])


def test_latency_makes_each_round_trip_longer_and_only_on_the_link(shop: Shop) -> None:
    before = shop.ask("client", "again")
    fault = shop.space.fault(
        shop.target, "latency", duration_s=60.0, link="client -> server", delay_ms=400
    ).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    slow = shop.ask("client", "again")
    assert all(
        now is not None and then is not None and now - then > 0.3 for now, then in zip(slow, before, strict=True)
    )
    assert all(one is not None and one < 0.3 for one in shop.ask("bystander", "again"))
    fault.undo()
    assert all(one is not None and one < 0.3 for one in shop.ask("client", "again"))
    gone = fault.gone()
    assert gone.seen, gone.what
    fault.undo()
    assert None not in shop.ask("client")
    wait_until(lambda: helpers_of(fault.target, shop.space.name, fault.request.fault_id) == [])


def test_a_partition_ends_by_itself_when_nobody_undoes_it(shop: Shop) -> None:
    fault = shop.space.fault(shop.target, "partition", duration_s=3.0, link="client -> server").inject()
    injected = time.monotonic()
    assert fault.witness().seen
    wait_until(lambda: None not in shop.ask("client"), 30.0)
    assert time.monotonic() - injected > 3.0


def test_a_partition_is_undone_though_its_agents_are_gone(shop: Shop) -> None:
    fault = shop.space.fault(shop.target, "partition", duration_s=120.0, link="client -> server").inject()
    assert fault.witness().seen
    for helper in helpers_of(fault.target, shop.space.name, fault.request.fault_id):
        core(shop.space.api).delete_namespaced_pod(helper.name, shop.space.name, grace_period_seconds=0)
    fault.undo()
    assert None not in shop.ask("client")
    assert fault.gone().seen


def test_a_partition_outlives_a_container_that_is_started_again_and_is_undone_in_its_pod(shop: Shop) -> None:
    """The network is the pod's: a container of the same pod comes back into the partition."""
    fault = shop.space.fault(shop.target, "partition", duration_s=120.0, link="client -> server").inject()
    assert fault.witness().seen
    name = shop.pod("client").name
    kill = shop.space.fault(shop.target, "kill", service="client").inject()
    assert kill.witness().seen
    wait_until(lambda: running_container(shop.target, "client", shop.pod("client")) is not None, 60.0)
    assert shop.pod("client").name == name
    assert shop.ask("client") == [None, None, None]
    fault.undo()
    assert None not in shop.ask("client")
    assert fault.gone().seen


def test_a_link_to_pods_in_their_nodes_network_is_refused(space: Space) -> None:
    """A fault there would be one of the whole node."""
    space.deploy("client", 1, command=IDLE)
    spec: Any = {
        "metadata": {"name": "server", "labels": {"app": "server"}},
        "spec": {
            "hostNetwork": True,
            "containers": [
                {
                    "name": "web",
                    "image": PYTHON_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "3600"],
                }
            ],
        },
    }
    space.bare_pod(spec)
    wait_until(lambda: [pod.phase for pod in space.pods("server").values()] == ["Running"])
    target = space.target("client", "server", links={"client -> server": {"port": 8080, "protocol": "tcp"}})
    fault = space.fault(target, "partition", link="client -> server")
    with pytest.raises(Refused, match="node's network"):
        fault.inject()
    assert apps(space.api).read_namespaced_deployment("client", space.name).status.ready_replicas == 1
