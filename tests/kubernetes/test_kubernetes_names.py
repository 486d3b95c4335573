"""A pod that finds no names, on a real cluster: against a dnsmasq that its `dnsConfig` names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import Space, no_cluster, own_space, wait_until
from dnsref import ADDRESS, NAME, asking, name_server
from shopref import IDLE

from faultload.errors import Refused
from faultload.platforms.kubernetes.client import core, execute
from faultload.platforms.kubernetes.helper import helpers_of
from faultload.spec.target import TargetFile

pytestmark = pytest.mark.kubernetes
_LOOK_UP = """
import socket, sys
try:
    print(socket.gethostbyname(sys.argv[1]))
except socket.gaierror as error:
    print(error.errno == socket.EAI_AGAIN and "no server answers" or error)
"""


@dataclass(frozen=True)
class Town:
    """Two pods of an app that ask a dnsmasq, and its address."""

    space: Space
    target: TargetFile
    server: str

    def pods(self) -> list[str]:
        return [pod.name for pod in self.space.pods("app").values()]

    def found(self, pod: str) -> str:
        """What an application in a pod hears when it looks the name up."""
        argv = ["python3", "-c", _LOOK_UP, NAME]
        return execute(self.space.api, self.space.name, pod, "web", argv, 30.0).out.strip()


@pytest.fixture(scope="module")
def one_town() -> Iterator[Town]:
    if (reason := no_cluster()) is not None:
        pytest.skip(reason)
    with own_space() as space:
        server = name_server(space)
        space.deploy("app", 2, command=IDLE, **asking(server))
        town = Town(space, space.target("app"), server)
        wait_until(lambda: [town.found(pod) for pod in town.pods()] == [ADDRESS] * 2)
        yield town


@pytest.fixture
def town(one_town: Town) -> Iterator[Town]:
    """After each test both pods find the name."""
    yield one_town
    one_town.space.undo_all()
    assert [one_town.found(pod) for pod in one_town.pods()] == [ADDRESS] * 2


def test_names_are_unknown_in_one_pod_and_known_in_the_other(town: Town) -> None:
    fault = town.space.fault(town.target, "dns_failure", duration_s=90.0, service="app", count=1).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    assert town.server in sight.what
    (chosen,) = (instance.name for instance in fault.instances)
    assert town.found(chosen) == "no server answers"
    assert [town.found(pod) for pod in town.pods() if pod != chosen] == [ADDRESS]
    fault.undo()
    assert town.found(chosen) == ADDRESS
    gone = fault.gone()
    assert gone.seen, gone.what
    fault.undo()
    assert town.found(chosen) == ADDRESS
    wait_until(lambda: helpers_of(fault.target, town.space.name, fault.request.fault_id) == [])


def test_lost_names_come_back_though_the_agents_are_gone(town: Town) -> None:
    fault = town.space.fault(town.target, "dns_failure", duration_s=90.0, service="app", share=1.0).inject()
    assert {town.found(pod) for pod in town.pods()} == {"no server answers"}
    for helper in helpers_of(fault.target, town.space.name, fault.request.fault_id):
        core(town.space.api).delete_namespaced_pod(helper.name, town.space.name, grace_period_seconds=0)
    fault.undo()
    assert {town.found(pod) for pod in town.pods()} == {ADDRESS}
    assert fault.gone().seen


def test_a_name_failure_that_was_not_made_is_not_seen(town: Town) -> None:
    fault = town.space.fault(town.target, "dns_failure", service="app").prepare()
    sight = fault.witness()
    assert not sight.seen
    assert f"{town.server} still answers" in sight.what
    assert {town.found(pod) for pod in town.pods()} == {ADDRESS}


def test_a_pod_whose_name_servers_never_answer_is_refused(space: Space) -> None:
    """As on a cluster without DNS: nothing could show that names are lost."""
    space.deploy("app", command=IDLE, **asking("127.0.0.1"))
    fault = space.fault(space.target("app"), "dns_failure", service="app")
    with pytest.raises(Refused, match=r"no name server answers even without a fault \(asked: 127\.0\.0\.1\)"):
        fault.inject()
    assert helpers_of(fault.target, space.name, fault.request.fault_id) == []
