"""Network faults made by agents, written once: a platform says where agents run and how to reach them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from faultload.agents.network.spec import Flow, Side, Spec
from faultload.agents.probes import together
from faultload.errors import Refused, TargetError
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport, choose
from faultload.faults.network.agents import Agents, Places
from faultload.platforms.base import Instance
from faultload.spec import units
from faultload.spec.target import TargetFile


class OnNetwork(PlatformFault):
    """What all network faults share: sites with an agent each, ordered together."""

    sides: ClassVar[tuple[Side, ...]] = ("client", "server")
    """At which ends of a link there are agents."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self._agents, self._places = self._means()
        self._sites: list[Any] = []

    @abstractmethod
    def _means(self) -> tuple[Agents[Any, Any], Places[Any, Any]]:
        """The platform's agents, and where its instances are."""

    @abstractmethod
    def _find(self, instances: Sequence[Instance]) -> Iterable[tuple[Any, Flow | None]]:
        """Places with what flows there. Raises Refused for a network that cannot be acted on."""

    def _arguments(self) -> dict[str, Any]:
        return dict(self.request.arguments)

    def _way(self, site: Any) -> str:
        """In which of several ways the fault is made at a site. Raises Refused where in none."""
        return ""

    def _made(self, instances: Sequence[Instance]) -> list[Any]:
        """A site for each place."""
        places: dict[str, Any] = {}
        flows: dict[str, list[Flow]] = {}
        for place, flow in self._find(instances):
            places.setdefault(place_id := self._places.id(place), place)
            flows.setdefault(place_id, []).extend([flow] if flow is not None else [])
        made = []
        for place_id, place in places.items():
            spec = Spec(
                fault=self.request.fault_id,
                word=self.request.kind,
                flows=tuple(flows[place_id]),
                arguments=self._arguments(),
                duration_s=self.request.duration_s,
                names=(self._places.name(place),),
            )
            site = self._places.site(place, spec)
            made.append(site.in_way(self._way(site)))
        return made

    def _read(self, plan: Mapping[str, Any]) -> list[Any]:
        return [self._places.site_from(site) for site in plan["sites"]]

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Start the agents: each opens connections and measures the healthy network."""
        self._sites = self._agents.start(self._made(instances))

    def release(self) -> None:
        self._agents.dismiss(self._sites)

    def end_helpers(self, plan: Mapping[str, Any]) -> None:
        self._agents.dismiss(self._read(plan))

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {"sites": [site.to_json() for site in self._sites or self._made(instances)]}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._agents.order(self._read(plan), "inject")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        try:
            answers = self._agents.order(self._sites, "witness")
        except TargetError as error:
            return WitnessReport(False, str(error))
        looks = [
            (site.name, bool(answer["seen"]), str(answer["what"]))
            for site, answer in zip(self._sites, answers, strict=True)
            if answer["seen"] is not None
        ]
        return _together(looks, f"no {self._places.noun} of the link could be measured from", empty=False)

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport | None:
        return self._agents.lasting(self._read(plan))

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._agents.undo(self._read(plan))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        sites = self._read(plan)
        try:
            if left := self._agents.left(sites):
                return WitnessReport(False, left)
            looked = together(self._agents.look, sites)
        except TargetError as error:  # one that is just being started again, say: the next look tells
            return WitnessReport(False, str(error))
        looks = [
            (site.name, bool(look["seen"]), str(look["what"]))
            for site, look in zip(sites, looked, strict=True)
            if look is not None and (look["seen"] is not None or look["left"])
        ]
        nothing = f"none of the {self._places.noun}s runs any more, and their networks are gone"
        return _together(looks, nothing, empty=True)


class OnLink(OnNetwork):
    """A fault between all instances of a link's client and all of its server."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.link = str(request.arguments["link"])
        if self.link not in target.links:
            raise Refused(f"the target file declares no link '{self.link}'")

    def resolve(self) -> list[Instance]:
        ends = self._places.ends(self.link)
        list(self._between(*ends))
        return [
            self._places.instance(service, place)
            for service, places in zip(self.link.split(" -> "), ends, strict=True)
            for place in places
        ]

    def _find(self, instances: Sequence[Instance]) -> Iterable[tuple[Any, Flow | None]]:
        return self._between(*self._places.ends(self.link))

    def _between(self, clients: Sequence[Any], servers: Sequence[Any]) -> Iterable[tuple[Any, Flow | None]]:
        if "client" in self.sides:
            yield from self._places.flows(self.link, "client", clients, servers)
        if "server" in self.sides:
            yield from self._places.flows(self.link, "server", servers, clients)


class OnInstances(OnNetwork):
    """A fault in the networks of some instances of a service."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.service = str(request.arguments["service"])

    def resolve(self) -> list[Instance]:
        mine = [self._places.instance(self.service, place) for place in self._places.of(self.service)]
        return choose(self.request, self.service, mine)


class Partition(OnLink):
    """What comes from the other end is dropped, at both ends."""

    made_by = "nftables drops what comes in from the other end, in the networks of both clients and servers"
    witnessed_by = "from the clients: older connections are silent, new ones do not complete"


class Isolate(OnInstances):
    """Every declared link of some instances."""

    made_by = "nftables drops the traffic of every declared link in the instance's network"
    witnessed_by = "from the instance and its clients: open connections are silent, new ones do not complete"

    def resolve(self) -> list[Instance]:
        if not any(self.service in link.split(" -> ") for link in self.target.links):
            raise Refused(
                f"the target file declares no link of '{self.service}': there is nothing to isolate it from"
            )
        chosen = super().resolve()
        list(self._find(chosen))
        return chosen

    def _find(self, instances: Sequence[Instance]) -> Iterable[tuple[Any, Flow | None]]:
        ids = {instance.id for instance in instances}
        for link in self.target.links:
            client, server = link.split(" -> ")
            if self.service not in (client, server):
                continue
            clients, servers = self._places.ends(link)
            if self.service == client:
                chosen = [place for place in clients if self._places.id(place) in ids]
                yield from self._places.flows(link, "client", chosen, servers)
            if self.service == server:
                chosen = [place for place in servers if self._places.id(place) in ids]
                yield from self._places.flows(link, "server", chosen, clients)
                others = [place for place in clients if self._places.id(place) not in ids]
                yield from self._places.flows(link, "client", others, chosen, acts=False)


class Loss(OnLink):
    """A share of the packets is lost, each way."""

    made_by = "nftables drops a random share of the incoming packets, at both ends"
    witnessed_by = "from the clients: the share of single TCP segments the servers' kernels do not answer"


class Bandwidth(OnLink):
    """At most so many bytes a second leave each instance over the link."""

    made_by = (
        "a separate tc htb class for what each instance sends over the link; nftables sorts the packets into it"
    )
    witnessed_by = "from both ends: how fast the other end's kernel answers TCP segments"

    def _arguments(self) -> dict[str, Any]:
        return {"bytes_per_s": units.size(self.request.arguments["bytes_per_s"])}

    def _way(self, site: Any) -> str:
        if not self._agents.kernel(site)["htb"]:
            raise Refused(f"{site.name}: its kernel has no htb qdisc (module sch_htb), which bandwidth needs")
        return ""


class Latency(OnLink):
    """More time for each round trip."""

    made_by = (
        "tc netem in a separate class, on what the client sends; if the kernel has no netem, faultload's fault "
        "proxy behind an nftables redirect, which resets open connections once"
    )
    witnessed_by = "from the clients: how much longer a round trip takes than before"
    not_run = "with netem"
    sides = ("client",)

    def _way(self, site: Any) -> str:
        return "netem" if self._agents.kernel(site)["netem"] else "proxy"


class ResetConnections(OnLink):
    """Established connections are reset, idle ones too."""

    made_by = (
        "nftables answers the next packet of every established connection with RST; idle ones are prompted to send"
    )
    witnessed_by = "from the clients: older connections are reset"
    sides = ("client",)


class HttpError(OnLink):
    """A share of the requests is answered with an error."""

    made_by = (
        "faultload's fault proxy in the client's network, behind an nftables redirect that resets open connections "
        "once"
    )
    witnessed_by = "from the clients: the share of requests answered with the status"
    sides = ("client",)

    def _arguments(self) -> dict[str, Any]:
        return {**self.request.arguments, "seed": self.request.seed}

    def resolve(self) -> list[Instance]:
        if self._places.protocol(self.link) != "http":
            raise Refused(f"link '{self.link}' does not speak HTTP: declare `protocol: http` if it does")
        return super().resolve()


class DnsFailure(OnInstances):
    """What name servers answer never arrives."""

    made_by = "nftables drops whatever comes from port 53 in the instance's network"
    witnessed_by = "from the instance: the name servers in its resolv.conf do not answer"

    def _find(self, instances: Sequence[Instance]) -> Iterable[tuple[Any, Flow | None]]:
        ids = {instance.id for instance in instances}
        return [(place, None) for place in self._places.of(self.service) if self._places.id(place) in ids]


def _together(looks: Iterable[tuple[str, bool, str]], nothing: str, *, empty: bool) -> WitnessReport:
    """One sight of several: there only where all saw it."""
    known = list(looks)
    if not known:
        return WitnessReport(empty, nothing)
    unseen = [look for look in known if not look[1]]
    return WitnessReport(not unseen, "; ".join(f"{name}: {what}" for name, _, what in unseen or known))
