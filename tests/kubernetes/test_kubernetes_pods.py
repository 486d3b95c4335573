"""Kill, terminate, restart and scale on a real cluster: there, gone after undo, and nothing done twice."""

from __future__ import annotations

import time
from typing import Any

import pytest
from conftest import WEB, Space, http_status, wait_until

from faultload.chaos.guard import check_fault
from faultload.errors import Refused, TargetError
from faultload.faults.process.kubernetes_scale import apps, read_owner
from faultload.platforms import platform_of
from faultload.platforms.kubernetes.client import core
from faultload.platforms.kubernetes.helper import helpers_of

pytestmark = pytest.mark.kubernetes

IGNORES_SIGTERM = [WEB[0], "sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
CRASHES_AFTER_A_KILL = [
    WEB[0],
    "sh",
    "-c",
    "test -e /state/was && exit 1; echo > /state/was; while :; do sleep 1; done",
]


def state(space: Space, app: str) -> dict[str, Any]:
    """What undo must not change: UIDs, restart counts and readiness."""
    return {uid: (pod.containers["web"].restarts, pod.ready) for uid, pod in space.pods(app).items()}


def test_kill_crashes_the_container_of_the_same_pod_and_it_comes_back(space: Space) -> None:
    space.deploy("web", 3)
    before = space.pods("web")
    fault = space.fault(space.target("web"), "kill", service="web").inject()
    (victim,) = fault.instances
    sight = fault.witness()
    assert sight.seen, sight.what
    # independently: the restart count of that very pod rose, nobody else's, and every pod is the same
    wait_until(lambda: state(space, "web").get(victim.id) == (1, True))
    assert set(space.pods("web")) == set(before)
    assert sorted(count for count, _ in state(space, "web").values()) == [0, 0, 1]
    now = space.pods("web")[victim.id].containers["web"]
    assert now.id != before[victim.id].containers["web"].id and (now.started or 0.0) > victim.started
    status = core(space.api).read_namespaced_pod(victim.name, space.name).status.container_statuses[0]
    if status.last_state is not None and status.last_state.terminated is not None:  # until the dead one is removed
        assert status.last_state.terminated.exit_code == 137
    assert http_status(space.pods("web")[victim.id].ip) == 200
    assert fault.gone().seen
    undone = state(space, "web")
    fault.undo()
    fault.undo()
    assert state(space, "web") == undone
    assert helpers_of(fault.target, space.name, fault.request.fault_id) == []


def test_kill_that_stays_down_is_undone_by_a_new_pod(space: Space) -> None:
    """A pod in CrashLoopBackOff is not brought back by its kubelet before minutes have passed."""
    space.deploy("web", 1, command=WEB)
    deployment: Any = {
        "spec": {
            "template": {
                "spec": {
                    "volumes": [{"name": "state", "emptyDir": {}}],
                    "containers": [
                        {
                            "name": "web",
                            "command": CRASHES_AFTER_A_KILL[1:],
                            "volumeMounts": [{"name": "state", "mountPath": "/state"}],
                        }
                    ],
                }
            }
        }
    }
    apps(space.api).patch_namespaced_deployment("web", space.name, deployment)
    wait_until(lambda: len(space.pods("web")) == 1 and not http_status(next(iter(space.pods("web").values())).ip))
    space.wait_ready("web", 1)
    fault = space.fault(space.target("web"), "kill", service="web").inject()
    assert fault.witness().seen
    wait_until(lambda: any(pod.containers["web"].restarts and not pod.ready for pod in space.pods("web").values()))
    time.sleep(3.0)
    assert not fault.gone().seen
    (killed,) = fault.instances
    wait_until(lambda: space.pods("web")[killed.id].containers["web"].started is None)
    fault.undo()
    fault.wait_gone()
    assert killed.id not in space.pods("web")
    undone = state(space, "web")
    fault.undo()
    assert state(space, "web") == undone


def test_terminate_ends_the_very_pod_and_another_takes_its_place(space: Space) -> None:
    space.deploy("web", 3)
    before = set(space.pods("web"))
    fault = space.fault(space.target("web"), "terminate", service="web", grace_s=3).inject()
    (victim,) = fault.instances
    sight = fault.witness()
    assert sight.seen, sight.what
    fault.wait_gone()
    after = set(space.pods("web"))
    assert len(before - after) == 1 and before - after == {victim.id} and len(after - before) == 1
    assert all(http_status(pod.ip) == 200 for pod in space.pods("web").values())
    undone = state(space, "web")
    fault.undo()
    fault.undo()
    assert state(space, "web") == undone


def test_terminate_honours_its_grace(space: Space) -> None:
    """A pod that ignores SIGTERM lives as long as `grace_s` says and no longer."""
    space.deploy("web", 2, command=IGNORES_SIGTERM)
    fault = space.fault(space.target("web"), "terminate", service="web", grace_s=4)
    started = time.monotonic()
    fault.inject()
    (victim,) = fault.instances
    time.sleep(2.0)
    pod = core(space.api).read_namespaced_pod(victim.name, space.name)
    assert pod.metadata.deletion_grace_period_seconds == 4
    assert pod.status.container_statuses[0].state.running is not None
    assert fault.witness().seen
    assert 3.5 <= time.monotonic() - started <= 25.0


def test_restart_ends_the_very_pod_and_sees_another_in_its_place(space: Space) -> None:
    space.deploy("web", 2)
    before = set(space.pods("web"))
    fault = space.fault(space.target("web"), "restart", service="web").inject()
    (victim,) = fault.instances
    sight = fault.witness()
    assert sight.seen, sight.what
    # when the witness has seen it, the replacement answers already
    pods = space.pods("web")
    assert victim.id not in pods and len(pods) == 2 and len(set(pods) - before) == 1
    assert all(http_status(pod.ip) == 200 for pod in pods.values())
    assert fault.gone().seen
    undone = state(space, "web")
    fault.undo()
    fault.undo()
    assert state(space, "web") == undone


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize("to", [1, 3])
def test_scale_changes_how_many_pods_answer_and_back(space: Space, kind: str, to: int) -> None:
    space.deploy("web", 2, kind)
    before = {pod.ip for pod in space.pods("web").values()}
    fault = space.fault(space.target("web"), "scale", service="web", to=to).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    pods = space.pods("web").values()
    assert [http_status(pod.ip) for pod in pods] == [200] * to
    wait_until(lambda: sum(http_status(ip) == 200 for ip in before | {pod.ip for pod in pods}) == to)
    assert not fault.gone().seen
    fault.undo()
    fault.wait_gone(90.0)
    assert [http_status(pod.ip) for pod in space.pods("web").values()] == [200, 200]
    version = read_owner(space.api, kind, "web", space.name).replicas  # type: ignore[union-attr]
    undone = set(space.pods("web"))
    fault.undo()
    assert read_owner(space.api, kind, "web", space.name).replicas == version == 2  # type: ignore[union-attr]
    assert set(space.pods("web")) == undone


def test_scale_that_somebody_changed_meanwhile_is_left_alone(space: Space) -> None:
    space.deploy("web", 2)
    fault = space.fault(space.target("web"), "scale", service="web", to=1).inject()
    apps(space.api).patch_namespaced_deployment("web", space.name, {"spec": {"replicas": 4}})
    fault.undo()
    assert read_owner(space.api, "Deployment", "web", space.name).replicas == 4  # type: ignore[union-attr]
    sight = fault.gone()
    assert sight.seen and "somebody set 4" in sight.what


def test_scale_of_a_recreated_deployment_of_the_same_name_touches_nothing(space: Space) -> None:
    space.deploy("web", 2)
    fault = space.fault(space.target("web"), "scale", service="web", to=1).inject()
    apps(space.api).delete_namespaced_deployment("web", space.name)
    wait_until(lambda: not space.pods("web"))
    space.deploy("web", 1)
    fault.undo()
    assert read_owner(space.api, "Deployment", "web", space.name).replicas == 1  # type: ignore[union-attr]
    assert "removed meanwhile" in fault.gone().what


def test_scale_below_the_ready_floor_is_refused(space: Space) -> None:
    space.deploy("web", 2)
    services = {"web": {"selector": "app=web", "min_ready": 2}}
    fault = space.fault(space.target(services=services), "scale", service="web", to=1)
    with pytest.raises(Refused, match="2 must stay ready"):
        check_fault(fault.target, fault.request, fault.here.resolve())
    assert len(space.pods("web")) == 2


def test_scale_of_an_owner_with_undeclared_pods_is_refused(space: Space) -> None:
    space.deploy("web", 2)
    first = next(iter(space.pods("web").values()))
    core(space.api).patch_namespaced_pod(first.name, space.name, {"metadata": {"labels": {"part": "one"}}})
    services = {"web": {"selector": "app=web,part=one"}}
    with pytest.raises(Refused, match="does not declare"):
        space.fault(space.target(services=services), "scale", service="web", to=3).inject()
    assert len(space.pods("web")) == 2


@pytest.mark.parametrize("kind", ["kill", "terminate", "restart", "scale"])
def test_trap_an_empty_selection_is_refused_and_never_a_success(space: Space, kind: str) -> None:
    """terminate_pods matching nothing returns [] and succeeds."""
    more = {"to": 1} if kind == "scale" else {}
    with pytest.raises(Refused, match=r"no running instance|no pods"):
        space.fault(space.target("nobody"), kind, service="nobody", **more).inject()


def test_trap_a_pod_that_merely_runs_is_not_ready(space: Space) -> None:
    """count_min_pods counts Running, not Ready: a recovery would look shorter than it was."""
    space.deploy("web", 1, ready_when=["cat", "/tmp/never"])
    target = space.target("web")
    assert len(platform_of(target).instances("web")) == 1
    assert platform_of(target).ready("web") == []
    assert platform_of(target).not_ready("web") == ["web: 0 of 1 pods are ready, 1 must be"]


def test_trap_a_pod_without_an_owner_is_not_terminated(space: Space) -> None:
    image, *argv = WEB
    container = {"name": "web", "image": image, "imagePullPolicy": "IfNotPresent", "command": argv}
    pod: Any = {"metadata": {"name": "lone", "labels": {"app": "lone"}}, "spec": {"containers": [container]}}
    space.bare_pod(pod)
    space.wait_ready("lone", 1)
    with pytest.raises(Refused, match="nothing would bring it back"):
        space.fault(space.target("lone"), "terminate", service="lone").inject()
    assert len(space.pods("lone")) == 1


def test_a_pod_replaced_between_choice_and_fault_is_not_touched(space: Space) -> None:
    space.deploy("web", 1, "StatefulSet")
    for kind in ("kill", "terminate"):
        fault = space.fault(space.target("web"), kind, service="web")
        instances = fault.here.resolve()
        plan = fault.here.undo_plan(instances)
        core(space.api).delete_namespaced_pod("web-0", space.name, grace_period_seconds=0)
        wait_until(lambda old=instances[0].id: old not in space.pods("web"))
        space.wait_ready("web", 1)
        (same_name,) = space.pods("web").values()
        assert same_name.name == instances[0].name
        with pytest.raises(TargetError, match="nothing was touched"):
            fault.here.inject(instances, plan)
        assert state(space, "web") == {same_name.uid: (0, True)}


def test_a_container_that_crashed_between_choice_and_fault_is_not_killed_again(space: Space) -> None:
    space.deploy("web", 1)
    fault = space.fault(space.target("web"), "kill", service="web")
    instances = fault.here.resolve()
    plan = fault.here.undo_plan(instances)
    other = space.fault(space.target("web"), "kill", service="web").inject()
    assert other.witness().seen
    other.wait_gone()
    wait_until(lambda: state(space, "web") == {instances[0].id: (1, True)})
    with pytest.raises(TargetError, match="nothing was touched"):
        fault.here.inject(instances, plan)
    assert state(space, "web") == {instances[0].id: (1, True)}


def test_kill_by_a_count_above_the_guards_limit_is_refused(space: Space) -> None:
    space.deploy("web", 3)
    fault = space.fault(space.target("web"), "kill", service="web", count=2)
    instances = fault.here.resolve()
    with pytest.raises(Refused, match="at most 1"):
        check_fault(fault.target, fault.request, instances)


def test_trap_the_choice_of_pods_is_repeatable_by_seed(space: Space) -> None:
    space.deploy("web", 3)
    fault = space.fault(space.target("web"), "kill", service="web")
    assert fault.here.resolve() == fault.elsewhere().resolve()
