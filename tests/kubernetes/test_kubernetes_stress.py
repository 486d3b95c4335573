"""Stress beside a pod's container on a real cluster: there, gone after undo, and nothing done twice."""

from __future__ import annotations

import time
from typing import Any

import pytest
from conftest import Space, wait_until

from faultload.errors import Refused
from faultload.faults.process.kubernetes_scale import apps
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.client import execute
from faultload.platforms.kubernetes.helper import helpers_of

pytestmark = pytest.mark.kubernetes

_USED = (
    "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null || "
    "while read -r name value; do [ $name = usage_usec ] && echo ${value}000; done < /sys/fs/cgroup/cpu.stat"
)
_CHARGED = "cat /sys/fs/cgroup/memory/memory.usage_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.current"


def inside(space: Space, instance: Instance, script: str) -> int:
    """A number that a command in the pod's own container prints."""
    return int(execute(space.api, space.name, instance.name, "web", ["sh", "-c", script]).out.split()[0])


def processors_used(space: Space, instance: Instance, over_s: float = 1.5) -> float:
    """What the container sees its control group use: nothing of faultload's has a hand in it."""
    before, started = inside(space, instance, _USED), time.monotonic()
    time.sleep(over_s)
    return (inside(space, instance, _USED) - before) / 1e9 / (time.monotonic() - started)


def helpers(space: Space, fault: Any) -> list[Any]:
    return helpers_of(fault.target, space.name, fault.request.fault_id)


def limit(space: Space, app: str, **limits: str) -> None:
    """Give the containers of an app limits, and wait until its pods have them."""
    change = {"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {"limits": limits}}]}}}}
    before = set(space.pods(app))
    apps(space.api).patch_namespaced_deployment(app, space.name, change)
    wait_until(lambda: not before & set(space.pods(app)), 120.0)
    space.wait_ready(app, 1, 120.0)


def test_cpu_stress_takes_processor_time_within_the_containers_control_group(space: Space) -> None:
    space.deploy("web", 1)
    limit(space, "web", cpu="1")  # a share of the node of its own, however busy that is
    fault = space.fault(space.target("web"), "cpu_stress", duration_s=30.0, service="web", workers=1)
    fault.inject()
    (one,) = fault.instances
    sight = fault.witness()
    assert sight.seen, sight.what
    assert processors_used(space, one) > 0.08  # on a busy machine, too: an idle pod uses none
    fault.undo()
    assert processors_used(space, one) < 0.04
    gone = fault.gone()
    assert gone.seen, gone.what
    fault.undo()
    assert helpers(space, fault) == []
    assert {uid: pod.containers["web"].restarts for uid, pod in space.pods("web").items()} == {one.id: 0}


def test_cpu_stress_is_bounded_by_the_limit_of_the_container(space: Space) -> None:
    space.deploy("web", 1)
    limit(space, "web", cpu="300m")
    fault = space.fault(space.target("web"), "cpu_stress", duration_s=30.0, service="web", workers=2).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    assert 0.04 < processors_used(space, fault.instances[0], 3.0) < 0.4


def test_memory_stress_is_charged_to_the_containers_control_group(space: Space) -> None:
    space.deploy("web", 1)
    fault = space.fault(space.target("web"), "memory_stress", duration_s=30.0, service="web", bytes="64MB")
    before = inside(space, fault.here.resolve()[0], _CHARGED)
    fault.inject()
    (one,) = fault.instances
    sight = fault.witness()
    assert sight.seen, sight.what
    assert inside(space, one, _CHARGED) - before > 0.8 * 64e6
    fault.undo()
    wait_until(lambda: inside(space, one, _CHARGED) - before < 0.2 * 64e6)
    gone = fault.gone()
    assert gone.seen, gone.what
    fault.undo()
    assert helpers(space, fault) == []
    assert {uid: pod.containers["web"].restarts for uid, pod in space.pods("web").items()} == {one.id: 0}


def test_memory_stress_beyond_the_limit_of_the_container_is_refused_before_it_is_killed(space: Space) -> None:
    space.deploy("web", 1)
    limit(space, "web", memory="64Mi")
    fault = space.fault(space.target("web"), "memory_stress", duration_s=10.0, service="web", bytes="60MB")
    with pytest.raises(Refused, match="memory limit"):
        fault.inject()
    assert helpers(space, fault) == []
    assert [pod.containers["web"].restarts for pod in space.pods("web").values()] == [0]


def test_stress_ends_by_itself_when_nobody_undoes_it(space: Space) -> None:
    space.deploy("web", 1)
    limit(space, "web", cpu="1")  # a share of the node of its own, however busy that is
    fault = space.fault(space.target("web"), "cpu_stress", duration_s=2.0, service="web", workers=1).inject()
    (one,) = fault.instances
    assert processors_used(space, one) > 0.08  # on a busy machine, too: an idle pod uses none
    # 5 s after its duration, though nobody did anything
    wait_until(lambda: processors_used(space, one) < 0.04, 30.0)
    wait_until(lambda: [helper.phase for helper in helpers(space, fault)] == ["Succeeded"])


def test_a_killed_helper_leaves_no_worker_in_the_containers_control_group(space: Space) -> None:
    """Workers are outside the helper's own control group, so a runtime that ends it does not find them."""
    space.deploy("web", 1)
    limit(space, "web", cpu="1")  # a share of the node of its own, however busy that is
    fault = space.fault(space.target("web"), "cpu_stress", duration_s=60.0, service="web", workers=2).inject()
    (one,) = fault.instances
    assert processors_used(space, one) > 0.08  # on a busy machine, too: an idle pod uses none
    fault.undo()
    assert inside(space, one, "ls /proc | grep -c '^[0-9]'") < 10
    assert processors_used(space, one) < 0.04
    gone = fault.gone()
    assert gone.seen, gone.what
