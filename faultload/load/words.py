"""The functions faultload adds to journey files; outside a run they do nothing, so plain Locust works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Find = Callable[[list[str], dict[str, Any]], set[str]]
_F = TypeVar("_F", bound=Find)


class Sink(Protocol):
    """Where the words go during a run."""

    def observe(self, name: str, value: float) -> None: ...

    def attempt(self, key: str) -> None: ...

    def acknowledge(self, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Verifier:
    """Says which of some written keys the target still has, `after_s` or more after the last of them."""

    name: str
    after_s: float
    find: Find

    def present(self, keys: list[str], target: Mapping[str, Any]) -> set[str]:
        return set(self.find(keys, dict(target)))


class _Words:
    sink: Sink | None = None
    verifiers: dict[str, Verifier] = {}  # noqa: RUF012 - one registry a process


def send_to(sink: Sink | None) -> None:
    """Let the words of this process go to a sink from now on, or to nowhere."""
    _Words.sink = sink


def verifiers() -> list[Verifier]:
    """The verifiers that the imported journey files registered, in their order."""
    return list(_Words.verifiers.values())


def observe(name: str, value: float) -> None:
    """Report a named value from a journey, such as `observe("cache_hit", 1)`."""
    if _Words.sink is not None:
        _Words.sink.observe(name, float(value))


def attempt(key: str) -> None:
    """Enter a write into the ledger, before its request is sent."""
    if _Words.sink is not None:
        _Words.sink.attempt(key)


def acknowledge(key: str) -> None:
    """Note in the ledger that the target acknowledged the write: from now on it must not be lost."""
    if _Words.sink is not None:
        _Words.sink.acknowledge(key)


def verifies(name: str, after_s: float = 0.0) -> Callable[[_F], _F]:
    """Register a function as a verifier of acknowledged writes: `(keys, target) -> those that are present`.

    It runs after load and recovery, and at least `after_s` after the last acknowledgement.
    """

    def register(find: _F) -> _F:
        _Words.verifiers[name] = Verifier(name, after_s, find)
        return find

    return register
