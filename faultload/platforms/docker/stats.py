"""A container's use of processor, memory, disk and network, as the engine counts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faultload.platforms.docker import client as docker_client


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container has used since its start, and holds now; of both versions of control groups."""

    at_s: float
    """When the engine counted, in seconds since the epoch by its own clock."""
    cpu_s: float
    throttled_s: float
    """Time that it had to wait because its processor limit was reached."""
    memory_bytes: int
    """What its control group is charged, without the file cache that can be dropped at once."""
    rss_bytes: int
    """Anonymous memory: what no file backs."""
    threads: int
    read_bytes: int
    written_bytes: int
    received_bytes: int
    sent_bytes: int


def usage(container_id: str) -> Usage | None:
    """What a container uses; None when it does not run. Raises TargetError."""
    from docker.errors import NotFound

    with docker_client.asking(f"count what container {container_id[:12]} uses"):
        try:
            # two samples a second apart are the engine's default; one is all that is wanted
            answer: dict[str, Any] = docker_client.client().api.stats(container_id, stream=False, one_shot=True)
        except NotFound:
            return None
    return usage_from(answer)


def usage_from(answer: dict[str, Any]) -> Usage | None:
    """An answer of the engine's stats API as ours; None for a container that does not run."""
    cpu, memory = answer.get("cpu_stats") or {}, answer.get("memory_stats") or {}
    if "usage" not in memory or "cpu_usage" not in cpu:
        return None
    detail = memory.get("stats") or {}
    # as `docker stats` counts: v1 has total_inactive_file, v2 inactive_file
    droppable = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    read, written = _disk_bytes(answer)
    networks = (answer.get("networks") or {}).values()
    return Usage(
        at_s=docker_client.epoch_s(str(answer["read"])),
        cpu_s=cpu["cpu_usage"]["total_usage"] / 1e9,
        throttled_s=(cpu.get("throttling_data") or {}).get("throttled_time", 0) / 1e9,
        memory_bytes=max(0, memory["usage"] - droppable),
        rss_bytes=detail.get("total_rss", detail.get("rss", detail.get("anon", 0))),
        threads=(answer.get("pids_stats") or {}).get("current") or 0,
        read_bytes=read,
        written_bytes=written,
        received_bytes=sum(one["rx_bytes"] for one in networks),
        sent_bytes=sum(one["tx_bytes"] for one in networks),
    )


def _disk_bytes(answer: dict[str, Any]) -> tuple[int, int]:
    """Bytes read and written; the operations are written with a capital by v1 and small by v2."""
    entries = (answer.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    totals = {"read": 0, "write": 0}
    for entry in entries:
        operation = str(entry["op"]).lower()
        if operation in totals:
            totals[operation] += int(entry["value"])
    return totals["read"], totals["write"]


def cpu_used_s(container_id: str) -> float | None:
    """Processor time that a container has used since its start; None when it does not run."""
    found = usage(container_id)
    return None if found is None else found.cpu_s
