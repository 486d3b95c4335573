"""A program that a reference system's supervisor keeps running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Program:
    """What to start, and how long after its death it is started again."""

    name: str
    argv: tuple[str, ...]
    restart_after_s: float
    after_port: int | None = None
    """First started once something listens here: what is needed later leaves the processor to what is not."""
    takes_with_it: str | None = None
    """Processes with this string among their arguments end when the program dies, as in a container."""
    env: Mapping[str, str] = field(default_factory=dict)
