"""Instances, and what a platform has to know about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from faultload.errors import TargetError
from faultload.spec.target import TargetFile


@dataclass(frozen=True, slots=True)
class Instance:
    """One process, container or pod of a service; `id` and `started` together are its identity."""

    service: str
    id: str
    started: float
    name: str = ""
    port: int | None = None

    @property
    def label(self) -> str:
        """For people: api:8081 (pid 4711), shop-api-1 (3f1c0d2a9b7e)."""
        what = f"pid {self.id}" if self.id.isdigit() else self.id[:12]
        return f"{self.name or self.service} ({what})"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Instance:
        return cls(**value)


def library(name: str, extra: str) -> Any:
    """A module of a library that comes with an extra. Raises TargetError with what installs it."""
    try:
        return import_module(name)
    except ImportError as error:
        what = name.partition(".")[0]
        raise TargetError(f"{what} cannot be imported ({error}): pip install 'faultload[{extra}]'") from None


def names(instances: Sequence[Instance]) -> str:
    """Instances for people."""
    return ", ".join(instance.label for instance in instances)


class Platform(ABC):
    """Where the instances of one target live: finds them, and knows when they are ready."""

    def __init__(self, target: TargetFile) -> None:
        self.target = target

    def identity(self) -> str:
        """The target's id as the engine or cluster at hand gives it. Raises TargetError when none answers."""
        return self.target.id

    @property
    def address(self) -> str | None:
        """Where the engine or cluster is asked, as a URL; None where nothing is asked. Connects to nothing."""
        return None

    def unproven(self) -> list[str]:
        """Why what answers at an address of this machine is not on it; empty when it shows that it is."""
        return []

    @abstractmethod
    def instances(self, service: str) -> list[Instance]:
        """The running instances of a declared service, in a fixed order; never one that is not declared.

        Raises TargetError when the platform does not answer.
        """

    @abstractmethod
    def not_ready(self, service: str) -> list[str]:
        """Why a service is not ready, in plain words; empty when it is."""

    def ready(self, service: str) -> list[Instance]:
        """The running instances of a service that are ready; the guard's floor counts these.

        A platform that does not tell one from another counts none unless the whole service is ready.
        """
        return [] if self.not_ready(service) else self.instances(service)

    def preflight(self, faults: Mapping[str, type]) -> list[str]:
        """What is missing for injecting and undoing these faults (classes by word): engine, image, permissions.

        In plain words with what to do; empty when nothing is. Asked before a run touches anything.
        """
        return []
