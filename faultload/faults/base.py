"""The protocol every fault implements: resolve, prepare, inject, witness, undo, gone."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from faultload.errors import Refused
from faultload.platforms.base import Instance
from faultload.spec.target import TargetFile


@dataclass(frozen=True, slots=True)
class WitnessReport:
    """What a witness saw. A witness measures; it never just reads the setting back."""

    seen: bool
    what: str


@dataclass(frozen=True, slots=True)
class FaultRequest:
    """One requested fault, as plain JSON data, so any process can undo it."""

    fault_id: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    duration_s: float = 10.0
    seed: int = 1
    max_duration_s: float = 0.0
    """For one-shot faults: how long the system gets to recover on its own, if that is longer."""

    @property
    def longest_s(self) -> float:
        """How many seconds after injection undo restores what has not come back."""
        return max(self.duration_s, self.max_duration_s)

    def argument(self, name: str, default: Any = None) -> Any:
        value = self.arguments.get(name)
        return default if value is None else value

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FaultRequest:
        return cls(**value)


class PlatformFault(ABC):
    """One kind of fault on one platform.

    Methods are called in this order: gate, resolve, prepare, undo_plan, inject, witness, then lasts again and
    again; and later undo and gone, often in another process that has only the JSON of target, request, instances
    and plan. `gone_within_s` is how long after undo the fault may still be seen. The texts stand in docs/faults.md.
    """

    gone_within_s: ClassVar[float] = 10.0
    look_every_s: ClassVar[float] = 1.0
    """How far apart two looks of `lasts` are: what one costs must not be felt."""
    preparation_s: ClassVar[float] = 0.0
    """How long its helpers may take to start before it is injected; `plan` and `validate` reserve it."""
    made_by: ClassVar[str] = ""
    needs: ClassVar[str] = "nothing"
    witnessed_by: ClassVar[str] = ""
    undone_by: ClassVar[str] = ""
    not_run: ClassVar[str] = ""
    """What was never run on a real system, in words for the table; empty if nothing."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        self.target = target
        self.request = request

    @classmethod
    def prepares_within_s(cls, arguments: Mapping[str, Any]) -> float:
        """`preparation_s`, where arguments decide whether there are helpers."""
        return cls.preparation_s

    def gate(self) -> list[str]:
        """Reasons in the target's own state not to inject this fault now; empty if there are none."""
        return []

    @abstractmethod
    def resolve(self) -> list[Instance]:
        """The instances the fault would touch, the same for the same seed. Raises Refused if there are none."""

    def see_way_back(self, instances: Sequence[Instance]) -> None:  # noqa: B027 - most faults can always be undone
        """Raises Refused where looking alone shows that undo could not restore the instances; touches nothing."""

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        """The state that undo will restore, as JSON. A key `private` stays out of the record."""
        return {}

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Measure the healthy state for the witness to compare with, and start what injecting then only tells.

        A helper that is slow to start must eat nothing of the fault.
        """
        return

    def release(self) -> None:
        """End what `prepare` started, where nothing is injected after all."""
        return

    def end_helpers(self, plan: Mapping[str, Any]) -> None:
        """End every helper of the fault, by its undo plan: an engine may have made one for a dead process."""
        self.release()

    @abstractmethod
    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Make the fault."""

    @abstractmethod
    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        """Check that the fault has really taken effect."""

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport | None:
        """Look again, at little cost, whether the fault is still there; None for one with nothing to look at.

        Called between witness and undo on the object that injected, in a thread beside the experiment. Raises
        whatever keeps it from telling: then the next look tells.
        """
        return None

    @abstractmethod
    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Undo the fault: look before restoring anything, and do nothing the second time."""

    @abstractmethod
    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Check once whether the fault is really gone (`seen` means gone) or, if one-shot, repaired."""


def choose(request: FaultRequest, service: str, candidates: Sequence[Instance]) -> list[Instance]:
    """Pick `count` or `share` of a service's instances, by default one; the same seed picks the same ones.

    Raises Refused if there are fewer instances than asked for.
    """
    if not candidates:
        raise Refused(f"service '{service}' has no running instance: nothing to {request.kind}")
    count = request.argument("count", 1)
    if request.argument("share") is not None:
        count = max(1, int(request.argument("share") * len(candidates)))
    if count > len(candidates):
        raise Refused(f"service '{service}' has {len(candidates)} running instances, {count} were asked for")
    ordered = sorted(candidates, key=lambda instance: (instance.name, instance.id))
    chosen = random.Random(f"{request.seed}:{request.fault_id.split('@')[0]}").sample(ordered, count)
    return sorted(chosen, key=lambda instance: (instance.name, instance.id))
