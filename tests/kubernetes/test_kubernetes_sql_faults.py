"""Faults by SQL on a database in pods: there, gone after undo, and a second undo changes nothing."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faultload import reference
from faultload.errors import InvalidInput
from faultload.faults.database.postgres_holder import holders
from faultload.platforms.kubernetes.client import core
from faultload.spec.target import read_target

# what tests of local databases check as well
sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "faults"))
from database_checks import PAUSED, ROWS, TABLE, Pair, injected, stands, within

pytestmark = pytest.mark.kubernetes
ORDINARY = "memory"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The memory service in a namespace of our own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("FAULTLOAD_NAMESPACE", f"faultload-sql-{secrets.token_hex(3)}")
        try:
            begun = reference.start("memory", "kubernetes")
        except InvalidInput as error:
            pytest.skip(f"the reference system cannot be started on Kubernetes here: {error}")
        try:
            pair = Pair(read_target(begun.wait_ready(180)))
            with pair.sql(pair.port_of(leads=True)) as session:
                session.execute(TABLE)
            yield pair
        finally:
            # a busy cluster takes its time to end a namespace
            within(180, lambda: reference.stop("memory", "kubernetes") == [])


@pytest.fixture
def pair(started: Pair) -> Pair:
    started.wait_whole()
    return started


def uid_of(pair: Pair, name: str) -> str:
    namespace = pair.target.namespace_of("db")
    return str(core(pair.target).read_namespaced_pod(name, namespace).metadata.uid)


def test_a_paused_replication_leaves_stale_reads_and_is_over_after_undo(pair: Pair) -> None:
    leader, standby = pair.port_of(leads=True), pair.port_of(leads=False)
    with injected(pair.target, "pause_replication", 40.0) as fault:
        assert fault.seen.seen, fault.seen
        (instance,) = fault.instances
        assert instance.id == uid_of(pair, instance.name)
        rows = pair.ask(standby, ROWS)
        pair.committed(leader, "on").join(20)
        assert (pair.ask(leader, ROWS), pair.ask(standby, ROWS)) == (rows + 1, rows)
        assert not fault.is_gone()
    fault.wait_gone()
    within(20, lambda: pair.ask(standby, ROWS) == rows + 1)
    assert not pair.paused() and not pair.ask(standby, PAUSED)
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole


def test_exhausted_connections_shut_ordinary_users_out_until_undo(pair: Pair) -> None:
    assert not pair.refuses(ORDINARY)
    with injected(pair.target, "exhaust_connections", 40.0) as fault:
        assert fault.seen.seen, fault.seen
        (instance,) = fault.instances
        assert instance.id == uid_of(pair, instance.name)
        assert pair.refuses(ORDINARY)
        assert not fault.is_gone()
    fault.wait_gone()
    assert not pair.refuses(ORDINARY)
    assert holders(fault.fault.request.fault_id) == []
    whole = stands(pair)
    fault.undo()
    assert stands(pair) == whole
