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
    """Report a named value, as in `observe("cache_hit", 1)`, for `mean(cache_hit)`.

    Raises ValueError or TypeError if the value is not a number.
    """
    if _Words.sink is not None:
        _Words.sink.observe(name, float(value))


def attempt(key: str) -> None:
    """Enter a write into the ledger; call it before sending the request."""
    if _Words.sink is not None:
        _Words.sink.attempt(key)


def acknowledge(key: str) -> None:
    """Mark a write as acknowledged by the target: from now on it must not be lost."""
    if _Words.sink is not None:
        _Words.sink.acknowledge(key)


def verifies(name: str, after_s: float = 0.0) -> Callable[[_F], _F]:
    """Register a function that reads acknowledged writes back: `(keys, target) -> the keys found`.

    It is called after load and recovery, at least `after_s` seconds after the last acknowledgement, with up to 200
    keys at a time and the target file as a dict. If it raises, it is called again for up to 10 s.
    """

    def register(find: _F) -> _F:
        _Words.verifiers[name] = Verifier(name, after_s, find)
        return find

    return register
