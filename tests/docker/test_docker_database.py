"""Every fault on a database in containers: there, gone after undo, and a second undo changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from container_pair import ContainerPair, needed
from database_checks import PAUSED, ROWS, WRITE, injected, request_of, stands, within

from faultload.errors import Refused
from faultload.faults import fault_for
from faultload.faults.database import docker as docker_database
from faultload.faults.database.postgres_holder import holders
from faultload.platforms.databases.patroni import cluster, nodes
from faultload.platforms.docker import helper as docker_helper

pytestmark = pytest.mark.docker
ORDINARY = "memory"


@pytest.fixture(scope="module")
def started() -> Iterator[ContainerPair]:
    why = needed()
    if why is not None:
        pytest.skip(f"no database in containers can be started here: {why}")
    pair = ContainerPair()
    try:
        yield pair
    finally:
        pair.stop()


@pytest.fixture
def pair(started: ContainerPair) -> ContainerPair:
    """The pair, whole again after whatever the last test did."""
    started.wait_whole()
    return started


def pids_in(container: object) -> set[str]:
    """The processes of a container, as the engine lists them."""
    return {row[1] for row in container.top()["Processes"]}  # type: ignore[attr-defined]


def test_every_member_is_known_by_its_container(pair: ContainerPair) -> None:
    found = docker_database.members(pair.target, "db")
    assert {name: one.id for name, one in found.items()} == {
        name: pair.containers[name].id for name in ("pg1", "pg2")
    }


def test_a_dead_postmaster_is_seen_and_over_and_a_second_undo_changes_nothing(pair: ContainerPair) -> None:
    port = pair.port_of(leads=True)
    leader, before = pair.container_at(port), cluster(pair.urls)
    processes = pids_in(leader)
    with injected(pair.target, "failover_database") as fault:
        assert fault.seen.seen, fault.seen
        assert [one.id for one in fault.instances] == [leader.id]
        leader.reload()
        assert leader.attrs["State"]["Running"] and leader.attrs["RestartCount"] == 0
        assert processes - pids_in(leader), "its Patroni lives, its PostgreSQL does not"
        within(40, fault.is_gone)
        assert pair.port_of(leads=True) != port
        with pair.sql(pair.port_of(leads=True)) as session:
            session.execute(WRITE)
    fault.wait_gone()
    pair.wait_whole()
    assert max(node.timeline for node in nodes(pair.urls).values()) > before.timeline
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole


def test_a_dead_member_is_brought_back_by_its_restart_policy_and_not_once_more_by_undo(pair: ContainerPair) -> None:
    leader = pair.container_at(pair.port_of(leads=True))
    started = leader.attrs["State"]["StartedAt"]
    with injected(pair.target, "failover_database", 30.0, mode="member") as fault:
        assert fault.seen.seen, fault.seen
        assert [one.id for one in fault.instances] == [leader.id]
        within(60, fault.is_gone)
        leader.reload()
        assert leader.attrs["State"]["StartedAt"] != started
        again = leader.attrs["State"]["StartedAt"]
    fault.wait_gone()
    pair.wait_whole()
    leader.reload()
    assert leader.attrs["State"]["StartedAt"] == again
    assert docker_helper.made_by(fault.fault.request.fault_id) == []
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole


def test_a_member_that_nobody_brings_back_is_the_very_container_that_undo_starts(pair: ContainerPair) -> None:
    leader = pair.container_at(pair.port_of(leads=True))
    leader.update(restart_policy={"Name": "no"})
    try:
        with injected(pair.target, "failover_database", 30.0, mode="member") as fault:
            assert fault.seen.seen, fault.seen
            time.sleep(2)
            leader.reload()
            assert not leader.attrs["State"]["Running"]
            assert not fault.is_gone()
        fault.wait_gone()
        leader.reload()
        assert leader.attrs["State"]["Running"]
        pair.wait_whole()
        whole = stands(pair)
        fault.undo()
        assert stands(pair) == whole
    finally:
        leader.update(restart_policy={"Name": "always"})
        leader.start()


def test_a_member_that_would_be_back_before_patroni_could_replace_it_is_not_killed(pair: ContainerPair) -> None:
    short = fault_for(pair.target, request_of("failover_database", 5.0, mode="member"))
    assert "ttl + loop_wait" in short.gate()[0]


def test_switchover_is_seen_and_a_second_undo_changes_nothing(pair: ContainerPair) -> None:
    port = pair.port_of(leads=True)
    wanted = next(one.name for one in cluster(pair.urls).members if not one.leads)
    with injected(pair.target, "switchover_database", candidate=wanted) as fault:
        assert fault.seen.seen, fault.seen
        assert [one.id for one in fault.instances] == [pair.container_at(port).id]
    fault.wait_gone()
    pair.wait_whole()
    assert pair.container_at(pair.port_of(leads=True)).id == pair.containers[wanted].id
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole


def test_a_candidate_that_is_not_there_is_refused_before_anything_is_touched(pair: ContainerPair) -> None:
    with pytest.raises(Refused, match="there is no member 'arbiter'"):
        fault_for(pair.target, request_of("switchover_database", candidate="arbiter")).resolve()


def test_a_paused_replication_leaves_stale_reads_and_is_over_after_undo(pair: ContainerPair) -> None:
    leader, standby = pair.port_of(leads=True), pair.port_of(leads=False)
    with injected(pair.target, "pause_replication") as fault:
        assert fault.seen.seen, fault.seen
        assert [one.id for one in fault.instances] == [pair.container_at(standby).id]
        rows = pair.ask(standby, ROWS)
        pair.committed(leader, "on").join(10)
        time.sleep(3)
        assert (pair.ask(leader, ROWS), pair.ask(standby, ROWS)) == (rows + 1, rows)
        assert not fault.is_gone()
    fault.wait_gone()
    within(10, lambda: pair.ask(standby, ROWS) == rows + 1)
    assert not pair.paused() and not pair.ask(standby, PAUSED)
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole


def test_exhausted_connections_shut_ordinary_users_out_until_undo(pair: ContainerPair) -> None:
    assert not pair.refuses(ORDINARY)
    with injected(pair.target, "exhaust_connections") as fault:
        assert fault.seen.seen, fault.seen
        assert [one.id for one in fault.instances] == [pair.container_at(pair.port_of(leads=True)).id]
        assert pair.refuses(ORDINARY)
        assert not fault.is_gone()
    fault.wait_gone()
    assert not pair.refuses(ORDINARY)
    assert holders(fault.fault.request.fault_id) == []
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole
