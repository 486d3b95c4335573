"""Slow, late, lossy or failing links in a namespace: loss, bandwidth, latency, http_error."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from faultload.agents.network import nftables, shaping
from faultload.agents.network.faults import NOTHING, AgentFault, Dropped, NameFailure, Reset, Seen, parts
from faultload.agents.network.proxy import FaultProxy
from faultload.agents.network.segments import connections, echo, prod
from faultload.agents.network.spec import AgentError, Flow, Spec
from faultload.agents.probes import more_than, round_trips, speaks_tls, status, together

_SEGMENT = 1400
_UNMEASURED = Seen(False, "no round trip could be measured on the link")
_MOST_SEGMENTS = 60_000
_DRAIN_S = 1.5
_QUIET_S = 0.25
_BAD_REQUEST = 400
"""What many servers with TLS say to a request without it."""


class Loss(AgentFault):
    """A share of the packets that come in on a flow is dropped, by the kernel's random numbers."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.share = parts(float(spec.arguments["share"])) / 10_000
        self.both_ways = 1 - (1 - self.share) ** 2
        self.count = math.ceil(30 / self.both_ways)

    def _lost(self) -> list[float]:
        each = max(100, self.count // max(1, len(self.goals)))
        echoes = [
            echo(flow, peer, count=each, window=64, lost_after_s=0.25, limit_s=8.0)
            for flow in self.outward
            for peer in flow.peers
        ]
        return [one.lost for one in echoes]

    def prepare(self) -> dict[str, Any]:
        if not self.goals:
            return {}
        if self.count > _MOST_SEGMENTS:
            raise AgentError(f"a loss of {self.share:.2%} is too small to be seen with {_MOST_SEGMENTS} packets")
        lost = max(self._lost())
        if lost > self.both_ways / 4:
            raise AgentError(f"{lost:.2%} of the round trips are lost even without a fault")
        return {"lost": lost}

    def inject(self) -> None:
        # nft refuses a comparison that always holds
        chance = f"numgen random mod 10000 < {parts(self.share)} " if parts(self.share) < 10_000 else ""
        rule = f"{chance}counter drop"
        matched = [
            f"{one} {rule}" for index, flow in enumerate(self.acting) for one in nftables.matches(index, flow, "in")
        ]
        chains = {"input": nftables.chain("input", "input", nftables.EARLY, matched)}
        nftables.replace(self.spec.table, nftables.body(nftables.peer_sets(self.acting), chains))

    def witness(self) -> Seen:
        if not self.goals:
            return NOTHING
        lost = self._lost()
        mean = sum(lost) / len(lost)
        what = f"{mean:.2%} of the round trips are lost, {self.both_ways:.2%} were asked for"
        return Seen(mean >= self.both_ways / 2, what)

    def mended(self, before: dict[str, Any]) -> Seen:
        if not self.goals:
            return NOTHING
        lost = self._lost()
        # a peer that has died answers nothing: that is not this fault
        mean = min(lost)
        return Seen(mean <= self.both_ways / 4, f"{mean:.2%} of the round trips are lost")


class Shaped(AgentFault):
    """Packets that go out on a flow pass through a class of their own."""

    def _leaf(self) -> list[str]:
        raise NotImplementedError

    def _rate(self) -> int | None:
        return None

    def _devices(self) -> list[str]:
        return shaping.devices_to([peer for flow in self.acting for peer in flow.peers])

    def prepare(self) -> dict[str, Any]:
        shaping.refuse_foreign(self._devices())
        return {}

    def inject(self) -> None:
        own = shaping.class_of(self.spec.tag)
        try:
            shaping.add(self._devices(), own, self._rate(), self._leaf())
            rules = [
                f"{match} meta priority set {own}"
                for index, flow in enumerate(self.acting)
                for match in nftables.matches(index, flow, "out")
            ]
            chains = {"postrouting": nftables.chain("postrouting", "postrouting", 300, rules)}
            nftables.replace(self.spec.table, nftables.body(nftables.peer_sets(self.acting), chains))
        except AgentError:
            self.undo()
            raise

    def undo(self) -> None:
        super().undo()
        shaping.remove(shaping.class_of(self.spec.tag))

    def left(self) -> list[str]:
        return [*super().left(), *shaping.left(shaping.class_of(self.spec.tag))]

    def _peers(self) -> Iterator[tuple[Flow, str]]:
        for flow in self.spec.flows:
            yield from ((flow, peer) for peer in flow.peers)


class Bandwidth(Shaped):
    """At most so many bytes a second go out on the flows of this namespace."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.rate = max(1, int(spec.arguments["bytes_per_s"]))

    def _rate(self) -> int:
        return self.rate

    def _leaf(self) -> list[str]:
        return shaping.limit_leaf(self.rate)

    def _paces(self) -> list[tuple[str, float]]:
        """Bytes a second to each peer that answers, one after another because they share the limit."""
        window = max(2, min(64, self.rate // 10 // _SEGMENT))
        found = []
        for flow, peer in self._peers():
            count = max(window + 12, min(20_000, window + self.rate * 6 // 10 // _SEGMENT))
            done = echo(flow, peer, count=count, size=_SEGMENT, window=window, lost_after_s=20.0, limit_s=6.0)
            if done.bytes_per_s:
                found.append((peer, done.bytes_per_s))
        return found

    def prepare(self) -> dict[str, Any]:
        super().prepare()
        paces = self._paces()
        if not paces:
            raise AgentError("no peer of the link answers even without a fault")
        fastest = max(pace for _, pace in paces)
        if fastest < 1.5 * self.rate:
            raise AgentError(
                f"a limit of {self.rate} bytes/s cannot be seen: without it a probe moves {fastest:.0f}"
            )
        return {"bytes_per_s": round(fastest)}

    def witness(self) -> Seen:
        paces = self._paces()
        fastest = max((pace for _, pace in paces), default=0.0)
        what = f"at most {fastest:.0f} bytes/s to {len(paces)} peers, {self.rate} were asked for"
        return Seen(bool(paces) and fastest <= 1.3 * self.rate, what)

    def mended(self, before: dict[str, Any]) -> Seen:
        fastest = max((pace for _, pace in self._paces()), default=0.0)
        return Seen(fastest >= 1.4 * self.rate, f"{fastest:.0f} bytes/s")


class Later(AgentFault):
    """latency, however it is made: measured against the round trips of before, each peer by itself."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.delay_ms = float(spec.arguments["delay_ms"])
        self.jitter_ms = float(spec.arguments.get("jitter_ms") or 0.0)
        self._before: dict[str, float] = {}

    @abstractmethod
    def _round_trips(self, jitter_ms: float = 0.0) -> dict[str, float]:
        """Seconds for a round trip to each peer that answers, where a delay may have that jitter."""

    def prepare(self) -> dict[str, Any]:
        super().prepare()
        self._before = self._round_trips()
        if not self._before:
            raise AgentError("no round trip can be measured on the link: declare its protocol (http or postgres)")
        return {"round_trips_s": self._before}

    def witness(self) -> Seen:
        """Whether to every peer a round trip takes at least half the delay more."""
        now = self._round_trips(self.jitter_ms)
        added = more_than(now, self._before)
        if not added:
            return _UNMEASURED
        what = f"a round trip takes {min(now.values()) * 1000:.1f} ms, {added[0] * 1000:.1f} ms more than before"
        return Seen(added[0] >= self.delay_ms / 2000, what)

    def mended(self, before: dict[str, Any]) -> Seen:
        """Whether to no peer a round trip takes half the delay more."""
        now = self._round_trips(self.jitter_ms)
        added = more_than(now, before.get("round_trips_s", {}))
        if not added:
            return _UNMEASURED
        what = f"a round trip takes {max(now.values()) * 1000:.1f} ms, {added[-1] * 1000:.1f} ms more than before"
        return Seen(added[-1] < self.delay_ms / 2000, what)


class Delayed(Later, Shaped):
    """latency by netem: whole on the way out of the client, so once for each round trip."""

    def _leaf(self) -> list[str]:
        return shaping.delay_leaf(self.delay_ms, self.jitter_ms)

    def _round_trips(self, jitter_ms: float = 0.0) -> dict[str, float]:
        times = {
            f"{peer}:{flow.port}": echo(flow, peer, count=20, window=4).median_s for flow, peer in self._peers()
        }
        return {name: seconds for name, seconds in times.items() if seconds is not None}


class Proxied(AgentFault):
    """Connections of a flow pass through a fault proxy; those from before are reset, and come back through it."""

    kind = ""
    held_s = 0.0
    """How long the proxy may hold what it passes on."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self._proxies: list[FaultProxy] = []

    def _parameters(self) -> dict[str, Any]:
        raise NotImplementedError

    def inject(self) -> None:
        self._proxies = [FaultProxy(flow) for flow in self.acting]
        for proxy in self._proxies:
            proxy.start()
            proxy.add(self.spec.fault, self.kind, self._parameters(), self.spec.expires_s + 1.0)
        old = connections(self.acting)
        nftables.replace(self.spec.table, self._table())
        for one in old:
            prod(one)

    def _table(self) -> str:
        """Redirects, and the end of every connection that goes past them."""
        lead, direct = [], []
        for index, (flow, proxy) in enumerate(zip(self.acting, self._proxies, strict=True)):
            for family, peers in nftables.families(flow.peers):
                ip = "ip" if family == "4" else "ip6"
                ours = f"meta mark != {nftables.MARK} {ip} daddr @f{index}v{family}"
                lead += [
                    f"{ours} {ip} daddr {peer} tcp dport {flow.port} redirect to :{proxy.ports[peer]}"
                    for peer in peers
                ]
                direct.append(f"{ours} tcp dport {flow.port} tcp flags & (syn | rst) == 0 reject with tcp reset")
        chains = {
            "to_proxy": nftables.chain("to_proxy", "output", -110, lead, "nat"),
            # behind the translation, only what was not translated still has the peer's address
            "past_proxy": nftables.chain("past_proxy", "output", 10, direct),
        }
        return nftables.body(nftables.peer_sets(self.acting), chains)

    def undo(self) -> None:
        if self._proxies and nftables.exists(self.spec.table):
            nftables.let_go(self.spec.table, self.acting)
            for proxy in self._proxies:
                proxy.stop(self.spec.fault, self.held_s + _QUIET_S, 2 * self.held_s + _DRAIN_S)
        super().undo()


class ProxiedLatency(Later, Proxied):
    """latency where the kernel has no netem."""

    kind = "latency"

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.held_s = min(2.0, (self.delay_ms + self.jitter_ms) / 1000)

    def _parameters(self) -> dict[str, Any]:
        return {"delay_ms": self.delay_ms, "jitter_ms": self.jitter_ms}

    def _round_trips(self, jitter_ms: float = 0.0) -> dict[str, float]:
        return round_trips(self.goals, self.delay_ms, jitter_ms)


class HttpError(Proxied):
    """http_error: a share of the requests is answered by the proxy."""

    kind = "http_error"

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.status = int(spec.arguments.get("status") or 503)
        self.share = float(spec.arguments.get("share") or 1.0)
        self.count = max(4, min(400, math.ceil(20 / self.share)))

    def _parameters(self) -> dict[str, Any]:
        return {"share": self.share, "status": self.status, "seed": int(self.spec.arguments.get("seed") or 1)}

    def _statuses(self, count: int) -> list[int]:
        """The statuses of requests, spread over all peers."""
        goals = [self.goals[index % len(self.goals)] for index in range(count)]
        found = together(status, goals)
        return [one for one in found if one is not None]

    def prepare(self) -> dict[str, Any]:
        found = self._statuses(max(4, len(self.goals)))
        if not found:
            raise AgentError("no peer of the link answers HTTP even without a fault")
        if _BAD_REQUEST in found and any(speaks_tls(goal.host, goal.port) for goal in self.goals):
            raise AgentError("a peer of the link speaks TLS: no request to it can be answered by the proxy")
        if self.status in found:
            raise AgentError(f"the link answers {self.status} even without a fault: choose another status")
        return {"statuses": sorted(set(found))}

    def witness(self) -> Seen:
        found = self._statuses(self.count)
        wrong = found.count(self.status)
        what = (
            f"{wrong} of {len(found)} requests were answered {self.status}, a share of {self.share:g} was asked for"
        )
        return Seen(bool(found) and wrong >= len(found) * self.share / 2, what)

    def mended(self, before: dict[str, Any]) -> Seen:
        found = self._statuses(self.count)
        wrong = found.count(self.status)
        return Seen(bool(found) and wrong == 0, f"{wrong} of {len(found)} requests were answered {self.status}")


def make(spec: Spec) -> AgentFault:
    """The fault of a spec. Raises AgentError for a word that works on no network."""
    if spec.word == "latency":
        return Delayed(spec) if spec.way == "netem" else ProxiedLatency(spec)
    known: dict[str, type[AgentFault]] = {
        "partition": Dropped,
        "isolate": Dropped,
        "loss": Loss,
        "bandwidth": Bandwidth,
        "reset_connections": Reset,
        "dns_failure": NameFailure,
        "http_error": HttpError,
    }
    if spec.word not in known:
        raise AgentError(f"no network agent makes '{spec.word}'")
    return known[spec.word](spec)
