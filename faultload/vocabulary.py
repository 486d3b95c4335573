"""The words for faults: their arguments and what each may be given; the same on every platform."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "count", "share", "number", "choice"]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a fault word; `number` is not negative."""

    kind: Kind
    required: bool = False
    choices: tuple[str, ...] = ()

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind == "text":
            return None if isinstance(value, str) and value else "must be a name"
        if self.kind == "choice":
            return None if value in self.choices else f"must be one of {', '.join(self.choices)}"
        if self.kind == "count":
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            return None if whole else "must be a whole number of at least 1"
        if self.kind == "share":
            return None if number and 0 < value <= 1 else "must be above 0 and at most 1"
        return None if number and 0 <= value < math.inf else "must be a number that is not negative"


_ANY = {"fault": Argument("text"), "duration_s": Argument("number"), "seed": Argument("number")}
_SELECTION = {"service": Argument("text", True), "count": Argument("count"), "share": Argument("share")}
_LINK = {"link": Argument("text", True)}


@dataclass(frozen=True, slots=True)
class FaultWord:
    """A word of the vocabulary: what it does and which arguments it takes.

    `one_shot` faults happen once and are over by themselves: undo restores only what did not come back.
    `layer` says what the fault works on: two open faults on one service or link and layer never overlap.
    """

    name: str
    what: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    one_shot: bool = False
    layer: Literal["process", "network", "database"] = "process"
    default_service: str | None = None

    def mistakes(self, given: Mapping[str, Any]) -> list[str]:
        """What is wrong with the arguments of an activity."""
        known = {**self.arguments, **_ANY}
        found = [f"{self.name} needs '{name}'" for name, arg in known.items() if arg.required and name not in given]
        for name, value in given.items():
            if name not in known:
                found.append(f"{self.name} takes no '{name}' (known: {', '.join(known)})")
            elif value is not None and (problem := known[name].problem(value)):
                found.append(f"{name} {problem}, not {value!r}")
        if given.get("count") is not None and given.get("share") is not None:
            found.append("give count or share, not both")
        return found


_DATABASE = {"service": Argument("text")}
_WORDS = (
    FaultWord("kill", "SIGKILL; the target's own supervisor brings it back", _SELECTION, one_shot=True),
    FaultWord(
        "terminate",
        "SIGTERM, and SIGKILL after grace_s",
        {**_SELECTION, "grace_s": Argument("number")},
        one_shot=True,
    ),
    FaultWord("restart", "stopped and started again by faultload", _SELECTION, one_shot=True),
    FaultWord("pause", "frozen: SIGSTOP", _SELECTION),
    FaultWord(
        "partition",
        "both ways silent, for new and established connections",
        {**_LINK, "on_heal": Argument("choice", choices=("deliver", "reset"))},
        layer="network",
    ),
    FaultWord(
        "latency",
        "delay_ms more for each round trip",
        {**_LINK, "delay_ms": Argument("number", True), "jitter_ms": Argument("number")},
        layer="network",
    ),
    FaultWord("reset_connections", "established connections reset", _LINK, one_shot=True, layer="network"),
    FaultWord(
        "failover_database",
        "the leader dies: its postmaster, or the whole member with its Patroni",
        {**_DATABASE, "mode": Argument("choice", choices=("postmaster", "member"))},
        one_shot=True,
        layer="database",
        default_service="db",
    ),
    FaultWord(
        "switchover_database",
        "the leader hands over in order, by Patroni",
        {**_DATABASE, "candidate": Argument("text")},
        one_shot=True,
        layer="database",
        default_service="db",
    ),
)

FAULTS: Mapping[str, FaultWord] = {word.name: word for word in _WORDS}
"""Every fault word that an experiment may use."""
