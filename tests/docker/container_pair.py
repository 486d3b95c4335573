"""A PostgreSQL pair under Patroni in containers of our own, declared by labels as a team would declare theirs."""

from __future__ import annotations

import secrets
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from faultload.platforms.databases.patroni import cluster_problems
from faultload.reference.host import docker_image, docker_project
from faultload.reference.kit.patroni import read_write_dsn
from faultload.reference.kit.ports import free_ports
from faultload.spec.target import TargetFile, target_from_json

# what tests of local databases check as well
sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "faults"))
from database_checks import Pair

LABEL = "faultload.test.pair"
RAFT = "arbiter:2380,pg1:2380,pg2:2380"


class ContainerPair(Pair):
    """Two members and a vote in a network of their own; `stop` removes them all."""

    def __init__(self, restart: str = "always") -> None:
        from docker import from_env

        self.client = from_env(timeout=60)
        image = docker_image.ensure(self.client, "memory", lambda line: None)
        self.name = f"pair-{uuid.uuid4().hex[:8]}"
        self.network = self.client.networks.create(self.name, labels={LABEL: self.name})
        password, ports = secrets.token_hex(16), free_ports(4)
        self.containers: dict[str, Any] = {}
        try:
            self._run(image, "arbiter", ["--voter"], {}, {})
            for n, member in enumerate(("pg1", "pg2")):
                sql, rest = ports[2 * n : 2 * n + 2]
                published = {"5432/tcp": ("127.0.0.1", sql), "8008/tcp": ("127.0.0.1", rest)}
                self._run(image, member, [], {"MEMORY_PASSWORD": password}, published, restart)
            super().__init__(self._declared(password, ports))
            self.wait_up()
        except BaseException:
            self.stop()
            raise

    def _run(
        self,
        image: str,
        name: str,
        words: list[str],
        env: dict[str, str],
        ports: dict[str, Any],
        restart: str = "always",
    ) -> None:
        self.containers[name] = self.client.containers.create(
            image,
            ["python", "-m", "faultload.reference.systems.memory.member", *words],
            name=f"{self.name}-{name}",
            hostname=name,
            environment={"MEMORY_RAFT": RAFT, **env},
            labels={LABEL: self.name, "role": "database" if env else "arbiter"},
            network=self.name,
            ports=ports,
            restart_policy={"Name": restart},
            mem_limit="512m",
        )
        self.network.disconnect(self.containers[name])
        self.network.connect(self.containers[name], aliases=[name])
        self.containers[name].start()

    def _declared(self, password: str, ports: list[int]) -> TargetFile:
        """The target file that a team would write by hand."""
        service = {
            "labels": {LABEL: self.name, "role": "database"},
            "port": 5432,
            "patroni": [f"http://127.0.0.1:{port}" for port in ports[1::2]],
            "dsn": read_write_dsn(password, [("127.0.0.1", port) for port in ports[::2]]),
        }
        found = {"id": self.name, "name": self.name, "platform": "docker", "services": {"db": service}}
        return target_from_json(found)

    def wait_up(self, timeout_s: float = 180.0) -> None:
        """Until the pair is whole for the first time, with a table to write to."""
        deadline = time.monotonic() + timeout_s
        while problems := cluster_problems("db", self.urls):
            if time.monotonic() > deadline:
                logs = {name: one.logs(tail=20).decode() for name, one in self.containers.items()}
                raise AssertionError(f"the pair did not get ready: {problems}; {logs}")
            time.sleep(0.2)
        with self.sql(self.port_of(leads=True)) as session:
            session.execute("CREATE TABLE IF NOT EXISTS kept (n int)")

    def container_at(self, port: int) -> Any:
        """The container whose PostgreSQL is published at a port, as it is now."""
        for one in self.containers.values():
            one.reload()
            published = (one.attrs["HostConfig"]["PortBindings"] or {}).get("5432/tcp") or []
            if any(int(place["HostPort"]) == port for place in published):
                return one
        raise AssertionError(f"no container publishes port {port}")

    def stop(self) -> None:
        """Remove what was made, and nothing else."""
        from docker.errors import NotFound

        for one in self.containers.values():
            with suppress(NotFound):
                one.remove(force=True, v=True)
        with suppress(NotFound):
            self.network.remove()


def needed() -> str | None:
    """Why the pair cannot be started here; None when it can."""
    from faultload.errors import FaultloadError

    try:
        with docker_project.engine() as client:
            docker_image.check(client, "memory")
    except FaultloadError as error:
        return str(error)
    return None
