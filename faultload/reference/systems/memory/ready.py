"""When the memory service is ready, on every platform, and how defects change that."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from faultload.reference.kit import patroni
from faultload.reference.kit.http import fetch_json

API_INSTANCES = 3


async def not_ready(url: str, patroni_urls: Sequence[str], defects: Collection[str]) -> str | None:
    """What is still missing, in words; None when the pair is whole and every API and the whole path work."""
    roles = sorted((await patroni.cluster_state(patroni_urls)).values())
    standby = "replica" if "async-replication" in defects else "sync_standby"
    if roles != sorted(["leader", standby]):
        return f"the database members are {', '.join(roles) or 'not there'}"
    gateway = await fetch_json(f"{url}/health")
    if not isinstance(gateway, dict) or gateway.get("healthy_instances") != API_INSTANCES:
        return f"the gateway says {gateway}"
    deep = await fetch_json(f"{url}/health/deep", timeout_s=3.0)
    if not isinstance(deep, dict) or deep.get("status") != "ok":
        return f"the deep health check says {deep}"
    return None


async def when_ready(patroni_urls: Sequence[str], defects: Collection[str]) -> None:
    """What a defect changes once everything is up."""
    if "no-failover" in defects and not await patroni.pause_failover(patroni_urls):
        raise RuntimeError("Patroni could not be paused")
