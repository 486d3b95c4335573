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
    """What a witness saw; it measures and never reads back the setting."""

    seen: bool
    what: str


@dataclass(frozen=True, slots=True)
class FaultRequest:
    """One fault as asked for: JSON-safe, so that any process can undo it."""

    fault_id: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    duration_s: float = 10.0
    seed: int = 1
    max_duration_s: float = 0.0
    """One-shot faults: how long the system is given to come back by itself, where that is longer."""

    @property
    def longest_s(self) -> float:
        """When undo restores what did not come back, seconds after the injection."""
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

    A fault is used in this order: gate, resolve, undo_plan, prepare, inject, witness; later, often from
    another process that knows only the JSON of target, request, instances and plan: undo, gone.
    `gone_within_s` is how long after undo the fault may still be seen. The texts are for docs/faults.md.
    """

    gone_within_s: ClassVar[float] = 10.0
    made_by: ClassVar[str] = ""
    needs: ClassVar[str] = "nothing"
    witnessed_by: ClassVar[str] = ""
    undone_by: ClassVar[str] = ""
    not_run: ClassVar[str] = ""
    """What of it was not run on the real thing, in words for the table; empty when all was."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        self.target = target
        self.request = request

    def gate(self) -> list[str]:
        """What of the target's own state forbids this fault now; empty when nothing does."""
        return []

    @abstractmethod
    def resolve(self) -> list[Instance]:
        """The instances that the fault would touch; the same for the same seed. Raises Refused for none."""

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        """The prior state that undo restores, as JSON. A key `private` is kept out of the record."""
        return {}

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Look at the healthy state that the witness will compare with."""
        return

    @abstractmethod
    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Make the fault."""

    @abstractmethod
    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        """Whether the fault is really there."""

    @abstractmethod
    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Take the fault away; looks before it restores, and does nothing the second time."""

    @abstractmethod
    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """One look whether the fault is really gone (`seen` means gone); for a one-shot fault, mended."""


def choose(request: FaultRequest, service: str, candidates: Sequence[Instance]) -> list[Instance]:
    """`count` or `share` of a service's instances, one unless the request says so; repeatable by seed.

    Raises Refused when there are fewer instances than asked for.
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
