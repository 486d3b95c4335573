"""What a network agent does for each fault word: prepare, inject, witness, undo, and check that all is well."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from faultload.agents.network import nftables
from faultload.agents.network.namespace import asked_first, resolver_answers, resolvers
from faultload.agents.network.segments import Connection, connections, prod
from faultload.agents.network.spec import AgentError, Flow, Spec
from faultload.agents.probes import PROBE_S, Place, Probe, close_all, opened, reachable, silence_of, together

_RESET_S = 3.0
_PROD_EVERY_S = 0.3
_NAME_PORTS = ("53",)


class Seen(NamedTuple):
    """What an agent saw; `seen` None where it has nothing to look at."""

    seen: bool | None
    what: str


NOTHING = Seen(None, "")


class Goal(NamedTuple):
    """Where a probe goes: one peer of a flow that this namespace is the client of."""

    host: str
    port: int
    protocol: str

    @property
    def name(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class AgentFault(ABC):
    """One word in one namespace. `undo` and `mended` also work in a process that did not inject."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.acting = tuple(flow for flow in spec.flows if flow.acts)
        self.outward = tuple(flow for flow in spec.flows if flow.side == "client")
        self.goals = [Goal(peer, flow.port, flow.protocol) for flow in self.outward for peer in flow.peers]

    def prepare(self) -> dict[str, Any]:
        """Measure what the witness compares with; as JSON. Raises AgentError when it could not be witnessed."""
        return {}

    @abstractmethod
    def inject(self) -> None:
        """Make the fault."""

    @abstractmethod
    def witness(self) -> Seen:
        """Whether it is there."""

    def leased(self) -> Mapping[str, Sequence[str]]:
        """The sets of our table and what is in them, which the kernel forgets where nobody renews it."""
        return nftables.peers_by_set(self.acting)

    def renew(self) -> bool:
        """Keep it there for another lease; False when it is gone. Raises AgentError when that did not work."""
        sets = self.leased()
        return not sets or nftables.renew(self.spec.table, sets)

    def undo(self) -> None:
        """Take it away; does nothing when it is not there."""
        nftables.remove(self.spec.table)

    def left(self) -> list[str]:
        """What of ours is still in the namespace."""
        return [f"table {name}" for name in (self.spec.table, resets_of(self.spec)) if nftables.exists(name)]

    def mended(self, before: dict[str, Any]) -> Seen:
        """Whether traffic goes as before."""
        if not self.goals:
            return NOTHING
        answering = sum(together(lambda goal: reachable(goal, PROBE_S), self.goals))
        return Seen(answering > 0, f"{answering} of {len(self.goals)} answer")


class Dropped(AgentFault):
    """partition, isolate: what comes in on a flow is dropped, in silence."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._probes: list[Probe] = []
        self._open: list[Place] = []

    def prepare(self) -> dict[str, Any]:
        self._probes = opened(self.goals)
        self._open = [probe.place for probe in self._probes]
        if self.goals and not self._open:
            raise AgentError(f"{_names(self.goals)} cannot be connected to even without a fault")
        return {"established": len(self._probes)}

    def _rules(self, flow: Flow, index: int) -> tuple[list[str], list[str]]:
        coming = [f"{match} counter drop" for match in nftables.matches(index, flow, "in")]
        # an isolated instance is cut off on its own side alone, so what it sends is stopped here too
        leaving = [f"{match} counter drop" for match in nftables.matches(index, flow, "out")]
        return coming, leaving if self.spec.word == "isolate" else []

    def inject(self) -> None:
        if not self.acting:
            return
        rules = [self._rules(flow, index) for index, flow in enumerate(self.acting)]
        chains = {
            hook: nftables.chain(hook, hook, nftables.EARLY, [line for rule in rules for line in rule[at]])
            for at, hook in enumerate(("input", "output"))
        }
        sets = nftables.peer_sets(self.acting)
        nftables.replace(self.spec.table, nftables.body(sets, chains))

    def witness(self) -> Seen:
        if not self.goals:
            return NOTHING
        problems, established = silence_of(self._probes, self._open), len(self._probes)
        close_all(self._probes)
        if problems:
            return Seen(False, problems[0])
        what = f"{len(self._open)} addresses let no new connection complete"
        return Seen(True, f"{what}, {established} established ones are silent")

    def undo(self) -> None:
        reset = self.spec.arguments.get("on_heal") == "reset"
        if not (reset and self.outward and nftables.exists(self.spec.table)):
            super().undo()
        else:
            reset_all(self.spec, self.outward, instead_of=self.spec.table)


class Reset(AgentFault):
    """reset_connections: every established connection of the flows, idle or not, once."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._probes: list[Probe] = []

    def prepare(self) -> dict[str, Any]:
        self._probes = opened(self.goals)
        if not self._probes:
            raise AgentError(f"{_names(self.goals)} cannot be connected to even without a fault")
        return {"established": len(self._probes)}

    def inject(self) -> None:
        reset_all(self.spec, self.outward)

    def leased(self) -> Mapping[str, Sequence[str]]:
        return {}  # it happened, and is over

    def witness(self) -> Seen:
        alive = [probe.place.name for probe in self._probes if not probe.was_reset()]
        count = len(self._probes)
        close_all(self._probes)
        if alive:
            return Seen(False, f"still established: {', '.join(alive)}")
        return Seen(count > 0, f"{count} connections opened before were reset")

    def undo(self) -> None:
        nftables.remove(resets_of(self.spec))


class NameFailure(AgentFault):
    """dns_failure: what a name server answers is dropped, so that every look-up ends by its time-out."""

    @cached_property
    def _asks(self) -> tuple[list[str], str]:
        """The name servers and what they are asked for; kept, because the process that leads there may end."""
        file = Path(self.spec.resolv_conf)
        return resolvers(file), asked_first((self.spec.names or ("localhost",))[0], file)

    def _answering(self) -> list[str]:
        servers, name = self._asks
        # a second question, because an answer may be lost without any fault
        asked = together(lambda server: any(resolver_answers(server, name) for _ in range(2)), servers)
        return [server for server, answers in zip(servers, asked, strict=True) if answers]

    def prepare(self) -> dict[str, Any]:
        servers = self._answering()
        if not servers:
            raise AgentError(
                f"no name server answers even without a fault (asked: {', '.join(self._asks[0]) or 'none'})"
            )
        return {"answering": servers}

    def inject(self) -> None:
        names = nftables.timed_set("names", "inet_service", _NAME_PORTS, nftables.LEASE_S)
        rule = "meta l4proto { tcp, udp } th sport @names counter drop"
        chains = {"input": nftables.chain("input", "input", nftables.EARLY, [rule])}
        nftables.replace(self.spec.table, nftables.body(names, chains))

    def leased(self) -> Mapping[str, Sequence[str]]:
        return {"names": _NAME_PORTS}

    def witness(self) -> Seen:
        if answering := self._answering():
            return Seen(False, f"{', '.join(answering)} still answers")
        return Seen(True, f"{', '.join(self._asks[0])}: no name server answers")

    def mended(self, before: dict[str, Any]) -> Seen:
        missing = set(before.get("answering", ())) - set(self._answering())
        return Seen(
            not missing, f"{', '.join(missing)} does not answer" if missing else "name servers answer again"
        )


def resets_of(spec: Spec) -> str:
    """The table that resets connections, for a moment."""
    return f"{spec.table}_reset"


def reset_all(spec: Spec, flows: Sequence[Flow], *, instead_of: str | None = None) -> int:
    """Reset the connections of flows that are established now, at both ends; how many there were.

    Whatever a connection's ends send next is answered with RST; an idle connection is made to speak. Rules
    name the connections one by one: a new one never feels them.
    """
    victims = connections(tuple(flows))
    if victims:
        elements: dict[str, list[str]] = {"4": [], "6": []}
        for one in victims:
            elements["6" if ":" in one.peer else "4"].append(f"{one.peer} . {one.peer_port} . {one.local_port}")
        kind = "ipv{}_addr . inet_service . inet_service"
        sets = [nftables.timed_set(f"v{v}", kind.format(v), found, _RESET_S + 2) for v, found in elements.items()]
        let_out = [f"meta mark {nftables.MARK} accept", "tcp flags & rst != 0 accept"]
        leaving, coming = list(let_out), list(let_out)
        for v, ip in (("4", "ip"), ("6", "ip6")):
            leaving.append(f'oifname != "lo" {ip} daddr . tcp dport . tcp sport @v{v} reject with tcp reset')
            coming.append(f'iifname != "lo" {ip} saddr . tcp sport . tcp dport @v{v} reject with tcp reset')
        early = nftables.EARLY - 10
        chains = {
            "output": nftables.chain("output", "output", early, leaving),
            "input": nftables.chain("input", "input", early, coming),
        }
        nftables.replace(resets_of(spec), nftables.body("\n".join(sets), chains), instead_of=instead_of)
        try:
            _prod_until_gone(flows, victims)
        finally:
            nftables.remove(resets_of(spec))
    elif instead_of is not None:
        nftables.remove(instead_of)
    return len(victims)


def _prod_until_gone(flows: Sequence[Flow], victims: Sequence[Connection]) -> None:
    """Make both ends of connections speak until this end has none of them any more."""
    deadline = time.monotonic() + _RESET_S
    left = list(victims)
    while left and time.monotonic() < deadline:
        for one in left:
            prod(one)
        pause = time.monotonic() + _PROD_EVERY_S
        while left and time.monotonic() < min(pause, deadline):
            time.sleep(0.02)
            left = sorted(set(left) & set(connections(tuple(flows))))
    for one in victims:  # the far ends of those that went by themselves
        prod(one, near=False)
    time.sleep(0.05)
    if left:
        raise AgentError(f"{len(left)} of {len(victims)} connections were not reset")


def parts(share: float) -> int:
    """A share in ten-thousandths, at least one."""
    return max(1, min(10_000, math.ceil(share * 10_000 - 1e-9)))


def _names(goals: Sequence[Goal]) -> str:
    return ", ".join(goal.name for goal in goals)
