"""Faults on the links of a local target, through its link proxy: partition, latency, bandwidth, resets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from faultload.agents.probes import (
    ASKABLE,
    Probe,
    close_all,
    connects,
    established,
    more_than,
    reachable,
    round_trip,
    round_trips,
    silence_of,
    together,
    transfer_s,
)
from faultload.errors import Refused, TargetError
from faultload.faults import makes, words
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.platforms.base import Instance
from faultload.platforms.local.facts import connected_to
from faultload.platforms.local.links import LinkProxy, Pair, planned, proxy_of, tokens_of
from faultload.platforms.local.processes import instances_of, tree_of
from faultload.spec import units
from faultload.spec.target import TargetFile

EXPIRY_MARGIN_S = 5.0
NEEDS_PROXY = "a link proxy between the two services"


class OnLink(PlatformFault):
    """A fault that a link proxy makes on all pairs of one link, and ends by itself when its time is over."""

    kind: ClassVar[str] = ""
    needs = NEEDS_PROXY
    undone_by = "the link proxy ends it, on its own at the latest 5 s after its duration"

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.link = str(request.arguments["link"])
        declared = target.links.get(self.link)
        if declared is None or declared.proxy is None:
            raise Refused(f"link '{self.link}' has no link proxy in the target file")
        self._declared = declared
        self.proxy = proxy_of(declared)
        self._probes: list[Probe] = []
        self._asked: list[Pair] = []
        """The pairs that answered before the fault: the silence of any other would say nothing."""

    def gate(self) -> list[str]:
        return open_faults_of(self.proxy, self.link, self.request.kind)

    def resolve(self) -> list[Instance]:
        pairs = self.proxy.listeners(self.link)
        if not pairs:
            raise Refused(f"link '{self.link}' has no instance pairs")
        return [Instance(self.link, pair.name, 0.0, pair.name, pair.port) for pair in pairs]

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        plan = {"proxy": self.proxy.url, "link": self.link, "id": self.request.fault_id}
        return {**plan, "private": tokens_of(self._declared)}

    def _pairs(self) -> list[Pair]:
        return self.proxy.listeners(self.link)

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Open a connection a pair before the fault: what is established must feel it too. Raises Refused."""
        self._ask()
        self._probes = established(self._asked)

    def _ask(self) -> None:
        """See who answers now. Raises Refused where no pair does, and where users go past the proxy."""
        pairs = self._pairs()
        refuse_detours(self.target, self.link, pairs)
        self._asked = answering(self.link, pairs)

    def _parameters(self) -> dict[str, Any]:
        return {}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        expires_s = self.request.duration_s + EXPIRY_MARGIN_S
        self.proxy.add(self.link, self.request.fault_id, self.kind, self._parameters(), expires_s)

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport | None:
        """The link proxy still makes the fault, and it is felt, as far as that costs next to nothing."""
        lost = lost_at(planned(str(plan["proxy"]), plan), self.link, str(plan["id"]))
        return WitnessReport(False, lost) if lost else self._felt(self._pairs())

    def _felt(self, pairs: list[Pair]) -> WitnessReport:
        return WitnessReport(True, f"the link proxy still makes it on {self.link}")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        remove(planned(str(plan["proxy"]), plan), str(plan["link"]), str(plan["id"]))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        close_all(self._probes)
        self.proxy = planned(str(plan["proxy"]), plan)
        if not listens(self.proxy.url):
            return WitnessReport(True, "the link proxy has ended, and its faults with it")
        return self._gone(self._pairs())

    def _gone(self, pairs: list[Pair]) -> WitnessReport:
        closed = closed_of(pairs)
        if closed:
            return WitnessReport(False, f"{self.link} does not answer: {', '.join(closed)}")
        return WitnessReport(True, f"{self.link} answers again ({len(pairs)} pairs)")


@makes("partition", "local")
class Partition(OnLink):
    """Silent both ways; new connections do not complete and established ones stall."""

    kind = "partition"
    made_by = "the link proxy holds back all bytes, FIN and RST, and keeps its accept queue full"
    witnessed_by = "on every pair, an older connection is silent for 1 s and a new one does not complete within 1 s"

    def _parameters(self) -> dict[str, Any]:
        return {"mode": "drop", "on_heal": self.request.argument("on_heal", "deliver")}

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        pairs = self._asked
        problems, older = silence_of(self._probes, pairs), len(self._probes)
        close_all(self._probes)
        if problems:
            return WitnessReport(False, problems[0])
        what = f"{len(pairs)} pairs let no new connection complete"
        return WitnessReport(True, f"{what}, {older} established ones are silent")

    def _felt(self, pairs: list[Pair]) -> WitnessReport:
        return still_silent(self._asked)


@makes("latency", "local")
class Latency(OnLink):
    """More time for each round trip."""

    kind = "latency"
    made_by = "a delay line in the link proxy, between client and server"
    witnessed_by = "on every pair, a round trip takes longer than before by at least half of `delay_ms`"
    _before: Mapping[str, float] = MappingProxyType({})

    @property
    def delay_s(self) -> float:
        return float(self.request.arguments["delay_ms"]) / 1000

    def _parameters(self) -> dict[str, Any]:
        jitter_ms = float(self.request.argument("jitter_ms", 0.0))
        return {"delay_ms": self.delay_s * 1000, "jitter_ms": jitter_ms}

    def prepare(self, instances: Sequence[Instance]) -> None:
        self._ask()
        self._before = round_trips(self._asked, self.delay_s * 1000)
        if not self._before:
            raise Refused(
                f"no round trip can be measured on link '{self.link}': its `protocol` in the link proxy's "
                "configuration must be http or postgres"
            )

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        after = round_trips(self._asked, **self._parameters())
        added = more_than(after, self._before)
        if not added:
            return WitnessReport(False, "no round trip could be measured on the link")
        what = f"a round trip takes {min(after.values()) * 1000:.1f} ms, {added[0] * 1000:.1f} ms more than before"
        return WitnessReport(added[0] >= self.delay_s / 2, what)

    def _felt(self, pairs: list[Pair]) -> WitnessReport:
        """One question a pair: as long as jitter leaves it a meaning, none is answered as soon as before."""
        if float(self.request.argument("jitter_ms", 0.0)) * 4 > self.delay_s * 1000:
            return super()._felt(pairs)
        times = together(lambda pair: round_trip(pair, 2.0 + self.delay_s), pairs)
        taken = {pair.name: seconds for pair, seconds in zip(pairs, times, strict=True) if seconds is not None}
        added = more_than(taken, self._before)
        if not added:
            return super()._felt(pairs)
        what = f"a round trip takes {added[0] * 1000:.1f} ms more than before"
        return WitnessReport(added[0] >= self.delay_s / 2, what)

    def _gone(self, pairs: list[Pair]) -> WitnessReport:
        """No more than half the delay longer than past the proxy."""
        through = round_trips(pairs, **self._parameters())
        direct = round_trips([_past(pair) for pair in pairs], self.delay_s * 1000)
        added = more_than(through, direct)
        if not added:
            return super()._gone(pairs)
        longest_ms = max(through.values()) * 1000
        what = f"a round trip takes {longest_ms:.1f} ms, {added[-1] * 1000:.1f} ms more than past the proxy"
        return WitnessReport(added[-1] < max(self.delay_s / 2, 0.001), what)


@makes("bandwidth", "local")
class Bandwidth(OnLink):
    """So many bytes a second, for all connections of a pair together, each way."""

    kind = "bandwidth"
    made_by = "the link proxy limits what it sends each way, over all connections of a pair together"
    witnessed_by = (
        "a transfer of known size to each server takes longer, by at least half of what the limit implies (HTTP "
        "and PostgreSQL, up to some MB a second)"
    )
    _before: Mapping[str, float | None]

    @property
    def bytes_per_s(self) -> int:
        return units.size(self.request.arguments["bytes_per_s"])

    @property
    def _size(self) -> int:
        """What the limit makes last 0.8 s, as far as it can be sent."""
        return max(400, min(500_000, int(self.bytes_per_s * 0.8)))

    def resolve(self) -> list[Instance]:
        if self.bytes_per_s < 1:
            raise Refused("bytes_per_s is at least 1: for none at all there is partition")
        return super().resolve()

    def _parameters(self) -> dict[str, Any]:
        return {"bytes_per_s": self.bytes_per_s}

    def _measure(self, pairs: list[Pair]) -> dict[str, float | None]:
        timeout_s = 5.0 + 4 * self._size / self.bytes_per_s
        times = together(lambda pair: transfer_s(pair, self._size, timeout_s), pairs)
        return {pair.name: seconds for pair, seconds in zip(pairs, times, strict=True)}

    def prepare(self, instances: Sequence[Instance]) -> None:
        self._ask()
        self._before = self._measure(self._asked)
        unknown = [name for name, seconds in self._before.items() if seconds is None]
        if unknown:
            raise Refused(f"no transfer can be measured on {', '.join(unknown)}: HTTP and PostgreSQL can be asked")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        wanted, after = self._size / self.bytes_per_s, self._measure(self._asked)
        added = []
        for name, seconds in after.items():
            before = self._before.get(name)
            if before is None or seconds is None:
                return WitnessReport(False, f"no transfer could be measured on {name}")
            if wanted < max(0.05, before / 2):
                return WitnessReport(False, f"{self.bytes_per_s} bytes/s is more than a probe can fill on {name}")
            added.append(seconds - before)
        what = f"{self._size} bytes take at least {min(added):.2f} s more than before on each pair"
        return WitnessReport(min(added) >= wanted / 2, what)

    def _gone(self, pairs: list[Pair]) -> WitnessReport:
        wanted, through = self._size / self.bytes_per_s, self._measure(pairs)
        direct = self._measure([_past(pair) for pair in pairs])
        compared = [(t, d) for name, t in through.items() if t is not None and (d := direct[name]) is not None]
        if not compared:
            return super()._gone(pairs)
        longest = max(t - d for t, d in compared)
        what = f"{self._size} bytes take at most {longest:.2f} s more than past the proxy"
        return WitnessReport(longest < max(wanted / 2, 0.05), what)


@makes("reset_connections", "local")
class ResetConnections(OnLink):
    """Established connections are reset, once."""

    kind = "reset_connections"
    made_by = "the link proxy closes both ends of every established connection with RST"
    witnessed_by = "every connection opened before was reset"
    undone_by = "nothing to undo"

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        if not self._probes:
            return WitnessReport(False, "no connection could be opened before the fault")
        alive = [probe.place.name for probe in self._probes if not probe.was_reset()]
        count = len(self._probes)
        close_all(self._probes)
        if alive:
            return WitnessReport(False, f"still established: {', '.join(alive)}")
        return WitnessReport(True, f"{count} connections opened before were reset")


def answering(link: str, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs whose servers answer through the proxy now. Raises Refused where none does."""
    # the proxy takes a connection in any case: whether plain TCP goes through shows past it
    looks = together(lambda pair: reachable(pair) and (pair.protocol in ASKABLE or connects(_past(pair))), pairs)
    found = [pair for pair, answers in zip(pairs, looks, strict=True) if answers]
    if not found:
        raise Refused(f"link '{link}' does not answer even without a fault: nothing would show that it is there")
    return found


def refuse_detours(target: TargetFile, link: str, pairs: Sequence[Pair]) -> None:
    """Raises Refused where the link's client is connected to a server past the proxy: no fault would be there."""
    client = link.split(" -> ")[0]
    servers, proxies = {pair.upstream for pair in pairs}, {pair.port for pair in pairs}
    for instance in instances_of(target, client) if client in target.services else []:
        past = sorted(connected_to(tree_of(instance), but_of=proxies) & servers)
        if past:
            places = ", ".join(f"{host}:{port}" for host, port in past)
            raise Refused(
                f"{instance.label} is connected to {places}, past the proxy of link '{link}': a fault there would "
                "not be on its way; let it connect to where the proxy listens"
            )


def open_faults_of(proxy: LinkProxy, link: str, kind: str) -> list[str]:
    """What is open on a link on the same layer as a fault of this kind."""
    known = words()
    for fault in proxy.links().get(link, {}).get("faults") or []:
        other = known.get(str(fault.get("kind")))
        if other is not None and other.one_shot:
            continue  # it happened, and is over
        if other is None or other.layer == known[kind].layer:
            return [f"link '{link}' has an open fault already"]
    return []


def remove(proxy: LinkProxy, link: str, fault_id: str) -> None:
    """Undo a fault of a link; with the proxy process gone, its faults are gone, and a new one knows none."""
    try:
        proxy.remove(link, fault_id)
    except TargetError:
        if listens(proxy.url):
            raise


def lost_at(proxy: LinkProxy, link: str, fault_id: str) -> str:
    """How a link proxy lost a fault, in words; empty while it makes it. Raises TargetError without an answer."""
    if not listens(proxy.url):
        return f"the link proxy at {proxy.url} has ended, and its faults with it"
    known = proxy.links().get(link, {}).get("faults") or []
    return (
        "" if fault_id in [str(one.get("id")) for one in known] else f"somebody ended it in the proxy of '{link}'"
    )


def still_silent(pairs: Sequence[Pair]) -> WitnessReport:
    """Whether no pair takes a new connection."""
    problems = silence_of([], pairs)
    return WitnessReport(not problems, problems[0] if problems else f"{len(pairs)} pairs take no new connection")


def listens(proxy_url: str) -> bool:
    """Whether a link proxy's control interface is there."""
    host, _, port = proxy_url.removeprefix("http://").rstrip("/").partition(":")
    return connects(Pair("control", host, int(port), "tcp", (host, int(port))))


def closed_of(pairs: list[Pair]) -> list[str]:
    """The pairs that are not as reachable as their servers are past the proxy."""
    as_open = together(_as_open_as_past, pairs)
    return [pair.name for pair, open_again in zip(pairs, as_open, strict=True) if not open_again]


def _past(pair: Pair) -> Pair:
    """The same question asked past the proxy."""
    return replace(pair, host=pair.upstream[0], port=pair.upstream[1])


def _as_open_as_past(pair: Pair) -> bool:
    """Whether a pair is as reachable as its server is past the proxy: a dead server is nobody's partition."""
    return reachable(pair) or (pair.protocol in ASKABLE and not reachable(_past(pair)) and connects(pair))
