"""How the memory service's processes find each other: from a configuration file or the environment."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Address = tuple[str, int]
"""Host and port; a host that is a name may stand for several instances."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses, the database account, and the defects that are switched on."""

    gateway_upstreams: tuple[Address, ...]
    api_databases: dict[int, tuple[Address, ...]]
    """By API port: the database members as that instance reaches them when that is not directly."""
    database: tuple[Address, ...]
    user: str
    password: str
    tiers: dict[str, Address]
    defects: frozenset[str]
    host: str = "127.0.0.1"
    """What the processes listen on."""

    def databases_of(self, port: int) -> tuple[Address, ...]:
        """The database members as the API instance on a port reaches them."""
        return self.api_databases.get(port, self.database)

    def to_json(self) -> dict[str, Any]:
        return {
            "gateway_upstreams": self.gateway_upstreams,
            "api_databases": {str(port): found for port, found in self.api_databases.items()},
            "database": self.database,
            "user": self.user,
            "password": self.password,
            "tiers": self.tiers,
            "defects": sorted(self.defects),
            "host": self.host,
        }

    @classmethod
    def read(cls, path: Path) -> Settings:
        value = json.loads(path.read_text())
        return cls(
            gateway_upstreams=_addresses(value["gateway_upstreams"]),
            api_databases={int(port): _addresses(found) for port, found in value["api_databases"].items()},
            database=_addresses(value["database"]),
            user=value["user"],
            password=value["password"],
            tiers={str(name): (str(host), int(port)) for name, (host, port) in value["tiers"].items()},
            defects=frozenset(value["defects"]),
            host=value["host"],
        )

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """As a container has them: `MEMORY_API`, `_CLOUD`, `_SHORTTERM` and `_DATABASE` are HOST:PORT,...,
        `MEMORY_PASSWORD` is the database's, `MEMORY_DEFECTS` names defects, `MEMORY_LISTEN` an address.
        """
        return cls(
            gateway_upstreams=addresses(env.get("MEMORY_API", "api:8081")),
            api_databases={},
            database=addresses(env.get("MEMORY_DATABASE", "pg1:5432,pg2:5432")),
            user="memory",
            password=env["MEMORY_PASSWORD"],
            tiers={
                "cloud": addresses(env.get("MEMORY_CLOUD", "cloud:8082"))[0],
                "shortterm": addresses(env.get("MEMORY_SHORTTERM", "shortterm:8083"))[0],
            },
            defects=frozenset(env.get("MEMORY_DEFECTS", "").replace(",", " ").split()),
            host=env.get("MEMORY_LISTEN", "0.0.0.0"),
        )


def arguments(program: str, *more: str) -> argparse.Namespace:
    """The command line that every process of the service has; `settings` among it.

    Without `--config` the settings are those of the environment.
    """
    parser = argparse.ArgumentParser(prog=program)
    for name in more:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", type=Path)
    given = parser.parse_args()
    given.settings = Settings.read(given.config) if given.config else Settings.from_environment(os.environ)
    return given


def addresses(text: str) -> tuple[Address, ...]:
    """`pg1:5432,pg2:5432` as addresses."""
    return _addresses(part.strip().rsplit(":", 1) for part in text.split(",") if part.strip())


def _addresses(found: Iterable[Iterable[Any]]) -> tuple[Address, ...]:
    return tuple((str(host), int(port)) for host, port in found)
