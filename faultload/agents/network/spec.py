"""The instructions for a network agent: one fault in one network namespace, as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Side = Literal["client", "server"]


class AgentError(Exception):
    """What an agent could not do, in words for people."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The traffic of one link as one of its ends sees it.

    At the client `peers` are addresses of the servers, at the server those of its clients; `port` is the
    server's port. A flow that does not `act` is only measured. `published`: where the same servers are reached
    past these addresses, each an address of their machine and a port.
    """

    side: Side
    port: int
    protocol: str
    peers: tuple[str, ...]
    acts: bool = True
    published: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """One fault in one namespace. `names` are asked of the resolver; `way` says how latency is made."""

    fault: str
    word: str
    flows: tuple[Flow, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    duration_s: float = 10.0
    margin_s: float = 5.0
    way: str = ""
    names: tuple[str, ...] = ()
    resolv_conf: str = "/etc/resolv.conf"
    """Which file names the resolvers; an agent that goes into the namespace of a process sets it."""

    @property
    def tag(self) -> str:
        """What marks everything of this fault in a namespace."""
        return tag_of(self.fault)

    @property
    def table(self) -> str:
        """Our nftables table of the family inet."""
        return f"faultload_{self.tag}"

    @property
    def expires_s(self) -> float:
        """When the agent undoes by itself, counted from the injection."""
        return self.duration_s + self.margin_s

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        return json.dumps(self.to_json())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Spec:
        flows = tuple(
            Flow(
                **{**flow, "peers": tuple(flow["peers"]), "published": tuple(map(tuple, flow.get("published", ())))}
            )
            for flow in value["flows"]
        )
        return cls(**{**value, "flows": flows, "names": tuple(value.get("names", ()))})


def tag_of(fault_id: str) -> str:
    """A fault's id as twelve hexadecimal digits: short enough for names of tables, containers and classes."""
    return hashlib.sha256(fault_id.encode()).hexdigest()[:12]
