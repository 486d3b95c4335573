"""The PostgreSQL servers behind a DSN: who leads, how far each has replayed, which connections are in use."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faultload.errors import Refused, TargetError

if TYPE_CHECKING:
    from psycopg import Connection

TOO_MANY_CONNECTIONS = "53300"
_NAME_BYTES = 63  # NAMEDATALEN - 1: PostgreSQL cuts longer names off
_OF_ALL_HOSTS = ("target_session_attrs", "load_balance_hosts", "hostaddr")
_MESSAGE = "SELECT pg_logical_emit_message(true, 'faultload', 'witness')"


@dataclass(frozen=True, slots=True)
class Server:
    """One server that answers at an address of the DSN; `started` (its postmaster's) is its identity."""

    host: str
    port: int
    leads: bool
    started: float
    version: int

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port


def need_client() -> None:
    """Raise Refused when psycopg is not installed."""
    if importlib.util.find_spec("psycopg") is None:
        raise Refused("this fault needs psycopg to talk to PostgreSQL: pip install 'faultload[postgres]'")


def application_name(fault_id: str) -> str:
    """The name of a fault's own sessions: it carries the fault's id, shortened with a digest where it is long."""
    name = "faultload " + "".join(letter if " " < letter <= "~" else "_" for letter in fault_id)
    if len(name) <= _NAME_BYTES:
        return name
    digest = hashlib.sha256(fault_id.encode()).hexdigest()[:12]
    return f"{name[: _NAME_BYTES - 13]}~{digest}"


def addresses(dsn: str) -> list[tuple[str, int]]:
    """Every host and port of a DSN. Raises TargetError for one that cannot be read."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:
        raise TargetError("the `dsn` in the target file is not a PostgreSQL connection string") from None
    hosts = str(parts.get("host") or parts.get("hostaddr") or "localhost").split(",")
    ports = str(parts.get("port") or 5432).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    return [(host, int(port or 5432)) for host, port in zip(hosts, ports, strict=False)]


@contextmanager
def session(
    dsn: str, address: tuple[str, int], name: str = "faultload", timeout_s: float = 5.0
) -> Iterator[Connection[Any]]:
    """A session on one server, whatever its role, in autocommit mode. Raises psycopg.Error."""
    connection = connect(dsn, address, name, timeout_s)
    try:
        # what is committed here is for nobody to wait for: not even for a standby that replays nothing
        connection.execute("SET synchronous_commit = local")
        connection.execute(f"SET statement_timeout = {int(timeout_s * 1000)}")
        yield connection
    finally:
        connection.close()


def connect(dsn: str, address: tuple[str, int], name: str, timeout_s: float = 5.0) -> Connection[Any]:
    """One new connection to one server. Raises psycopg.Error."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    parts: dict[str, Any] = {
        **{key: value for key, value in conninfo_to_dict(dsn).items() if key not in _OF_ALL_HOSTS},
        "host": address[0],
        "port": address[1],
        "application_name": name,
        "connect_timeout": max(2, round(timeout_s)),
        "tcp_user_timeout": int(timeout_s * 1000),
    }
    return psycopg.connect(**parts, autocommit=True)


def servers(dsn: str) -> list[Server]:
    """The servers that answer at the addresses of a DSN. Raises TargetError when none does."""
    import psycopg

    found: dict[float, Server] = {}
    problem = "the `dsn` in the target file names no host"
    for address in addresses(dsn):
        try:
            with session(dsn, address) as sql:
                row = sql.execute(
                    "SELECT NOT pg_is_in_recovery(), extract(epoch FROM pg_postmaster_start_time())::float8"
                ).fetchone()
                version = sql.info.server_version
        except psycopg.Error as error:
            problem = f"PostgreSQL at {address[0]}:{address[1]} does not answer: {_first_line(error)}"
            continue
        assert row is not None
        leads, started = bool(row[0]), round(float(row[1]), 3)
        found.setdefault(started, Server(*address, leads=leads, started=started, version=version))
    if not found:
        raise TargetError(problem)
    return list(found.values())


def leader_of(found: Sequence[Server]) -> Server | None:
    """The server that takes writes."""
    return next((server for server in found if server.leads), None)


def written(sql: Connection[Any]) -> int:
    """Write a little WAL on the leader, no table touched, and say up to where it is flushed, in bytes.

    The message is one that only logical decoding sees (PostgreSQL documentation, "Replication Management
    Functions").
    """
    sql.execute(_MESSAGE)
    row = sql.execute("SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint").fetchone()
    assert row is not None
    return int(row[0])


def received_and_replayed(sql: Connection[Any]) -> tuple[int, int]:
    """How far a standby has received and replayed, in bytes of WAL."""
    row = sql.execute(
        "SELECT coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::bigint, 0),"
        " coalesce(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint, 0)"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def replay_paused(sql: Connection[Any]) -> bool:
    """Whether somebody has asked a server to pause its replay; never of one that leads."""
    row = sql.execute(
        "SELECT CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END"
    ).fetchone()
    assert row is not None
    return bool(row[0])


def pause_replay(sql: Connection[Any]) -> None:
    """Pause the replay of a standby. Raises psycopg.Error when the server leads by now."""
    if not replay_paused(sql):
        sql.execute("SELECT pg_wal_replay_pause()")


def resume_replay(sql: Connection[Any]) -> None:
    """Resume the replay of a standby where it is paused."""
    if replay_paused(sql):
        sql.execute("SELECT pg_wal_replay_resume()")


@dataclass(frozen=True, slots=True)
class Slots:
    """The connections of one server: how many ordinary users may have, and who has them."""

    limit: int
    """`max_connections` less what is reserved."""
    reserved: int
    superuser: bool
    """Whether the session that asks may use the reserved ones."""
    others: int
    ours: int

    @property
    def free(self) -> int:
        """Left for ordinary users."""
        return max(0, self.limit - self.others - self.ours)


def slots(sql: Connection[Any], name: str) -> Slots:
    """Count the connections of a server; `name` is that of the fault's own, and the asking one is left out."""
    row = sql.execute(
        "SELECT current_setting('max_connections')::int,"
        " current_setting('superuser_reserved_connections')::int"
        " + coalesce(current_setting('reserved_connections', true)::int, 0),"
        " (SELECT rolsuper FROM pg_roles WHERE rolname = session_user),"
        " count(*) FILTER (WHERE application_name <> %(name)s),"
        " count(*) FILTER (WHERE application_name = %(name)s)"
        " FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (backend_type = 'client backend'"
        # an ordinary user does not see the type of other users' sessions
        " OR (backend_type IS NULL AND datid IS NOT NULL AND usesysid IS NOT NULL))",
        {"name": name},
    ).fetchone()
    assert row is not None
    most, reserved, superuser, others, ours = row
    return Slots(most - reserved, reserved, bool(superuser), others, ours)


def admitted(dsn: str, address: tuple[str, int], most: int) -> int:
    """How many new connections a server really admits, up to `most`; all are closed again at once.

    Raises psycopg.Error for a refusal of another kind than too many connections.
    """
    import psycopg

    opened: list[Connection[Any]] = []
    try:
        for _ in range(most):
            opened.append(connect(dsn, address, "faultload count"))
    except psycopg.OperationalError as error:
        if not too_many(error):
            raise
    finally:
        for connection in opened:
            connection.close()
    return len(opened)


def too_many(error: BaseException) -> bool:
    """Whether a connection was refused because there are too many (SQLSTATE 53300).

    libpq hands on no SQLSTATE of a connection that failed, so the server's words are read, as it says them in
    English (PostgreSQL, src/backend/utils/init/postinit.c and src/backend/storage/lmgr/proc.c).
    """
    if getattr(error, "sqlstate", None) == TOO_MANY_CONNECTIONS:
        return True
    words = ("too many clients already", "remaining connection slots are reserved", "too many connections for")
    return any(word in str(error) for word in words)


def end_sessions(dsn: str, address: tuple[str, int], name: str) -> int:
    """End the sessions that have exactly this application name; returns how many there were."""
    with session(dsn, address) as sql:
        rows = sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %s AND pid <> pg_backend_pid()",
            [name],
        ).fetchall()
    return len(rows)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
