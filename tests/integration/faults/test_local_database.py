"""Every fault on a local database: it is there, it is gone after undo, and a second undo changes nothing."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from database_checks import CLIENTS, PAUSED, ROWS, WRITE, injected, request_of, stands, within
from database_pair import ORDINARY, RunningPair

from faultload.errors import Refused
from faultload.faults import fault_for
from faultload.faults.database.pause_replication import MARK
from faultload.faults.database.postgres_holder import holders
from faultload.host.listeners import listeners
from faultload.platforms.databases.patroni import cluster, configuration, configure, nodes, slowest_failover_s
from faultload.platforms.local.processes import process_of
from faultload.spec.target import Service

pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPair]:
    """One pair for all tests: a start takes eleven seconds."""
    pair = RunningPair(tmp_path_factory.mktemp("pair"))
    try:
        yield pair
    finally:
        pair.stop()


@pytest.fixture
def pair(started: RunningPair) -> RunningPair:
    """The pair, whole again after whatever the last test did."""
    started.wait_whole()
    return started


# -- failover and switchover


def test_failover_of_the_postmaster_is_seen_and_over_and_a_second_undo_changes_nothing(pair: RunningPair) -> None:
    before = cluster(pair.urls)
    assert before.leader is not None
    old = listeners({before.leader.port})[before.leader.port]
    with injected(pair.target, "failover_database") as fault:
        assert fault.seen.seen, fault.seen
        assert [int(one.id) for one in fault.instances] == [old.pid]
        assert not old.alive()
        within(30, fault.is_gone)
        port = pair.port_of(leads=True)
        assert port != before.leader.port
        with pair.sql(port) as session:
            session.execute(WRITE)
    fault.wait_gone()
    pair.wait_whole()
    assert nodes(pair.urls)[before.leader.name].timeline > before.timeline
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole


def test_sigkill_of_the_leader_under_a_paused_patroni_is_mended_by_undo_alone(pair: RunningPair) -> None:
    configure(pair.urls, {"pause": True})
    try:
        within(15, lambda: all(node.paused for node in nodes(pair.urls).values()))
        with injected(pair.target, "failover_database") as fault:
            assert fault.seen.seen, fault.seen
            time.sleep(3)
            assert cluster(pair.urls).leader is None
            assert not fault.is_gone()
        fault.wait_gone()
        assert pair.ask(pair.port_of(leads=True), "SELECT 1") == 1
        assert pair.paused(), "maintenance mode was somebody else's"
        whole = stands(pair)
        fault.undo()
        assert stands(pair) == whole
    finally:
        configure(pair.urls, {"pause": None})


def test_a_member_that_would_be_back_before_patroni_could_replace_it_is_not_killed(pair: RunningPair) -> None:
    assert slowest_failover_s(pair.urls) == 21
    short = fault_for(pair.target, request_of("failover_database", 20.0, mode="member"))
    within(30, lambda: [why for why in short.gate() if "at least 21" in why])
    long = fault_for(pair.target, request_of("failover_database", 21.0, mode="member"))
    within(30, lambda: long.gate() == [])


def test_a_dead_member_is_started_again_by_undo_as_it_was_and_once_only(pair: RunningPair) -> None:
    leader = cluster(pair.urls).leader
    assert leader is not None
    with injected(pair.target, "failover_database", 30.0, mode="member") as fault:
        assert fault.seen.seen, fault.seen
        assert leader.name not in nodes(pair.urls)
        assert not fault.is_gone()
    # undone at once: the old leader comes back before anybody replaced it
    fault.wait_gone()
    pair.wait_whole()
    # its own supervisor wants to start it after 25 s, and must find that it runs
    time.sleep(27)
    pair.wait_whole()
    whole = stands(pair)
    fault.undo()
    time.sleep(2)
    assert stands(pair) == whole


def test_switchover_is_seen_and_a_second_undo_changes_nothing(pair: RunningPair) -> None:
    before = cluster(pair.urls)
    assert before.leader is not None
    wanted = next(one.name for one in before.members if not one.leads)
    with injected(pair.target, "switchover_database", candidate=wanted) as fault:
        assert fault.seen.seen, fault.seen
        assert fault.instances[0].name == before.leader.name
        assert process_of(fault.instances[0]).pid > 0
    fault.wait_gone()
    pair.wait_whole()
    assert pair.ask(next(m.port for m in before.members if m.name == wanted), "SELECT pg_is_in_recovery()") is False
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole


def test_a_candidate_that_is_not_there_or_not_fit_is_refused_before_anything_is_touched(pair: RunningPair) -> None:
    leader = cluster(pair.urls).leader
    assert leader is not None
    for candidate, why in (("nobody", "there is no member 'nobody'"), (leader.name, "leads already")):
        with pytest.raises(Refused, match=why):
            fault_for(pair.target, request_of("switchover_database", candidate=candidate)).resolve()


def test_a_switchover_in_maintenance_mode_needs_a_candidate(pair: RunningPair) -> None:
    configure(pair.urls, {"pause": True})
    try:
        within(15, lambda: all(node.paused for node in nodes(pair.urls).values()))
        with pytest.raises(Refused, match="name the candidate"):
            fault_for(pair.target, request_of("switchover_database")).resolve()
    finally:
        configure(pair.urls, {"pause": None})


# -- pause_replication


def test_a_paused_replication_leaves_stale_reads_and_is_over_after_undo(pair: RunningPair) -> None:
    leader, standby = pair.port_of(leads=True), pair.port_of(leads=False)
    with injected(pair.target, "pause_replication") as fault:
        assert fault.seen.seen, fault.seen
        assert [one.port for one in fault.instances] == [standby]
        rows = pair.ask(standby, ROWS)
        # the standby has it on disk, which is enough for a commit, unless it is told to wait for the replay
        pair.committed(leader, "on").join(10)
        assert pair.ask(leader, ROWS) == rows + 1
        waiting = pair.committed(leader, "remote_apply")
        # longer than Patroni's loop_wait of one second, in which it would resume
        time.sleep(3)
        assert pair.ask(standby, ROWS) == rows
        assert waiting.is_alive()
        assert not fault.is_gone()
    fault.wait_gone()
    waiting.join(10)
    assert pair.ask(leader, ROWS) == rows + 2
    within(10, lambda: pair.ask(standby, ROWS) == rows + 2)
    assert not pair.paused()
    assert holders(fault.fault.request.fault_id) == []
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole


def test_patroni_resumes_a_pause_that_it_was_not_told_of(pair: RunningPair) -> None:
    standby = pair.port_of(leads=False)
    with pair.sql(standby) as session:
        session.execute("SELECT pg_wal_replay_pause()")
    within(10, lambda: not pair.ask(standby, PAUSED))


def test_a_pair_that_no_patroni_keeps_is_paused_and_resumed_too(pair: RunningPair) -> None:
    configure(pair.urls, {"pause": True})
    try:
        within(15, lambda: all(node.paused for node in nodes(pair.urls).values()))
        ports = sorted({pair.port_of(leads=True), pair.port_of(leads=False)})
        service = Service(dsn=pair.dsn, ports=ports)
        target = pair.target.model_copy(update={"services": {"db": service}})
        with injected(target, "pause_replication") as fault:
            assert fault.seen.seen, fault.seen
            assert [one.port for one in fault.instances] == [pair.port_of(leads=False)]
            assert not fault.is_gone()
        fault.wait_gone()
        assert MARK not in configuration(pair.urls)
        assert pair.paused(), "maintenance mode was somebody else's"
    finally:
        configure(pair.urls, {"pause": None})


def test_a_second_undo_does_not_resume_what_somebody_else_paused_since(pair: RunningPair) -> None:
    standby = pair.port_of(leads=False)
    with injected(pair.target, "pause_replication") as fault:
        assert fault.seen.seen, fault.seen
    fault.wait_gone()
    try:
        configure(pair.urls, {"pause": True})
        within(15, lambda: all(node.paused for node in nodes(pair.urls).values()))
        with pair.sql(standby) as session:
            session.execute("SELECT pg_wal_replay_pause()")
        fault.undo()
        assert pair.ask(standby, PAUSED) and pair.paused()
        refused = fault_for(pair.target, request_of("pause_replication"))
        with pytest.raises(Refused, match="paused already"):
            refused.resolve()
    finally:
        with pair.sql(standby) as session:
            session.execute("SELECT pg_wal_replay_resume()")
        configure(pair.urls, {"pause": None})


def test_a_cluster_that_still_carries_the_mark_of_another_fault_is_left_alone(pair: RunningPair) -> None:
    configure(pair.urls, {MARK: "other#1@elsewhere"})
    try:
        fault = fault_for(pair.target, request_of("pause_replication"))
        assert fault.gate() == ["db: the cluster still carries the mark of fault other#1@elsewhere"]
        plan = fault.undo_plan(fault.resolve())
        fault.undo([], plan)
        assert configuration(pair.urls)[MARK] == "other#1@elsewhere"
    finally:
        configure(pair.urls, {MARK: None})


def test_a_pause_whose_holder_was_killed_is_undone_by_its_plan(pair: RunningPair) -> None:
    with injected(pair.target, "pause_replication") as fault:
        assert fault.seen.seen, fault.seen
        (holder,) = holders(fault.fault.request.fault_id)
        holder.signal(signal.SIGKILL)
    fault.wait_gone()
    assert not pair.paused()
    assert MARK not in configuration(pair.urls)


def test_a_pause_that_nobody_undoes_ends_by_itself(pair: RunningPair) -> None:
    leader, standby = pair.port_of(leads=True), pair.port_of(leads=False)
    with injected(pair.target, "pause_replication", 1.0) as fault:
        assert fault.seen.seen, fault.seen
        within(30, lambda: not pair.paused() and not pair.ask(standby, PAUSED))
        within(10, lambda: pair.ask(standby, ROWS) == pair.ask(leader, ROWS))
        within(10, lambda: holders(fault.fault.request.fault_id) == [])
        assert fault.is_gone()


# -- exhaust_connections


def test_exhausted_connections_shut_ordinary_users_out_until_undo(pair: RunningPair) -> None:
    leader = pair.port_of(leads=True)
    assert not pair.refuses(ORDINARY)
    bystander = psycopg.connect(
        pair.dsn, application_name="faultload exhaust_connections", autocommit=True, connect_timeout=5
    )
    with bystander, injected(pair.target, "exhaust_connections") as fault:
        assert fault.seen.seen, fault.seen
        assert [one.port for one in fault.instances] == [leader]
        assert pair.refuses(ORDINARY)
        assert not pair.refuses("postgres"), "the reserved ones stay free"
        # what others give back is taken too
        bystander.execute("SELECT 1")
        assert not fault.is_gone()
        (holder,) = holders(fault.fault.request.fault_id)
        fault.undo()
        assert not holder.alive()
        assert not pair.refuses(ORDINARY)
        assert bystander.execute("SELECT 1").fetchone() == (1,), "only the fault's own sessions were ended"
        fault.wait_gone()
        before = pair.ask(leader, CLIENTS)
        fault.undo()
        after = pair.ask(leader, CLIENTS)
        assert after == before
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole


def test_half_of_the_connections_are_taken_and_the_rest_is_left(pair: RunningPair) -> None:
    leader = pair.port_of(leads=True)

    def still_admitted() -> int:
        opened = []
        try:
            while len(opened) < 60:
                opened.append(pair.sql(leader, ORDINARY))
        except psycopg.OperationalError:
            pass
        finally:
            for one in opened:
                one.close()
        return len(opened)

    free = still_admitted()
    with injected(pair.target, "exhaust_connections", share=0.5) as fault:
        assert fault.seen.seen, fault.seen
        assert abs(still_admitted() - free / 2) <= 2
    fault.wait_gone()
    within(10, lambda: abs(still_admitted() - free) <= 1)


def test_a_connection_that_another_gives_back_is_taken_as_well(pair: RunningPair) -> None:
    other = pair.sql(pair.port_of(leads=True), ORDINARY)
    with injected(pair.target, "exhaust_connections") as fault:
        assert fault.seen.seen, fault.seen
        other.close()
        time.sleep(1)
        assert pair.refuses(ORDINARY)


def test_the_connections_of_a_killed_holder_are_free_again(pair: RunningPair) -> None:
    with injected(pair.target, "exhaust_connections") as fault:
        (holder,) = holders(fault.fault.request.fault_id)
        holder.signal(signal.SIGKILL)
        within(10, lambda: not pair.refuses(ORDINARY))
    assert fault.is_gone()


def test_connections_that_nobody_gives_back_are_given_back_by_themselves(pair: RunningPair) -> None:
    with injected(pair.target, "exhaust_connections", 1.0) as fault:
        assert pair.refuses(ORDINARY)
        within(30, lambda: not pair.refuses(ORDINARY))
        within(5, fault.is_gone)


def test_an_ordinary_users_dsn_exhausts_and_sees_it_too(pair: RunningPair) -> None:
    service = pair.target.services["db"]
    dsn = pair.dsn.replace("postgres:", f"{ORDINARY}:", 1).replace(
        "postgresql://postgres", f"postgresql://{ORDINARY}"
    )
    target = pair.target.model_copy(update={"services": {"db": service.model_copy(update={"dsn": dsn})}})
    with injected(target, "exhaust_connections") as fault:
        assert fault.seen.seen, fault.seen
        assert "refused" in fault.seen.what
        assert pair.refuses(ORDINARY)
    fault.wait_gone()
    assert not pair.refuses(ORDINARY)


def test_a_leader_that_dies_takes_the_taken_connections_along(pair: RunningPair) -> None:
    with injected(pair.target, "exhaust_connections") as exhausted:
        assert exhausted.seen.seen, exhausted.seen
        leader = cluster(pair.urls).leader
        assert leader is not None
        listeners({leader.port})[leader.port].signal(signal.SIGKILL)
        within(30, lambda: cluster(pair.urls).leader not in (None, leader))
        within(10, lambda: holders(exhausted.fault.request.fault_id) == [])
    exhausted.wait_gone()
    assert not pair.refuses(ORDINARY)


def test_a_password_is_in_no_record_and_in_no_argument(pair: RunningPair) -> None:
    for kind in ("pause_replication", "exhaust_connections", "failover_database", "switchover_database"):
        fault = fault_for(pair.target, request_of(kind))
        plan = fault.undo_plan(fault.resolve())
        plan.pop("private", None)
        assert pair.password not in json.dumps(plan)
    with injected(pair.target, "exhaust_connections", share=0.1) as there:
        for holder in holders(there.fault.request.fault_id):
            assert pair.password.encode() not in Path(f"/proc/{holder.pid}/cmdline").read_bytes()


def test_a_secret_in_the_dsn_is_not_needed_again_for_undo(
    pair: RunningPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = pair.target.services["db"]
    hidden = pair.dsn.replace(pair.password, "${secret:PAIR_PASSWORD}")
    target = pair.target.model_copy(update={"services": {"db": service.model_copy(update={"dsn": hidden})}})
    monkeypatch.setenv("PAIR_PASSWORD", pair.password)
    with injected(target, "pause_replication") as fault:
        assert fault.seen.seen, fault.seen
        monkeypatch.delenv("PAIR_PASSWORD")
        fault.undo()
        fault.wait_gone()


def test_database_faults_that_somebody_ended_are_seen_to_be_over(pair: RunningPair) -> None:
    with injected(pair.target, "pause_replication") as fault:
        assert fault.fault.lasts(fault.instances, fault.plan).seen
        with pair.sql(pair.port_of(leads=False)) as session:
            session.execute("SELECT pg_wal_replay_resume()")
        over = fault.fault.lasts(fault.instances, fault.plan)
        assert not over.seen and "replay goes on" in over.what
    fault.wait_gone()
    with injected(pair.target, "exhaust_connections", share=0.5) as fault:
        assert fault.fault.lasts(fault.instances, fault.plan).seen
        (holder,) = holders(fault.fault.request.fault_id)
        holder.signal(signal.SIGKILL)
        within(10, lambda: not holder.alive())
        over = fault.fault.lasts(fault.instances, fault.plan)
        assert (over.seen, over.what) == (False, "the process that held the connections ended")
    assert fault.is_gone()
