"""A reference system on Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from faultload.errors import InvalidInput, Mistake
from faultload.processes import ProcessId
from faultload.reference.lifecycle import Started, Status

_MISSING = Mistake("no reference system starts on platform 'kubernetes' yet", hint="--platform local")


def check() -> None:
    """Raise InvalidInput when it cannot be started here."""
    raise InvalidInput(_MISSING)


def start(
    name: str,
    *,
    defects: tuple[str, ...] = (),
    logs: Path | None = None,
    owner: ProcessId | None = None,
    extra_env: Mapping[str, str] | None = None,
) -> Started:
    """Start it and return at once."""
    raise InvalidInput(_MISSING)


def stop(name: str) -> list[str]:
    """Remove it; nothing is ever up."""
    return []


def status(name: str) -> Status | None:
    """What is known of it, or None when it is not up."""
    return None
