"""Cuts an instance off: silences every link that it is part of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faultload.agents.probes import Probe, close_all, established, reachable, silence_of, together
from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport, choose
from faultload.faults.network.local import (
    EXPIRY_MARGIN_S,
    NEEDS_PROXY,
    answering,
    closed_of,
    listens,
    lost_at,
    open_faults_of,
    refuse_detours,
    remove,
    still_silent,
)
from faultload.platforms.base import Instance, names
from faultload.platforms.local.links import Pair, planned, proxy_of, tokens_of
from faultload.platforms.local.processes import certain_instances
from faultload.spec.target import TargetFile

_KIND = "partition"


@makes("isolate", "local")
class Isolate(PlatformFault):
    """The pairs of an instance, both where it is the client and where it is the server."""

    made_by = "the link proxies hold back all bytes of the instance's pairs"
    needs = f"{NEEDS_PROXY}, for every link of the service; the pairs must name their `client` and `server`"
    witnessed_by = "every pair of the instance is silent as in a partition, and all other pairs answer as before"
    undone_by = "the link proxies end it, on their own at the latest 5 s after its duration"

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.service = str(request.arguments["service"])
        self.links = {
            name: proxy_of(link)
            for name, link in target.links.items()
            if self.service in name.split(" -> ") and link.proxy is not None
        }
        if not self.links:
            raise Refused(f"service '{self.service}' is an end of no link with a link proxy")
        self._probes: list[Probe] = []
        self._others: list[Pair] = []
        self._asked: list[Pair] = []

    def gate(self) -> list[str]:
        return [one for link, proxy in self.links.items() for one in open_faults_of(proxy, link, _KIND)]

    def resolve(self) -> list[Instance]:
        chosen = choose(self.request, self.service, certain_instances(self.target, self.service))
        pairs = [pair for found in self._pairs(chosen).values() for pair in found]
        for instance in chosen:
            name = self._end(instance)
            if not any(name in self._ends(pair) for pair in pairs):
                raise Refused(
                    f"no pair of {', '.join(map(repr, self.links))} is known to be of {instance.label}: name it "
                    f"as `client` or `server` ('{name}') in the link proxy's configuration"
                )
        return chosen

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        cut = [
            {"proxy": self.links[link].url, "link": link, "pairs": [pair.name for pair in pairs]}
            for link, pairs in self._pairs(instances).items()
        ]
        declared = [self.target.links[link] for link in self.links]
        return {"id": self.request.fault_id, "cut": cut, "private": tokens_of(*declared)}

    def prepare(self, instances: Sequence[Instance]) -> None:
        """A connection a pair that is to be cut; and which of the others answer now."""
        mine = self._pairs(instances)
        for link, pairs in mine.items():
            refuse_detours(self.target, link, pairs)
        self._asked = answering(", ".join(mine), [pair for pairs in mine.values() for pair in pairs])
        self._probes = established(self._asked)
        cut = {(link, pair.name) for link, pairs in mine.items() for pair in pairs}
        others = [
            pair
            for link, proxy in self.links.items()
            for pair in proxy.listeners(link)
            if (link, pair.name) not in cut
        ]
        reached = together(reachable, others)
        self._others = [pair for pair, open_now in zip(others, reached, strict=True) if open_now]

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        expires_s = self.request.duration_s + EXPIRY_MARGIN_S
        for cut in plan["cut"]:
            proxy = planned(str(cut["proxy"]), plan)
            proxy.add(str(cut["link"]), str(plan["id"]), _KIND, {"mode": "drop"}, expires_s, cut["pairs"])

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        pairs = self._asked
        problems, older = silence_of(self._probes, pairs), len(self._probes)
        close_all(self._probes)
        reached = together(reachable, self._others)
        harmed = [pair.name for pair, well in zip(self._others, reached, strict=True) if not well]
        if problems or harmed:
            return WitnessReport(False, problems[0] if problems else f"others are cut off too: {', '.join(harmed)}")
        silent = f"{names(instances)}: {len(pairs)} pairs let no new connection complete, {older} established"
        return WitnessReport(True, f"{silent} ones are silent; {len(self._others)} other pairs answer")

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Every link proxy still makes the fault, and the pairs are silent."""
        for cut in plan["cut"]:
            lost = lost_at(planned(str(cut["proxy"]), plan), str(cut["link"]), str(plan["id"]))
            if lost:
                return WitnessReport(False, lost)
        return still_silent(self._asked)

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        for cut in plan["cut"]:
            remove(planned(str(cut["proxy"]), plan), str(cut["link"]), str(plan["id"]))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        close_all(self._probes)
        pairs = [
            pair
            for cut in plan["cut"]
            if listens(str(cut["proxy"]))
            for pair in planned(str(cut["proxy"]), plan).listeners(str(cut["link"]))
            if pair.name in cut["pairs"]
        ]
        closed = closed_of(pairs)
        if closed:
            return WitnessReport(False, f"still cut off: {', '.join(closed)}")
        return WitnessReport(True, f"{len(pairs)} pairs of {names(instances)} answer again")

    def _end(self, instance: Instance) -> str:
        return f"{self.service}:{instance.port or instance.id}"

    def _ends(self, pair: Pair) -> set[str | None]:
        return {pair.client, pair.server}

    def _pairs(self, instances: Sequence[Instance]) -> dict[str, list[Pair]]:
        """The pairs of instances by link; links without any are left out."""
        wanted = {self._end(instance) for instance in instances}
        found = {
            link: [pair for pair in proxy.listeners(link) if wanted & self._ends(pair)]
            for link, proxy in self.links.items()
        }
        return {link: pairs for link, pairs in found.items() if pairs}
