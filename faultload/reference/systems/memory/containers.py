"""The memory service as a compose project: its variables and its target file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from faultload.reference.kit import patroni
from faultload.reference.kit.ports import free_ports
from faultload.reference.systems.memory import ready
from faultload.reference.systems.memory.ready import API_INSTANCES
from faultload.spec.workspace import packs_root

HOST = "127.0.0.1"
COMPOSE_FILE = packs_root() / "docker-compose.yml"
SERVICES = ("gateway", "api", "cloud", "shortterm", "pg1", "pg2", "arbiter")
"""What is started of that file; other systems have services in it too."""
PORTS = ("MEMORY_PORT", "MEMORY_PG1_PORT", "MEMORY_PG1_REST_PORT", "MEMORY_PG2_PORT", "MEMORY_PG2_REST_PORT")
OBSERVED = {"MEMORY_PROMETHEUS_PORT": "9090", "MEMORY_GRAFANA_PORT": "3000"}
"""Published with the profile `observability` only, where a person looks for them."""


@dataclass(frozen=True, slots=True)
class Containers:
    """A planned compose project; nothing runs yet."""

    project: str
    defects: frozenset[str]
    variables: Mapping[str, str]
    """What `docker-compose.yml` reads."""

    @classmethod
    def plan(cls, project: str, image: str, defects: frozenset[str]) -> Containers:
        """Choose ports and a password; a variable that is set in the environment stays as it is."""
        chosen = {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
        chosen |= OBSERVED | {
            "MEMORY_PASSWORD": secrets.token_hex(16),
            "MEMORY_DEFECTS": ",".join(sorted(defects)),
            "FAULTLOAD_MEMORY_IMAGE": image,
        }
        given = {name: os.environ[name] for name in chosen if os.environ.get(name)}
        return cls(project, defects, chosen | given)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.variables['MEMORY_PORT']}"

    @property
    def patroni_urls(self) -> list[str]:
        """The members' REST APIs as this machine reaches them."""
        return [f"http://{HOST}:{self.variables[f'MEMORY_{name}_REST_PORT']}" for name in ("PG1", "PG2")]

    async def not_ready(self) -> str | None:
        """What is still missing, in words; None when the whole system works."""
        return await ready.not_ready(self.url, self.patroni_urls, self.defects)

    async def when_ready(self) -> None:
        """What a defect changes once everything is up."""
        await ready.when_ready(self.patroni_urls, self.defects)

    def target(self) -> dict[str, Any]:
        """The target file without `id`, `name` and `platform`."""
        services: dict[str, Any] = {
            name: {"compose": name, "port": port, "count": count, "health": "/health"}
            for name, port, count in (
                ("gateway", 8080, 1),
                ("api", 8081, API_INSTANCES),
                ("cloud", 8082, 1),
                ("shortterm", 8083, 1),
            )
        }
        members = [(HOST, int(self.variables[f"MEMORY_{name}_PORT"])) for name in ("PG1", "PG2")]
        services["db"] = {
            "labels": {"com.docker.compose.project": self.project, "faultload.service": "db"},
            "port": 5432,
            "patroni": self.patroni_urls,
            "dsn": patroni.read_write_dsn(self.variables["MEMORY_PASSWORD"], members),
        }
        return {
            "url": self.url,
            "project": self.project,
            "services": services,
            "links": {
                "gateway -> api": {"port": 8081, "protocol": "http"},
                "api -> db": {"port": 5432, "protocol": "postgres"},
            },
        }
