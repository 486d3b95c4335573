"""What tests of database faults share wherever the members live: a fault from gate to witness, what it left."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from faultload.faults import fault_for
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.platforms import platform_of
from faultload.platforms.base import Instance
from faultload.platforms.databases.patroni import cluster_problems, configuration, nodes
from faultload.platforms.databases.postgres import addresses
from faultload.spec.target import TargetFile, target_from_json

PASSWORD_MARK = "postgres:"


class Pair:
    """A running pair as a test sees it, and what a test asks it independently of any fault's witness."""

    def __init__(self, target: TargetFile) -> None:
        service = target.services["db"]
        assert service.patroni is not None and service.dsn is not None
        self.target, self.urls, self.dsn = target, service.patroni, service.dsn

    @property
    def password(self) -> str:
        return self.dsn.partition(PASSWORD_MARK)[2].partition("@")[0]

    def wait_whole(self, timeout_s: float = 90.0) -> None:
        """Until the pair has a leader and a synchronous standby, in no maintenance mode."""
        deadline = time.monotonic() + timeout_s
        while problems := [*cluster_problems("db", self.urls), *(["it is paused"] if self.paused() else [])]:
            assert time.monotonic() < deadline, problems
            time.sleep(0.2)

    def paused(self) -> bool:
        """Whether Patroni is in maintenance mode, as its configuration says."""
        return bool(configuration(self.urls).get("pause"))

    def port_of(self, *, leads: bool) -> int:
        """The SQL port of the leader, or of the standby, as the servers themselves say."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for _, port in addresses(self.dsn):
                with suppress(psycopg.OperationalError):
                    if self.ask(port, "SELECT NOT pg_is_in_recovery()") is leads:
                        return port
            time.sleep(0.1)
        raise AssertionError(f"no member {'leads' if leads else 'follows'}")

    def sql(self, port: int, user: str = "postgres") -> psycopg.Connection[Any]:
        """A session on one member that waits for no standby."""
        found = psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=user,
            password=self.password,
            dbname="postgres",
            autocommit=True,
            connect_timeout=3,
        )
        found.execute("SET synchronous_commit = local")
        return found

    def ask(self, port: int, statement: str) -> Any:
        """The first value of the first row."""
        with self.sql(port) as session:
            row = session.execute(statement).fetchone()
        return None if row is None else row[0]

    def refuses(self, user: str) -> bool:
        """Whether the leader refuses a new connection for there being too many."""
        try:
            self.sql(self.port_of(leads=True), user).close()
        except psycopg.OperationalError as error:
            assert "connection slots" in str(error) or "too many clients" in str(error)
            return True
        return False

    def committed(self, port: int, synchronous_commit: str) -> threading.Thread:
        """A thread that ends when a row is committed."""

        def write() -> None:
            with self.sql(port) as session:
                session.execute(f"SET synchronous_commit = {synchronous_commit}")
                session.execute(WRITE)

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return thread


PAUSED = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'faultload %'"
CLIENTS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
TABLE = "CREATE TABLE IF NOT EXISTS kept (n int)"
ROWS = "SELECT count(*) FROM kept"
WRITE = "INSERT INTO kept VALUES (1)"


@dataclass
class Injected:
    """A fault that is there, and the fault as another process finds it in the index."""

    fault: PlatformFault
    instances: list[Instance]
    plan: dict[str, Any]
    seen: WitnessReport

    def elsewhere(self) -> PlatformFault:
        """A handler that knows nothing but JSON."""
        target = target_from_json(json.loads(json.dumps(self.fault.target.to_json())))
        request = FaultRequest.from_json(json.loads(json.dumps(self.fault.request.to_json())))
        return fault_for(target, request)

    def undo(self) -> None:
        self.elsewhere().undo(self.instances, self.plan)

    def is_gone(self) -> bool:
        return self.elsewhere().gone(self.instances, self.plan).seen

    def wait_gone(self) -> None:
        within(self.elsewhere().gone_within_s, self.is_gone)


def request_of(kind: str, duration_s: float = 20.0, **arguments: Any) -> FaultRequest:
    return FaultRequest(f"{kind}#1@{time.monotonic_ns()}", kind, arguments, duration_s)


@contextmanager
def injected(target: TargetFile, kind: str, duration_s: float = 20.0, **arguments: Any) -> Iterator[Injected]:
    """A fault from gate to witness; whatever happens, it is undone."""
    fault = fault_for(target, request_of(kind, duration_s, **arguments))
    assert fault.gate() == []
    instances = fault.resolve()
    assert instances
    fault.prepare(instances)
    plan = json.loads(json.dumps(fault.undo_plan(instances)))
    found = Injected(fault, instances, plan, WitnessReport(False, "not yet"))
    try:
        fault.inject(instances, plan)
        found.seen = fault.witness(instances)
        yield found
    finally:
        found.undo()


def within(seconds: float, condition: Callable[[], Any]) -> None:
    """Wait for a condition on a busy machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def stands(pair: Pair) -> dict[str, Any]:
    """What a second undo must not change."""
    return {
        "instances": platform_of(pair.target).instances("db"),
        "members": {name: (one.leads, one.timeline, one.paused) for name, one in nodes(pair.urls).items()},
        "configuration": configuration(pair.urls),
        "paused": {port: pair.ask(port, PAUSED) for _, port in addresses(pair.dsn)},
        "sessions": pair.ask(pair.port_of(leads=True), SESSIONS),
    }
