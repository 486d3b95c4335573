"""The fault words and their arguments, the same on every platform."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from faultload.errors import Mistake
from faultload.spec import units

Kind = Literal["text", "count", "whole", "share", "number", "seconds", "size", "choice", "flag"]
Layer = Literal["process", "network", "answers", "names", "database", "cpu", "memory", "disk", "node", "clock"]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a fault word.

    `count` is a whole number from 1, `whole` from 0, `share` above 0 and at most 1, `number` not negative,
    `seconds` above 0, `size` bytes as a number or as text such as 256MB, `flag` true or false. `default` is what
    the actions pass on when nothing is given; None leaves the choice to the platform.
    """

    kind: Kind
    required: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None
    what: str = ""
    platforms: tuple[str, ...] = ()
    """The only platforms that know it; empty: all."""

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if self.kind == "text":
            return None if isinstance(value, str) and value else "must be a name"
        if self.kind == "choice":
            return None if value in self.choices else f"must be one of {', '.join(self.choices)}"
        if self.kind == "flag":
            return None if isinstance(value, bool) else "must be true or false"
        if self.kind == "count":
            return None if whole and value >= 1 else "must be a whole number of at least 1"
        if self.kind == "whole":
            return None if whole and value >= 0 else "must be a whole number that is not negative"
        if self.kind == "share":
            return None if number and 0 < value <= 1 else "must be above 0 and at most 1"
        if self.kind == "seconds":
            return None if number and 0 < value < math.inf else "must be a number of seconds above 0"
        if self.kind == "size":
            try:
                units.size(value)
            except ValueError as error:
                return str(error)
            return None
        return None if number and 0 <= value < math.inf else "must be a number that is not negative"


COMMON = {
    "fault": Argument("text", what="a name for the fault; by default the word"),
    "duration_s": Argument(
        "seconds", what="the longest it lasts, in seconds; by default the experiment's `duration_s`"
    ),
    "seed": Argument("number", what="makes the choice of instances repeatable; by default the experiment's `seed`"),
}
"""What every word takes."""

SERVICE = {"service": Argument("text", True, what="the service")}
SELECTION = {
    **SERVICE,
    "count": Argument("count", what="how many of its instances; one if neither is given"),
    "share": Argument("share", what="or what share of them, rounded down, at least one"),
}
"""Arguments of a word that acts on some instances of a service."""
WORKER = {
    "worker": Argument(
        "flag", what="one worker of each chosen instance's process tree, not the whole tree", platforms=("local",)
    )
}
LINK = {"link": Argument("text", True, what="the link, as `client -> server`")}
DATABASE = {"service": Argument("text", default="db", what="the database service")}


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
    layer: Layer = "process"

    @property
    def default_service(self) -> str | None:
        """The service that is meant when none is named."""
        service = self.arguments.get("service")
        return None if service is None else service.default

    @property
    def selects(self) -> bool:
        """Whether the fault touches some instances of a service, so that the guard counts them."""
        return "count" in self.arguments

    def mistakes(self, given: Mapping[str, Any]) -> list[str]:
        """What is wrong with the arguments of an activity."""
        known = {**self.arguments, **COMMON}
        found = [f"{self.name} needs '{name}'" for name, arg in known.items() if arg.required and name not in given]
        for name, value in given.items():
            if name not in known:
                found.append(f"{self.name} takes no '{name}' (known: {', '.join(known)})")
            elif value is not None and (problem := known[name].problem(value)):
                found.append(f"{name} {problem}, not {value!r}")
        if self.selects and given.get("count") is not None and given.get("share") is not None:
            found.append("give count or share, not both")
        return found

    def foreign(self, platform: str, given: Mapping[str, Any]) -> list[str]:
        """Arguments that are given and that a platform does not know, in words."""
        only = {name: self.arguments[name].platforms for name in given if name in self.arguments}
        return [
            f"{self.name}: '{name}' is for platform {', '.join(platforms)} only, not for {platform}"
            for name, platforms in only.items()
            if platforms and platform not in platforms and given[name] not in (None, False)
        ]

    def filled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The word's own arguments with their defaults, as a fault is asked for; those left open are left out."""
        values = {
            name: argument.default if given.get(name) is None else given[name]
            for name, argument in self.arguments.items()
        }
        return {name: value for name, value in values.items() if value is not None}

    def places(self, given: Mapping[str, Any]) -> frozenset[str]:
        """What the fault acts on: its link, or its service."""
        link = given.get("link")
        if link is not None:
            return frozenset({str(link)})
        service = given.get("service") or self.default_service
        return frozenset() if service is None else frozenset({str(service)})


def collide(one: FaultWord, given: Mapping[str, Any], other: FaultWord, other_given: Mapping[str, Any]) -> bool:
    """Whether two faults act on the same layer of the same service or link: such never overlap.

    A fault of a service's links and one of a single link with that service at an end are of the same place.
    """
    if one.layer != other.layer:
        return False
    mine, theirs = one.places(given), other.places(other_given)
    ends = {end for place in (*mine, *theirs) if " -> " in place for end in place.split(" -> ")}
    return bool(mine & theirs) or bool(ends & (mine ^ theirs))


class Catalogue(Protocol):
    """Which fault words there are, and what each platform makes of them; `faultload.faults` is the one in use."""

    def words(self) -> Mapping[str, FaultWord]: ...
    def cannot(self, platform: str, word: str) -> Mistake | None: ...
    def preparation_s(self, platform: str, word: str, arguments: Mapping[str, Any]) -> float: ...


WORDS = (
    FaultWord(
        "kill",
        "sends SIGKILL; the target's own supervisor restarts it",
        {**SELECTION, **WORKER},
        one_shot=True,
    ),
    FaultWord(
        "terminate",
        "sends SIGTERM, then SIGKILL after `grace_s`",
        {**SELECTION, "grace_s": Argument("number", default=10.0, what="seconds to shut down cleanly"), **WORKER},
        one_shot=True,
    ),
    FaultWord("restart", "stops the instances and starts them again", SELECTION, one_shot=True),
    FaultWord(
        "pause", "freezes the instances: connections stay open, nothing is answered", {**SELECTION, **WORKER}
    ),
    FaultWord(
        "scale",
        "changes the number of instances",
        {**SERVICE, "to": Argument("whole", True, what="how many instances to run during the fault")},
    ),
    FaultWord(
        "partition",
        "silences a link both ways, for new and established connections",
        {
            **LINK,
            "on_heal": Argument(
                "choice",
                choices=("deliver", "reset"),
                default="deliver",
                what="what happens to the bytes held back",
            ),
        },
        layer="network",
    ),
    FaultWord("isolate", "silences every declared link of an instance, both ways", SELECTION, layer="network"),
    FaultWord(
        "latency",
        "adds `delay_ms` to each round trip",
        {
            **LINK,
            "delay_ms": Argument("number", True, what="milliseconds added to a round trip"),
            "jitter_ms": Argument(
                "number", default=0.0, what="random variation of the delay, plus or minus, in milliseconds"
            ),
        },
        layer="network",
    ),
    FaultWord(
        "loss",
        "drops a share of a link's packets, each way",
        {**LINK, "share": Argument("share", True, what="the share of packets to drop")},
        layer="network",
    ),
    FaultWord(
        "bandwidth",
        "limits a link to `bytes_per_s`, each way",
        {**LINK, "bytes_per_s": Argument("size", True, what="bytes per second, each way")},
        layer="network",
    ),
    FaultWord(
        "reset_connections", "resets the established connections, once", LINK, one_shot=True, layer="network"
    ),
    FaultWord("dns_failure", "makes an instance's name look-ups fail", SELECTION, layer="names"),
    FaultWord(
        "http_error",
        "answers a share of a link's requests with an error",
        {
            **LINK,
            "share": Argument("share", default=1.0, what="the share of requests to answer"),
            "status": Argument("count", default=503, what="the HTTP status to answer with"),
        },
        layer="answers",
    ),
    FaultWord(
        "failover_database",
        "kills the leader: its postmaster, or the whole member with its Patroni",
        {
            **DATABASE,
            "mode": Argument("choice", choices=("postmaster", "member"), default="postmaster", what="what to kill"),
        },
        one_shot=True,
        layer="database",
    ),
    FaultWord(
        "switchover_database",
        "makes the leader hand over cleanly",
        {**DATABASE, "candidate": Argument("text", what="the new leader; by default the cluster chooses")},
        one_shot=True,
        layer="database",
    ),
    FaultWord("pause_replication", "stops replay on the standbys", DATABASE, layer="database"),
    FaultWord(
        "exhaust_connections",
        "takes a share of the leader's free connections",
        {**DATABASE, "share": Argument("share", default=1.0, what="the share of free connections to take")},
        layer="database",
    ),
    FaultWord(
        "cpu_stress",
        "uses up processor time beside the instances",
        {
            **SELECTION,
            "workers": Argument("count", what="busy processes; by default one per processor"),
            "load": Argument("share", default=1.0, what="how busy each one is; 1 is all the time"),
        },
        layer="cpu",
    ),
    FaultWord(
        "memory_stress",
        "takes memory beside the instances and keeps touching it",
        {**SELECTION, "bytes": Argument("size", True, what="how much per instance, such as 256MB")},
        layer="memory",
    ),
    FaultWord(
        "io_stress",
        "writes and syncs to the disk without pause",
        {
            **SELECTION,
            "workers": Argument("count", default=1, what="how many processes write"),
            "path": Argument("text", what="the folder to write in; by default where the instance lives"),
        },
        layer="disk",
    ),
    FaultWord(
        "fill_disk",
        "fills the disk until only `floor` is free",
        {
            **SELECTION,
            "floor": Argument("size", True, what="how much to leave free, such as 1GB"),
            "path": Argument("text", what="a folder on the disk to fill; by default where the instance lives"),
        },
        layer="disk",
    ),
    FaultWord(
        "drain_node", "stops an instance's node from taking pods and evicts those it has", SERVICE, layer="node"
    ),
    FaultWord(
        "clock_skew",
        "sets an instance's clock wrong",
        {**SELECTION, "offset_s": Argument("number", True, what="how far ahead, in seconds")},
        layer="clock",
    ),
)
