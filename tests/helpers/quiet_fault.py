"""A fault that finds nothing wrong, touches nothing and is gone when it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faultload.faults.base import PlatformFault, WitnessReport
from faultload.platforms.base import Instance


class Quiet(PlatformFault):
    """Of one instance of the service `web`."""

    gone_within_s = 0.0

    def resolve(self) -> list[Instance]:
        return [Instance("web", "1", 2.0)]

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        return

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        return WitnessReport(True, "")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        return

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        return WitnessReport(True, "")
