"""Network faults on Kubernetes: in the networks of a link's pods, by agents in helper pods on their nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from faultload.agents.network.spec import Flow, Side, Spec
from faultload.agents.probes import together
from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.faults.network.kubernetes_agents import Agents, Site
from faultload.faults.network.kubernetes_policy import PolicyPartition
from faultload.faults.pods import Delegated, KubernetesFault
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.client import Pod, asking, core, namespace_of, pods_of, running_container
from faultload.platforms.kubernetes.helper import helper_namespace
from faultload.platforms.kubernetes.rights import EXEC, Demands, rights
from faultload.spec.target import TargetFile


@dataclass(frozen=True, slots=True)
class _Ends:
    """The pods at both ends of a link, and the addresses of services that lead to its server, by their port."""

    clients: tuple[Pod, ...]
    servers: tuple[Pod, ...]
    services: Mapping[int, tuple[str, ...]]


class _OnLink(KubernetesFault):
    """What all faults of links share: agents at its ends, ordered together."""

    gone_within_s = 60.0
    needs = "helper pods with NET_ADMIN, NET_RAW, SYS_ADMIN and SYS_PTRACE, with the node's processes in sight"
    undone_by = (
        "the agent, or a new helper in the same pod's network; by itself 5 s after the duration; table and class "
        "are gone, and a new connection is answered"
    )
    sides: ClassVar[tuple[Side, ...]] = ("client", "server")
    """At which ends of a link there are agents."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.link = str(request.arguments["link"])
        if self.link not in target.links:
            raise Refused(f"the target file declares no link '{self.link}'")
        self.client, self.server = self.link.split(" -> ")
        self._agents = Agents(target)
        self._sites: list[Site] = []

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        look = (*rights("list", "pods"), *rights("list", "endpoints"), *rights("list", "services"))
        return Demands((*look, *rights("get", "pods/log"), *EXEC), helper=True)

    @property
    def _port(self) -> int:
        found = self.target.links[self.link].port or self.target.services[self.server].port
        if found is None:
            raise Refused(f"link '{self.link}' needs the port of '{self.server}' inside its pods: declare `port`")
        return found

    @property
    def _protocol(self) -> str:
        """What the link speaks: as declared, else as its server's declaration suggests."""
        server = self.target.services[self.server]
        known = "postgres" if server.patroni or server.dsn else "http" if server.health else "tcp"
        return self.target.links[self.link].protocol or known

    def resolve(self) -> list[Instance]:
        found = self._ends()
        return [
            Instance(service, pod.uid, container.started, pod.name, self.target.services[service].port)
            for service, pods in ((self.client, found.clients), (self.server, found.servers))
            for pod in pods
            if (container := running_container(self.target, service, pod)) is not None
            and container.started is not None
        ]

    def _ends(self) -> _Ends:
        """Both ends. Raises Refused where one has no pods, or a pod has no network of its own."""
        ends = []
        for service in (self.client, self.server):
            pods = [pod for pod in pods_of(self.target, service) if not pod.leaving and pod.ip]
            pods = [pod for pod in pods if running_container(self.target, service, pod) is not None]
            if not pods:
                raise Refused(f"service '{service}' has no running pods")
            self._refuse_node_network(service)
            ends.append(tuple(pods))
        return _Ends(ends[0], ends[1], self._services({pod.ip for pod in ends[1]}))

    def _refuse_node_network(self, service: str) -> None:
        namespace, selector = namespace_of(self.target, service), self.target.services[service].selector
        with asking(f"list the pods of service '{service}'"):
            found = core(self.target).list_namespaced_pod(namespace, label_selector=selector).items
        for pod in found:
            if pod.spec.host_network:
                raise Refused(
                    f"pod {pod.metadata.name} uses its node's network: a fault there would touch more than what is "
                    "declared"
                )

    def _services(self, servers: set[str]) -> dict[int, tuple[str, ...]]:
        """The cluster addresses that stand for servers, by their port: clients connect to them and see no other.

        By the endpoints, for a service without a selector may lead to them too.
        """
        namespace = namespace_of(self.target, self.server)
        with asking(f"list the services of namespace '{namespace}'"):
            services: list[Any] = core(self.target).list_namespaced_service(namespace).items
            endpoints: list[Any] = core(self.target).list_namespaced_endpoints(namespace).items
        leads = {one.metadata.name: set(_ports_to(one, servers, self._port)) for one in endpoints}
        found: dict[int, set[str]] = {}
        for service in services:
            addresses = _cluster_addresses(service)
            for port in service.spec.ports or [] if addresses else []:
                if port.name in leads.get(service.metadata.name, ()):
                    found.setdefault(int(port.port), set()).update(addresses)
        return {port: tuple(sorted(known)) for port, known in sorted(found.items())}

    # the agents

    def _made(self) -> list[Site]:
        """A site for each pod at the ends that have agents."""
        ends, protocol = self._ends(), self._protocol
        made = []
        if "client" in self.sides:
            there = tuple(pod.ip for pod in ends.servers)
            by_port = {self._port: there}
            for port, addresses in ends.services.items():
                by_port[port] = (*by_port.get(port, ()), *addresses)
            flows = tuple(Flow("client", port, protocol, peers) for port, peers in by_port.items())
            made += [self._site(self.client, pod, flows) for pod in ends.clients]
        if "server" in self.sides:
            flow = Flow("server", self._port, protocol, tuple(pod.ip for pod in ends.clients))
            made += [self._site(self.server, pod, (flow,)) for pod in ends.servers]
        return made

    def _site(self, service: str, pod: Pod, flows: tuple[Flow, ...]) -> Site:
        spec = Spec(
            fault=self.request.fault_id,
            word=self.request.kind,
            flows=flows,
            arguments=dict(self.request.arguments),
            duration_s=self.request.duration_s,
            names=(pod.name,),
        )
        helpers = helper_namespace(self.target, namespace_of(self.target, service))
        return Site(pod.uid, pod.name, pod.namespace, pod.node, helpers, spec)

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Start the agents: each opens connections and measures the healthy network."""
        self._sites = self._agents.start(self._in_their_way(self._made()))

    def _in_their_way(self, sites: Iterable[Site]) -> list[Site]:
        return list(sites)

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {"sites": [site.to_json() for site in self._sites or self._in_their_way(self._made())]}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._agents.order(_sites_of(plan), "inject")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        answers = self._agents.order(self._sites, "witness")
        looks = [
            (site.name, bool(answer["seen"]), str(answer["what"]))
            for site, answer in zip(self._sites, answers, strict=True)
            if answer["seen"] is not None
        ]
        return _together(looks, "no pod of the link could be measured from", empty=False)

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._agents.undo(_sites_of(plan))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        sites = _sites_of(plan)
        if left := self._agents.left(sites):
            return WitnessReport(False, f"{left} helper pods of the fault are still there")
        looks = [
            (site.name, bool(found["seen"]), str(found["what"]))
            for site, found in zip(sites, together(self._agents.look, sites), strict=True)
            if found is not None and (found["seen"] is not None or found["left"])
        ]
        return _together(looks, "none of the pods is there any more, and their networks are gone", empty=True)


class AgentPartition(_OnLink):
    """What comes from the other end is dropped, at both ends."""


@makes("partition", "kubernetes")
class Partition(Delegated):
    """Both ways silent: by agents in the pods' networks, or by NetworkPolicies where the target says `policy`."""

    gone_within_s = 60.0
    made_by = (
        "nftables drops what comes in from the other end, in the networks of both ends' pods; with `network: "
        "policy` in the target file two NetworkPolicies of our own"
    )
    needs = _OnLink.needs
    witnessed_by = "from the clients' pods: connections opened before are silent, new ones do not complete"
    undone_by = _OnLink.undone_by
    not_run = "an enforced NetworkPolicy"
    _made: PlatformFault | None = None

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        return (PolicyPartition if target.network == "policy" else AgentPartition).demands(target)

    def _by(self, plan: Mapping[str, Any] | None = None) -> PlatformFault:
        if self._made is None:
            by_policy = "policies" in plan if plan is not None else self.target.network == "policy"
            self._made = (PolicyPartition if by_policy else AgentPartition)(self.target, self.request)
        return self._made


@makes("latency", "kubernetes")
class Latency(_OnLink):
    """More time for each round trip."""

    made_by = (
        "tc netem in a class of its own, on the client pod's way out; where the node's kernel has no netem, "
        "faultload's fault proxy behind an nftables redirect: connections that were open are then reset once"
    )
    witnessed_by = "from the clients' pods: how much longer a round trip takes than before"
    not_run = "with netem"
    sides = ("client",)

    def _in_their_way(self, sites: Iterable[Site]) -> list[Site]:
        """Each node's kernel is asked once what it has."""
        known, found = dict[str, str](), []
        for site in sites:
            if site.node not in known:
                known[site.node] = self._agents.latency_way(site)
            found.append(site.in_way(known[site.node]))
        return found


def _cluster_addresses(service: Any) -> list[str]:
    spec = service.spec
    # the client spells it in one of two ways, by its version
    known = getattr(spec, "cluster_ips", None) or getattr(spec, "cluster_i_ps", None) or [spec.cluster_ip]
    return [str(one) for one in known if one and one != "None"]


def _ports_to(endpoints: Any, servers: set[str], port: int) -> Iterator[str | None]:
    """The names of the ports by which endpoints lead to a port of servers, ready or not."""
    for subset in endpoints.subsets or []:
        addresses = [*(subset.addresses or []), *(subset.not_ready_addresses or [])]
        if any(address.ip in servers for address in addresses):
            yield from (one.name for one in subset.ports or [] if one.port == port)


def _sites_of(plan: Mapping[str, Any]) -> list[Site]:
    return [Site.from_json(site) for site in plan["sites"]]


def _together(looks: Iterable[tuple[str, bool, str]], nothing: str, *, empty: bool) -> WitnessReport:
    """One sight of several: there only where all saw it."""
    known = list(looks)
    if not known:
        return WitnessReport(empty, nothing)
    unseen = [look for look in known if not look[1]]
    return WitnessReport(not unseen, "; ".join(f"{name}: {what}" for name, _, what in unseen or known))
