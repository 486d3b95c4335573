"""What the processes of the memory service read from their configuration file."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses, the database account, and the defects that are switched on."""

    gateway_upstreams: tuple[int, ...]
    api_databases: dict[int, tuple[Address, ...]]
    """By API port: the database members as that instance reaches them, through the link proxy."""
    database: tuple[Address, ...]
    user: str
    password: str
    tiers: dict[str, int]
    defects: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "gateway_upstreams": self.gateway_upstreams,
            "api_databases": {str(port): found for port, found in self.api_databases.items()},
            "database": self.database,
            "user": self.user,
            "password": self.password,
            "tiers": self.tiers,
            "defects": sorted(self.defects),
        }

    @classmethod
    def read(cls, path: Path) -> Settings:
        value = json.loads(path.read_text())
        return cls(
            gateway_upstreams=tuple(value["gateway_upstreams"]),
            api_databases={int(port): _addresses(found) for port, found in value["api_databases"].items()},
            database=_addresses(value["database"]),
            user=value["user"],
            password=value["password"],
            tiers={str(name): int(port) for name, port in value["tiers"].items()},
            defects=frozenset(value["defects"]),
        )


def arguments(program: str, *more: str) -> argparse.Namespace:
    """The command line that every process of the service has."""
    parser = argparse.ArgumentParser(prog=program)
    for name in more:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", type=Path, required=True)
    return parser.parse_args()


def _addresses(found: list[list[Any]]) -> tuple[Address, ...]:
    return tuple((str(host), int(port)) for host, port in found)
