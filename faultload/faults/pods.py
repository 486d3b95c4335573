"""What all faults on pods share: their needs in the cluster, and choosing between several ways to make one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.faults.base import PlatformFault, WitnessReport
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.rights import Demands
from faultload.spec.target import TargetFile

HELPER_S = 15.0
"""How long a helper pod may take to start: a busy kubelet takes its time, and pulls the image the first time."""


class KubernetesFault(PlatformFault):
    """A fault on Kubernetes: it says beforehand what it needs of the cluster, for inject and for undo."""

    look_every_s = 3.0

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        """What inject, witness and undo need on this target, beside looking at the services' pods."""
        return Demands()


class Delegated(KubernetesFault):
    """Delegates to the implementation that the target calls for."""

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

    def release(self) -> None:
        self._by().release()

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._by(plan).inject(instances, plan)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        return self._by().witness(instances)

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport | None:
        return self._by(plan).lasts(instances, plan)

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._by(plan).undo(instances, plan)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        return self._by(plan).gone(instances, plan)
