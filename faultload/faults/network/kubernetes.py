"""Network faults on Kubernetes: in the networks of a link's pods, by agents in helper pods on their nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from faultload.agents.network.spec import Flow, Side, Spec
from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.base import PlatformFault
from faultload.faults.network import family
from faultload.faults.network.agents import Agents, Places
from faultload.faults.network.kubernetes_agents import PodAgents, Site
from faultload.faults.network.kubernetes_policy import PolicyPartition
from faultload.faults.pods import HELPER_S, Delegated, KubernetesFault
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.client import Pod, asking, core, namespace_of, pods_of, running_container
from faultload.platforms.kubernetes.helper import helper_namespace
from faultload.platforms.kubernetes.rights import Demands, rights
from faultload.spec.target import TargetFile


class _Pods(Places[Pod, Site]):
    """The pods of a target's services, and the addresses of services that lead to them."""

    noun = "pod"

    def of(self, service: str) -> list[Pod]:
        """Raises Refused where a pod has no network of its own."""
        pods = [pod for pod in pods_of(self.target, service) if not pod.leaving and pod.ip]
        pods = [pod for pod in pods if self._started(service, pod) is not None]
        if pods:
            self._refuse_node_network(service)
        return pods

    def _started(self, service: str, pod: Pod) -> float | None:
        container = running_container(self.target, service, pod)
        return None if container is None else container.started

    def instance(self, service: str, place: Pod) -> Instance:
        started = self._started(service, place) or 0.0
        return Instance(service, place.uid, started, place.name, self.target.services[service].port)

    def flows(
        self, link: str, side: Side, mine: Sequence[Pod], theirs: Sequence[Pod], *, acts: bool = True
    ) -> Iterable[tuple[Pod, Flow]]:
        """A client connects to the cluster addresses of services, and sees no other; a measuring one to pods."""
        if not mine:
            return
        protocol, there = self.protocol(link), tuple(pod.ip for pod in theirs)
        by_port = {self.port(link): there}
        if side == "client" and acts:
            for port, addresses in self._services(link, set(there)).items():
                by_port[port] = (*by_port.get(port, ()), *addresses)
        for pod in mine:
            for port, addresses in by_port.items():
                if peers := tuple(address for address in addresses if address != pod.ip):
                    yield pod, Flow(side, port, protocol, peers, acts)

    def id(self, place: Pod) -> str:
        return place.uid

    def name(self, place: Pod) -> str:
        return place.name

    def site(self, place: Pod, spec: Spec) -> Site:
        helpers = helper_namespace(self.target, place.namespace)
        return Site(place.uid, place.name, place.namespace, place.node, helpers, spec)

    def site_from(self, value: Mapping[str, Any]) -> Site:
        return Site.from_json(value)

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

    def _services(self, link: str, servers: set[str]) -> dict[int, tuple[str, ...]]:
        """The cluster addresses that stand for servers, by their port: clients connect to them and see no other.

        By the endpoints, for a service without a selector may lead to them too.
        """
        namespace = namespace_of(self.target, link.split(" -> ")[1])
        with asking(f"list the services of namespace '{namespace}'"):
            services: list[Any] = core(self.target).list_namespaced_service(namespace).items
            endpoints: list[Any] = core(self.target).list_namespaced_endpoints(namespace).items
        leads = {one.metadata.name: set(_ports_to(one, servers, self.port(link))) for one in endpoints}
        found: dict[int, set[str]] = {}
        for service in services:
            addresses = _cluster_addresses(service)
            for port in service.spec.ports or [] if addresses else []:
                if port.name in leads.get(service.metadata.name, ()):
                    found.setdefault(int(port.port), set()).update(addresses)
        return {port: tuple(sorted(known)) for port, known in sorted(found.items())}


class _OnPods(family.OnNetwork, KubernetesFault):
    """What all of them need of a cluster."""

    gone_within_s = 60.0
    look_every_s = 5.0
    preparation_s = HELPER_S
    needs = "helper pods with NET_ADMIN, NET_RAW, SYS_ADMIN and SYS_PTRACE that see the node's processes"
    undone_by = (
        "the agent undoes it, or a new helper in the same pod's network; ends on its own 5 s after the duration; "
        "afterwards table and class are gone, and a new connection is answered"
    )

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        look = (*rights("list", "pods"), *rights("list", "endpoints"), *rights("list", "services"))
        return Demands(look, helper=True)

    def _means(self) -> tuple[Agents[Any, Any], Places[Any, Any]]:
        return PodAgents(self.target), _Pods(self.target)


class AgentPartition(_OnPods, family.Partition):
    """What comes from the other end is dropped, at both ends."""


@makes("partition", "kubernetes")
class Partition(Delegated):
    """Both ways silent: by agents in the pods' networks, or by NetworkPolicies where the target says `policy`."""

    gone_within_s = 60.0
    preparation_s = HELPER_S
    made_by = (
        "nftables drops what comes in from the other end, in the networks of both ends' pods; with `network: "
        "policy` in the target file, two NetworkPolicies instead"
    )
    needs = _OnPods.needs
    witnessed_by = "from the clients' pods: older connections are silent, new ones do not complete"
    undone_by = _OnPods.undone_by
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


@makes("isolate", "kubernetes")
class Isolate(_OnPods, family.Isolate):
    """isolate, in the networks of pods."""


@makes("loss", "kubernetes")
class Loss(_OnPods, family.Loss):
    """loss, in the networks of pods."""


@makes("bandwidth", "kubernetes")
class Bandwidth(_OnPods, family.Bandwidth):
    """bandwidth, in the networks of pods."""


@makes("latency", "kubernetes")
class Latency(_OnPods, family.Latency):
    """latency, in the networks of pods."""


@makes("reset_connections", "kubernetes")
class ResetConnections(_OnPods, family.ResetConnections):
    """reset_connections, in the networks of pods."""


@makes("http_error", "kubernetes")
class HttpError(_OnPods, family.HttpError):
    """http_error, in the networks of pods."""


@makes("dns_failure", "kubernetes")
class DnsFailure(_OnPods, family.DnsFailure):
    """dns_failure, in the networks of pods."""

    made_by = "nftables drops whatever comes from port 53 in the pod's network; other pods still find names"
    needs = f"{_OnPods.needs}; a name server that answers in the pod's resolv.conf (cluster DNS, or `dnsConfig`)"
    not_run = "with the cluster's own DNS"

    @classmethod
    def demands(cls, target: TargetFile) -> Demands:
        return Demands(rights("list", "pods"), helper=True)


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
