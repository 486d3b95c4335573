"""Helper pods on a real cluster: they end by themselves, are found by their fault, and never pass for a service."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from conftest import Space, core, wait_until

from faultload.errors import TargetError
from faultload.platforms import platform_of
from faultload.platforms.kubernetes.helper import (
    execute_in,
    helpers_of,
    refused,
    remove,
    start,
    wait_ended,
    wait_running,
)

pytestmark = pytest.mark.kubernetes


def node(space: Space) -> str:
    return str(core(space.api).list_node().items[0].metadata.name)


def test_a_helper_that_nobody_ends_is_ended_by_the_cluster(space: Space) -> None:
    """Every process of ours may be dead: its deadline is the cluster's to keep."""
    started = time.monotonic()
    helper = start(space.api, space.name, node(space), ["sleep", "600"], "f#1@run", 3.0)
    wait_running(space.api, helper)
    ended = wait_ended(space.api, helper, 60.0)
    assert time.monotonic() - started >= 3.0
    assert ended.code != 0
    assert remove(space.api, space.name, "f#1@run") == 1


def test_remove_takes_the_helpers_of_one_fault_and_nothing_the_second_time(space: Space) -> None:
    mine = start(space.api, space.name, node(space), ["sleep", "600"], "f#1@run", 120.0)
    other = start(space.api, space.name, node(space), ["sleep", "600"], "f#2@run", 120.0)
    wait_running(space.api, mine)
    wait_running(space.api, other)
    assert remove(space.api, space.name, "f#1@run") == 1
    assert helpers_of(space.api, space.name, "f#1@run") == []
    assert [pod.uid for pod in helpers_of(space.api, space.name, "f#2@run")] == [other.uid]
    assert remove(space.api, space.name, "f#1@run") == 0


def test_a_command_in_a_helper_gives_its_code_and_what_it_says(space: Space) -> None:
    helper = start(space.api, space.name, node(space), ["sleep", "600"], "f#1@run", 120.0)
    wait_running(space.api, helper)
    done = execute_in(space.api, helper, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.code, done.out, done.err) == (3, "out\n", "err\n")
    late = execute_in(space.api, helper, ["sleep", "30"], timeout_s=0.5)
    assert late.code is None
    with suppress(TargetError):  # a runtime gives a code, or an error of its own
        assert execute_in(space.api, helper, ["no-such-program"]).code in (126, 127)


def test_a_helper_is_never_an_instance_of_a_service(space: Space) -> None:
    """A selector by what a pod is not finds helpers as well."""
    space.deploy("web", 1)
    target = space.target(services={"web": {"selector": "app!=other"}})
    helper = start(space.api, space.name, node(space), ["sleep", "600"], "f#1@run", 120.0)
    wait_running(space.api, helper)
    assert [one.id for one in platform_of(target).instances("web")] == list(space.pods("web"))
    assert platform_of(target).not_ready("web") == []


def test_an_image_that_is_not_to_be_had_is_said_so_and_nothing_is_killed(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    space.deploy("web", 1)
    monkeypatch.setenv("FAULTLOAD_HELPER_IMAGE", "127.0.0.1:9/nowhere:1")
    fault = space.fault(space.target("web"), "kill", service="web")
    with pytest.raises(TargetError, match=r"does not start on node .*127.0.0.1:9/nowhere:1"):
        fault.prepare()
    wait_until(lambda: not helpers_of(space.api, space.name, fault.request.fault_id))
    (pod,) = space.pods("web").values()
    assert pod.containers["web"].restarts == 0
    fault.plan = fault.here.undo_plan(fault.instances)
    sight = fault.gone()
    assert sight.seen and "never killed" in sight.what


def test_whether_a_namespace_lets_helpers_in_is_asked_without_making_one(space: Space) -> None:
    assert refused(space.api, space.name) is None
    assert "not found" in str(refused(space.api, f"{space.name}-none"))
    assert core(space.api).list_namespaced_pod(space.name).items == []
