"""A fault that is made in one of several ways, which the target decides."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.faults.base import PlatformFault, WitnessReport
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.rights import KubernetesFault


class Delegated(KubernetesFault):
    """Hands everything on to the fault that is made in the right way."""

    @abstractmethod
    def _by(self, plan: Mapping[str, Any] | None = None) -> PlatformFault:
        """The fault in its way; in the one that a plan names, where there is a plan."""

    def gate(self) -> list[str]:
        return self._by().gate()

    def resolve(self) -> list[Instance]:
        return self._by().resolve()

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return self._by().undo_plan(instances)

    def prepare(self, instances: Sequence[Instance]) -> None:
        self._by().prepare(instances)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._by(plan).inject(instances, plan)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        return self._by().witness(instances)

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._by(plan).undo(instances, plan)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        return self._by(plan).gone(instances, plan)
