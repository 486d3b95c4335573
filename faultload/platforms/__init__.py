"""Platforms: where instances live, and which faults each platform can make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from faultload.errors import InvalidInput, Mistake

if TYPE_CHECKING:
    # the link proxy lives in this package and must not wait for pydantic
    from faultload.platforms.base import FaultRequest, PlatformFault
    from faultload.target import TargetFile


def faults_of(platform: str) -> Mapping[str, type[PlatformFault]]:
    """The fault kinds of a platform by word; empty for a platform that can make none."""
    if platform != "local":
        return {}
    from faultload.platforms import local_database, local_links, local_signals

    return {
        "kill": local_signals.Kill,
        "terminate": local_signals.Terminate,
        "restart": local_signals.Restart,
        "pause": local_signals.Pause,
        "partition": local_links.Partition,
        "latency": local_links.Latency,
        "reset_connections": local_links.ResetConnections,
        "failover_database": local_database.Failover,
        "switchover_database": local_database.Switchover,
    }


def fault_for(target: TargetFile, request: FaultRequest) -> PlatformFault:
    """The fault that a request means on its target's platform. Raises InvalidInput when it has none."""
    kinds = faults_of(target.platform)
    if request.kind not in kinds:
        known = f"it can do: {', '.join(kinds)}" if kinds else "it can be loaded, but no fault can touch it"
        raise InvalidInput(Mistake(f"platform '{target.platform}' cannot do '{request.kind}'", hint=known))
    return kinds[request.kind](target, request)
