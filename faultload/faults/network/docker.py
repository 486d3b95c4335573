"""Network faults on Docker: in the network namespaces of a link's containers, by agents in helper containers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from faultload.agents.network.spec import Flow, Side, Spec
from faultload.agents.probes import together
from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport, choose
from faultload.faults.network import docker_agents as agents
from faultload.faults.network.docker_agents import Site
from faultload.platforms.base import Instance
from faultload.platforms.docker.client import containers_of, instance_of, started_at
from faultload.spec import units
from faultload.spec.target import TargetFile

if TYPE_CHECKING:
    from docker.models.containers import Container

_NEEDS = "the group docker; a helper with NET_ADMIN and NET_RAW in the container's network"
_GONE = "table and class are gone from the namespace, and a new connection is answered"


class _Sites:
    """The containers that a fault works in, with the flows of each."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.flows: dict[str, list[Flow]] = {}

    def add(self, found: Container, flow: Flow | None = None) -> None:
        self.containers.setdefault(str(found.id), found)
        flows = self.flows.setdefault(str(found.id), [])
        if flow is not None:
            flows.append(flow)


class _OnNetwork(PlatformFault):
    """What all network faults share: sites with an agent each, ordered together."""

    gone_within_s = 15.0
    needs = _NEEDS
    undone_by = f"the agent, or a new helper in the same namespace; by itself 5 s after the duration; {_GONE}"
    sides: ClassVar[tuple[Side, ...]] = ("client", "server")
    """At which ends of a link there are agents."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self._sites: list[Site] = []

    def _arguments(self) -> dict[str, Any]:
        return dict(self.request.arguments)

    def _way(self) -> str:
        return ""

    def _find(self, instances: Sequence[Instance]) -> _Sites:
        """The sites of a fault on instances. Raises Refused for a network that cannot be acted on."""
        raise NotImplementedError

    def _made(self, instances: Sequence[Instance]) -> list[Site]:
        found, way = self._find(instances), self._way()
        made = []
        for id_, one in found.containers.items():
            _refuse_shared(one)
            spec = Spec(
                fault=self.request.fault_id,
                word=self.request.kind,
                flows=tuple(found.flows[id_]),
                arguments=self._arguments(),
                duration_s=self.request.duration_s,
                way=way,
                names=(str(one.name),),
            )
            made.append(Site(id_, started_at(one), str(one.name), spec))
        return made

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Start the agents: each opens connections and measures the healthy network."""
        self._sites = agents.start(self._made(instances))

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {"sites": [site.to_json() for site in self._sites or self._made(instances)]}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        agents.order(_sites_of(plan), "inject")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        try:
            answers = agents.order(self._sites, "witness")
        except TargetError as error:
            return WitnessReport(False, str(error))
        looks = [
            (site.name, bool(answer["seen"]), str(answer["what"]))
            for site, answer in zip(self._sites, answers, strict=True)
            if answer["seen"] is not None
        ]
        return _together(looks, "no container of the link could be measured from", empty=False)

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        agents.undo(_sites_of(plan))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        sites = _sites_of(plan)
        try:
            found = together(agents.look, sites)
        except TargetError as error:  # a container that is just being started again, say: the next look tells
            return WitnessReport(False, str(error))
        looks = [
            (site.name, bool(look["seen"]), str(look["what"]))
            for site, look in zip(sites, found, strict=True)
            if look is not None and (look["seen"] is not None or look["left"])
        ]
        return _together(looks, "none of the containers runs any more, and their networks are gone", empty=True)


class _OnLink(_OnNetwork):
    """A fault between all containers of a link's client and all of its server."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.link = str(request.arguments["link"])
        if self.link not in target.links:
            raise Refused(f"the target file declares no link '{self.link}'")

    def resolve(self) -> list[Instance]:
        ends = _ends(self.target, self.link)
        self._find([])
        services = self.link.split(" -> ")
        return [
            instance_of(service, one, self.target.services[service].port)
            for service, containers in zip(services, ends, strict=True)
            for one in containers
        ]

    def _find(self, instances: Sequence[Instance]) -> _Sites:
        found = _Sites()
        clients, servers = _ends(self.target, self.link)
        if "client" in self.sides:
            for one, flow in _flows(self.target, self.link, "client", clients, servers):
                found.add(one, flow)
        if "server" in self.sides:
            for one, flow in _flows(self.target, self.link, "server", servers, clients):
                found.add(one, flow)
        return found


@makes("partition", "docker")
class Partition(_OnLink):
    """What comes from the other end is dropped, at both ends."""

    made_by = "nftables drops what comes in from the other end, in the networks of clients and servers"
    witnessed_by = "from the clients: connections opened before are silent, new ones do not complete"


@makes("isolate", "docker")
class Isolate(_OnNetwork):
    """Every declared link of some instances."""

    made_by = "nftables drops the traffic of every declared link in the instance's network"
    witnessed_by = "from the instance and its clients: open connections are silent, new ones do not complete"

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.service = str(request.arguments["service"])

    def resolve(self) -> list[Instance]:
        if not any(self.service in link.split(" -> ") for link in self.target.links):
            raise Refused(
                f"the target file declares no link of '{self.service}': there is nothing to isolate it from"
            )
        port = self.target.services[self.service].port
        mine = [instance_of(self.service, one, port) for one in containers_of(self.target, self.service)]
        chosen = choose(self.request, self.service, mine)
        self._find(chosen)
        return chosen

    def _find(self, instances: Sequence[Instance]) -> _Sites:
        found = _Sites()
        ids = {instance.id for instance in instances}
        for link in self.target.links:
            client, server = link.split(" -> ")
            if self.service not in (client, server):
                continue
            clients, servers = _ends(self.target, link)
            if self.service == client:
                chosen = [one for one in clients if one.id in ids]
                for one, flow in _flows(self.target, link, "client", chosen, servers):
                    found.add(one, flow)
            if self.service == server:
                chosen = [one for one in servers if one.id in ids]
                for one, flow in _flows(self.target, link, "server", chosen, clients):
                    found.add(one, flow)
                others = [one for one in clients if one.id not in ids]
                for one, flow in _flows(self.target, link, "client", others, chosen, acts=False):
                    found.add(one, flow)
        return found


@makes("loss", "docker")
class Loss(_OnLink):
    """A share of the packets is lost, each way."""

    made_by = "nftables drops packets that come in by the kernel's random numbers, at both ends"
    witnessed_by = "from the clients: the share of single segments that the servers' kernels do not answer"


@makes("bandwidth", "docker")
class Bandwidth(_OnLink):
    """At most so many bytes a second leave each container over the link."""

    made_by = "tc: an htb class of its own for what each container sends over the link; nftables fills it"
    witnessed_by = "from both ends: how fast segments are answered by the other end's kernel"

    def _arguments(self) -> dict[str, Any]:
        return {"bytes_per_s": units.size(self.request.arguments["bytes_per_s"])}

    def resolve(self) -> list[Instance]:
        if not agents.can_shape():
            raise Refused("the engine's kernel has no htb qdisc (module sch_htb), which bandwidth needs")
        return super().resolve()


@makes("latency", "docker")
class Latency(_OnLink):
    """More time for each round trip."""

    made_by = (
        "tc netem in a class of its own, on the client's way out; where the kernel has no netem, faultload's fault "
        "proxy behind an nftables redirect: connections that were open are then reset once"
    )
    witnessed_by = "from the clients: how much longer a round trip takes than before"
    not_run = "with netem"
    sides = ("client",)

    def _way(self) -> str:
        return agents.latency_way()


@makes("reset_connections", "docker")
class ResetConnections(_OnLink):
    """Established connections are reset, idle ones too."""

    made_by = "nftables answers every established connection's next packet with RST; idle ones are made to speak"
    witnessed_by = "from the clients: connections opened before are reset"
    sides = ("client",)


@makes("http_error", "docker")
class HttpError(_OnLink):
    """A share of the requests is answered with an error."""

    made_by = (
        "faultload's fault proxy in the client's network behind an nftables redirect; connections that were open "
        "are reset once"
    )
    witnessed_by = "from the clients: the share of requests that are answered with the status"
    sides = ("client",)

    def _arguments(self) -> dict[str, Any]:
        return {**self.request.arguments, "seed": self.request.seed}

    def resolve(self) -> list[Instance]:
        if _protocol(self.target, self.link) != "http":
            raise Refused(f"link '{self.link}' does not speak HTTP: declare `protocol: http` if it does")
        return super().resolve()


@makes("dns_failure", "docker")
class DnsFailure(_OnNetwork):
    """What name servers answer never arrives."""

    made_by = "nftables drops what comes from port 53 in the instance's network, the engine's own resolver too"
    witnessed_by = "from the instance: the name servers of its resolv.conf do not answer"

    def resolve(self) -> list[Instance]:
        service = str(self.request.arguments["service"])
        port = self.target.services[service].port
        mine = [instance_of(service, one, port) for one in containers_of(self.target, service)]
        return choose(self.request, service, mine)

    def _find(self, instances: Sequence[Instance]) -> _Sites:
        found, ids = _Sites(), {instance.id for instance in instances}
        for one in containers_of(self.target, str(self.request.arguments["service"])):
            if one.id in ids:
                found.add(one)
        return found


def latency_way() -> str:
    """How latency is made with the engine at hand: `netem` or `proxy`. Raises TargetError."""
    return agents.latency_way()


def _sites_of(plan: Mapping[str, Any]) -> list[Site]:
    return [Site.from_json(site) for site in plan["sites"]]


def _together(looks: Iterable[tuple[str, bool, str]], nothing: str, *, empty: bool) -> WitnessReport:
    """One sight of several: there only where all saw it."""
    known = list(looks)
    if not known:
        return WitnessReport(empty, nothing)
    unseen = [look for look in known if not look[1]]
    return WitnessReport(not unseen, "; ".join(f"{name}: {what}" for name, _, what in unseen or known))


def _ends(target: TargetFile, link: str) -> tuple[list[Container], list[Container]]:
    """The containers at both ends of a link. Raises Refused where there is none."""
    client, server = link.split(" -> ")
    ends = containers_of(target, client), containers_of(target, server)
    for service, found in zip((client, server), ends, strict=True):
        if not found:
            raise Refused(f"service '{service}' has no running container")
    return ends


def _flows(
    target: TargetFile,
    link: str,
    side: Side,
    mine: Sequence[Container],
    theirs: Sequence[Container],
    *,
    acts: bool = True,
) -> Iterable[tuple[Container, Flow]]:
    """Each container at one end of a link with its flow to those at the other. Raises Refused for none."""
    client, server = link.split(" -> ")
    port = target.links[link].port or target.services[server].port
    if port is None:
        raise Refused(f"link '{link}' needs the port of '{server}' inside its containers: declare `port`")
    for one in mine:
        _refuse_shared(one)
        peers = [address for other in theirs if other.id != one.id for address in _shared(one, other)]
        if not peers:
            far = server if side == "client" else client
            raise Refused(f"container {one.name} shares no Docker network with a container of '{far}'")
        yield one, Flow(side, port, _protocol(target, link), tuple(dict.fromkeys(peers)), acts)


def _protocol(target: TargetFile, link: str) -> str:
    """What a link speaks: as declared, else as its server's declaration suggests."""
    server = target.services[link.split(" -> ")[1]]
    known = "postgres" if server.patroni or server.dsn else "http" if server.health else "tcp"
    return target.links[link].protocol or known


def _refuse_shared(found: Container) -> None:
    """Refuse a container whose network is not its own."""
    mode = str(found.attrs["HostConfig"].get("NetworkMode") or "")
    if mode == "host" or mode.startswith("container:"):
        whose = "the machine's network" if mode == "host" else "another container's network"
        raise Refused(f"container {found.name} uses {whose}: a fault there would touch more than what is declared")


def _shared(one: Container, other: Container) -> list[str]:
    """The addresses, IPv4 and IPv6, of the other container on networks that both are on."""
    mine, theirs = _networks(one), _networks(other)
    common = [theirs[network] for network in mine if network in theirs]
    return [str(found[key]) for found, key in product(common, ("IPAddress", "GlobalIPv6Address")) if found.get(key)]


def _networks(found: Container) -> dict[str, Mapping[str, Any]]:
    """A container's networks by id."""
    networks: Mapping[str, Any] = found.attrs["NetworkSettings"].get("Networks") or {}
    return {str(one["NetworkID"]): one for one in networks.values() if one.get("NetworkID")}
