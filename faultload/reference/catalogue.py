"""The reference systems, and the defects each can be started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reference:
    """A small real implementation of a pack's interface; a defect is a fault in it, switched on to see red."""

    name: str
    services: tuple[str, ...]
    links: tuple[str, ...]
    defects: Mapping[str, str]
    """Name to one sentence."""


REFERENCES: Mapping[str, Reference] = {
    "memory": Reference(
        name="memory",
        services=("gateway", "api", "cloud", "shortterm", "db"),
        links=("gateway -> api", "api -> db"),
        defects={
            "ack-before-commit": "A write is acknowledged first and committed in a batch each second.",
            "async-replication": "The database acknowledges without waiting for its standby.",
            "no-failover": "Patroni is paused: nobody takes over from a dead leader.",
            "no-retry": "An API instance keeps a dead database connection for ever.",
            "no-fallback": "A search answers 503 when the first tier is down.",
            "slow-search": "A search takes 300 ms more.",
            "cache-off": "Nothing is answered from the cache.",
            "one-in-fifty-fails": "Every fiftieth request to an API instance answers 500.",
        },
    ),
}


PLATFORMS = ("local", "docker", "kubernetes")
"""Where reference systems can be started."""


def target_id(name: str, platform: str = "local") -> str:
    """The identity of a reference system on a platform."""
    return f"reference:{name}:{platform}"


def of_id(target_id: str) -> tuple[str, str] | None:
    """Name and platform of a reference system by its target id, or None for a target that is none."""
    kind, _, rest = target_id.partition(":")
    name, colon, platform = rest.partition(":")
    return (name, platform) if kind == "reference" and colon else None
