"""The memory service on Kubernetes: its ports and its target file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faultload.reference.kit import patroni
from faultload.reference.systems.memory import ready
from faultload.reference.systems.memory.ready import API_INSTANCES

HOST = "127.0.0.1"
DEFECTS_ENV = "MEMORY_DEFECTS"
"""The variable in which its processes find their defects, with a comma between."""
MEMBERS = ("pg-0", "pg-1")
NODE_PORTS: Mapping[str, tuple[str, int]] = {
    "gateway": ("gateway", 8080),
    **{f"{member} sql": (member, 5432) for member in MEMBERS},
    **{f"{member} patroni": (member, 8008) for member in MEMBERS},
}
"""What is reached from outside: service and port, by a name for it."""
_PORTS = {"gateway": 8080, "api": 8081, "cloud": 8082, "shortterm": 8083, "db": 5432}
_CONTAINERS = {"gateway": "gateway", "api": "api", "cloud": "tier", "shortterm": "tier", "db": "postgres"}
_COUNTS = {"api": API_INSTANCES}


def target(namespace: str, ports: Mapping[str, int], password: str) -> dict[str, Any]:
    """The target file without `id` and `name`; `ports` are those of this machine's loopback."""
    services: dict[str, dict[str, Any]] = {
        name: {
            "selector": f"app.kubernetes.io/name=memory,app.kubernetes.io/component={name}",
            "container": _CONTAINERS[name],
            "port": port,
            "count": _COUNTS.get(name, 1),
        }
        for name, port in _PORTS.items()
    }
    services["db"] |= {
        "count": len(MEMBERS),
        "patroni": [f"http://{HOST}:{ports[f'{member} patroni']}" for member in MEMBERS],
        "dsn": patroni.read_write_dsn(password, [(HOST, ports[f"{member} sql"]) for member in MEMBERS]),
    }
    return {
        "platform": "kubernetes",
        "url": f"http://{HOST}:{ports['gateway']}",
        "namespace": namespace,
        "services": services,
        "links": {
            "gateway -> api": {"port": _PORTS["api"], "protocol": "http"},
            "api -> db": {"port": _PORTS["db"], "protocol": "postgres"},
        },
    }


async def not_ready(described: Mapping[str, Any], defects: tuple[str, ...]) -> str | None:
    """What is still missing, in words; None when the whole system works."""
    return await ready.not_ready(described["url"], described["services"]["db"]["patroni"], defects)


async def when_ready(described: Mapping[str, Any], defects: tuple[str, ...]) -> None:
    """What a defect changes once everything is up."""
    await ready.when_ready(described["services"]["db"]["patroni"], defects)
