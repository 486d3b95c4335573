"""Failover and switchover on a real cluster: another member leads, nothing is lost, and nothing is done twice."""

from __future__ import annotations

import time
from http.client import HTTPException
from typing import Any

import pytest
from conftest import WEB, Space, wait_until
from memoryref import Up, up

from faultload.errors import Refused
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest
from faultload.spec.target import TargetFile, target_from_json

pytestmark = pytest.mark.kubernetes
__all__ = ["up"]

_TIMELINE = "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
_POSTMASTER = "SELECT pg_postmaster_start_time()::text"


class Fault:
    """A fault's way from gate to gone, undone by what was written down alone."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        self.target, self.request = target, request
        fault = fault_for(target, request)
        assert fault.gate() == []
        self.instances = fault.resolve()
        fault.prepare(self.instances)
        self.plan = fault.undo_plan(self.instances)
        fault.inject(self.instances, self.plan)
        self.sight = fault.witness(self.instances)

    def elsewhere(self) -> Any:
        return fault_for(target_from_json(self.target.to_json()), FaultRequest.from_json(self.request.to_json()))

    def undo(self) -> None:
        self.elsewhere().undo(self.instances, self.plan)

    def gone(self) -> Any:
        return self.elsewhere().gone(self.instances, self.plan)


@pytest.fixture(autouse=True)
def whole(up: Up) -> None:
    """Each test begins with two members that replicate synchronously."""
    wait_until(up.whole, 90.0)


def write(up: Up) -> str:
    code, answer = up.ask("POST", "/memories/", {"user_id": "u", "text": f"kept {time.time()}"})
    assert code == 201, answer
    return str(answer["key"] if "key" in answer else answer["id"])


def kept(up: Up, row: str) -> bool:
    return bool(up.sql(f"SELECT count(*) FROM memories WHERE key = '{row}' OR id::text = '{row}'"))


def answers(up: Up) -> bool:
    try:
        return up.ask("POST", "/memories/", {"user_id": "u", "text": "again"})[0] == 201
    except (OSError, HTTPException):
        return False


def test_the_postmasters_death_makes_the_standby_lead_and_loses_nothing(up: Up) -> None:
    before, leader, members = up.sql(_TIMELINE), up.leader(), up.members()
    row = write(up)
    fault = Fault(up.target, up.request("failover_database", service="db", mode="postmaster"))
    assert fault.sight.seen, fault.sight.what
    (one,) = fault.instances
    assert (one.name, one.id) == (leader, members[one.name][0])
    wait_until(lambda: fault.gone().seen, 60.0)
    wait_until(lambda: answers(up), 30.0)
    assert up.sql(_TIMELINE) > before
    assert up.leader() != leader
    assert kept(up, row)
    wait_until(up.whole, 90.0)
    assert up.members() == members  # the same pods and containers: nothing but the server in one of them died
    timeline, started = up.sql(_TIMELINE), up.sql(_POSTMASTER)
    fault.undo()
    fault.undo()
    assert (up.sql(_TIMELINE), up.sql(_POSTMASTER), up.members()) == (timeline, started, members)


def test_the_members_death_replaces_its_pod_and_makes_the_standby_lead(up: Up) -> None:
    before, leader, members = up.sql(_TIMELINE), up.leader(), up.members()
    row = write(up)
    fault = Fault(up.target, up.request("failover_database", service="db", mode="member"))
    assert fault.sight.seen, fault.sight.what
    wait_until(lambda: fault.gone().seen, 90.0)
    wait_until(lambda: answers(up), 30.0)
    assert up.sql(_TIMELINE) > before
    assert up.leader() != leader
    assert kept(up, row)
    wait_until(up.whole, 120.0)
    assert leader is not None
    after = up.members()
    assert after[leader][0] != members[leader][0]
    timeline = up.sql(_TIMELINE)
    fault.undo()
    fault.undo()
    assert (up.sql(_TIMELINE), up.members()) == (timeline, after)


def test_a_switchover_hands_over_in_order(up: Up) -> None:
    before, leader, members = up.sql(_TIMELINE), up.leader(), up.members()
    fault = Fault(up.target, up.request("switchover_database", service="db"))
    assert fault.sight.seen, fault.sight.what
    assert [one.name for one in fault.instances] == [leader]
    wait_until(lambda: fault.gone().seen, 60.0)
    wait_until(lambda: answers(up), 30.0)
    assert up.leader() not in (None, leader)
    assert up.sql(_TIMELINE) > before
    wait_until(up.whole, 90.0)
    timeline = up.sql(_TIMELINE)
    fault.undo()
    fault.undo()
    assert (up.sql(_TIMELINE), up.members()) == (timeline, members)


def test_patroni_is_found_and_asked_through_the_api_server_where_no_urls_are_declared(up: Up) -> None:
    db = up.db.model_copy(update={"patroni": None, "dsn": None})
    target = up.target.model_copy(update={"services": {**up.target.services, "db": db}})
    leader = up.leader()
    fault = Fault(target, up.request("switchover_database", service="db"))
    assert fault.plan["keeper"] == "patroni"
    assert fault.sight.seen, fault.sight.what
    wait_until(lambda: fault.gone().seen, 60.0)
    assert up.leader() not in (None, leader)


def test_a_switchover_to_nobody_who_could_is_refused(up: Up) -> None:
    timeline, leader = up.sql(_TIMELINE), up.leader()
    for candidate in (str(leader), "nobody"):
        with pytest.raises(Refused, match="cannot switch over"):
            Fault(up.target, up.request("switchover_database", service="db", candidate=candidate))
    assert (up.sql(_TIMELINE), up.leader()) == (timeline, leader)


def test_any_database_fails_over_by_its_primarys_pod(space: Space) -> None:
    """Nothing is known of what runs in it but that the selector picks its primary."""
    space.deploy("store", 1, kind="StatefulSet", command=WEB)
    before = space.pods("store")
    target = space.target("store")
    with pytest.raises(Refused, match="mode `member`"):
        space.fault(target, "failover_database", service="store", mode="postmaster").inject()
    assert space.pods("store") == before
    with pytest.raises(Refused, match="neither by Patroni nor by CloudNativePG"):
        space.fault(target, "switchover_database", service="store").inject()
    fault = space.fault(target, "failover_database", service="store", mode="member").inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    wait_until(lambda: [uid for uid, pod in space.pods("store").items() if pod.ready and uid not in before], 180.0)
    gone = fault.gone()
    assert gone.seen, gone.what
    after = space.pods("store")
    fault.undo()
    fault.undo()
    assert space.pods("store").keys() == after.keys()


def test_a_selector_that_finds_several_pods_does_not_say_which_is_the_primary(space: Space) -> None:
    space.deploy("store", 2, kind="StatefulSet", command=WEB)
    before = set(space.pods("store"))
    with pytest.raises(Refused, match="which is the primary"):
        space.fault(space.target("store"), "failover_database", service="store", mode="member").inject()
    assert set(space.pods("store")) == before
