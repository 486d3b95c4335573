"""Starting, watching and stopping a reference system on any platform, from any process."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from faultload.errors import InvalidInput, Mistake
from faultload.host.processes import ProcessId
from faultload.reference import catalogue


@dataclass(frozen=True, slots=True)
class Status:
    """A reference system that was started and not stopped."""

    name: str
    target_id: str
    running: bool
    """Its supervisor or its containers run; False means that it was left behind: `stop` cleans up."""
    ready: bool
    url: str | None
    target_file: Path
    defects: tuple[str, ...]
    pids: Mapping[str, ProcessId]
    """The processes of this machine, by name; none where it lives in containers."""
    owner: ProcessId | None
    owner_alive: bool | None
    """None when nobody owns it: it was started by hand."""
    started: str
    logs: Path


class Started(Protocol):
    """A reference system on its way up."""

    @property
    def target_file(self) -> Path: ...

    def wait_ready(self, timeout_s: float = 60) -> Path:
        """The target file, once the whole system is ready. Raises TargetError with the last log lines."""
        ...


class _Platform(Protocol):
    """What the module of a platform has."""

    def check(self, name: str) -> None: ...
    def start(
        self,
        name: str,
        *,
        defects: tuple[str, ...] = (),
        logs: Path | None = None,
        owner: ProcessId | None = None,
        extra_env: Mapping[str, str] | None = None,
    ) -> Started: ...
    def stop(self, name: str) -> list[str]: ...
    def status(self, name: str) -> Status | None: ...


def start(
    name: str,
    platform: str = "local",
    *,
    defects: Iterable[str] = (),
    logs: Path | None = None,
    owner: ProcessId | None = None,
    extra_env: Mapping[str, str] | None = None,
) -> Started:
    """Start a reference system and return at once; it lives until `stop`, whatever becomes of the caller.

    Raises InvalidInput (unknown name, platform or defect, something not installed), Refused (one is up already).
    """
    wanted = tuple(dict.fromkeys(defects))
    check(name, wanted, platform)
    return _on(platform).start(name, defects=wanted, logs=logs, owner=owner, extra_env=extra_env)


def stop(name: str, platform: str = "local") -> list[str]:
    """End a reference system and remove what it left; returns what would not go, in words.

    Works from any process, and when it is not up, too.
    """
    return _on(platform).stop(name)


def status(name: str, platform: str = "local") -> Status | None:
    """What is known of a reference system, or None when it is not up."""
    return _on(platform).status(name)


def everywhere() -> Iterator[tuple[str, str]]:
    """Name and platform of each reference system that may be up."""
    for name in catalogue.REFERENCES:
        for platform in catalogue.PLATFORMS:
            yield name, platform


def check(name: str, defects: tuple[str, ...], platform: str = "local") -> None:
    """Raise InvalidInput when it cannot be started here: unknown name, defect or platform, something missing."""
    reference = catalogue.REFERENCES.get(name)
    if reference is None:
        known = ", ".join(catalogue.REFERENCES)
        raise InvalidInput(Mistake(f"there is no reference system {name!r}", hint=f"there are: {known}"))
    if platform not in catalogue.PLATFORMS:
        hint = f"platforms: {', '.join(catalogue.PLATFORMS)}"
        raise InvalidInput(Mistake(f"reference systems cannot run on platform {platform!r}", hint=hint))
    for defect in defects:
        if defect not in reference.defects:
            hint = f"it has: {', '.join(reference.defects)}"
            raise InvalidInput(Mistake(f"{name} has no defect {defect!r}", hint=hint))
    _on(platform).check(name)


def _on(platform: str) -> _Platform:
    """The module of a platform."""
    module: Any = importlib.import_module(f"faultload.reference.host.{platform}")
    return cast(_Platform, module)
