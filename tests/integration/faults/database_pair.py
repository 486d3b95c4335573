"""A PostgreSQL pair under Patroni and nothing else, for tests: `python database_pair.py FOLDER`, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from faultload.platforms.patroni import cluster, cluster_problems, configuration
from faultload.reference import patroni, sweep
from faultload.reference.ports import free_ports
from faultload.reference.program import Program
from faultload.reference.supervisor import Supervisor
from faultload.target import TargetFile, read_target

ORDINARY = "ordinary"


class Pair:
    """What the supervisor of reference systems starts and watches."""

    def __init__(self, folder: Path) -> None:
        self.cluster = patroni.Cluster.plan(folder / "db", free_ports(7), synchronous=True)

    def programs(self) -> list[Program]:
        # a password that no test has to look up; the pair listens on loopback and lives for one test module
        schema = f"CREATE ROLE {ORDINARY} LOGIN PASSWORD '{self.cluster.password}'; CREATE TABLE kept (n int);"
        return self.cluster.programs(f"{schema} GRANT ALL ON kept TO {ORDINARY};")

    async def not_ready(self) -> str | None:
        roles = sorted((await patroni.cluster_state([member.url for member in self.cluster.members])).values())
        return None if roles == ["leader", "sync_standby"] else f"the members are {roles}"

    async def when_ready(self) -> None:
        return

    def target(self) -> dict[str, Any]:
        urls = [member.url for member in self.cluster.members]
        return {"services": {"db": {"patroni": urls, "dsn": self.cluster.dsn}}}


class RunningPair:
    """The pair as a test sees it, and what a test asks it independently of any fault's witness."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen([sys.executable, __file__, str(folder)], start_new_session=True)
        file = folder / "target.yaml"
        deadline = time.monotonic() + 120
        try:
            while not file.exists():
                assert self.process.poll() is None, "the pair could not be started"
                assert time.monotonic() < deadline, "the pair did not get ready"
                time.sleep(0.1)
        except BaseException:
            self.stop()
            raise
        self.target: TargetFile = read_target(file)
        service = self.target.services["db"]
        assert service.patroni is not None and service.dsn is not None
        self.urls, self.dsn = service.patroni, service.dsn

    def stop(self) -> None:
        """End everything that belongs to the pair."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        sweep.sweep(self.folder)

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
            for member in cluster(self.urls).members:
                with suppress(psycopg.OperationalError):
                    if self.ask(member.port, "SELECT NOT pg_is_in_recovery()") is leads:
                        return member.port
            time.sleep(0.1)
        raise AssertionError(f"no member {'leads' if leads else 'follows'}")

    def sql(self, port: int, user: str = "postgres") -> psycopg.Connection[Any]:
        """A session on one member that waits for no standby."""
        password = self.dsn.partition("postgres:")[2].partition("@")[0]
        found = psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=user,
            password=password,
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


def main() -> None:
    """Run until SIGTERM."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, filename=folder / "supervisor.log")
    os.nice(5)
    asyncio.run(Supervisor("pair", f"test:{folder.name}", folder, folder / "logs", Pair(folder)).run())


if __name__ == "__main__":
    main()
