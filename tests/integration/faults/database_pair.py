"""A PostgreSQL pair under Patroni and nothing else, for tests: `python database_pair.py FOLDER`, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from database_checks import Pair

from faultload.reference.host import sweep
from faultload.reference.host.supervisor import Supervisor
from faultload.reference.kit import patroni
from faultload.reference.kit.ports import free_ports
from faultload.reference.kit.program import Program
from faultload.spec.target import read_target

ORDINARY = "ordinary"


class Programs:
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


class RunningPair(Pair):
    """A pair in processes of this machine."""

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
        super().__init__(read_target(file))

    def stop(self) -> None:
        """End everything that belongs to the pair."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        sweep.sweep(self.folder)


def main() -> None:
    """Run until SIGTERM."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, filename=folder / "supervisor.log")
    os.nice(5)
    asyncio.run(Supervisor("pair", f"test:{folder.name}", folder, folder / "logs", Programs(folder)).run())


if __name__ == "__main__":
    main()
