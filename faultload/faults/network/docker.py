"""Network faults on Docker: in the network namespaces of a link's containers, by agents in helper containers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from faultload.agents.network.spec import Flow, Side, Spec
from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.containers import HELPER_S
from faultload.faults.network import docker_agents as agents
from faultload.faults.network import family
from faultload.faults.network.agents import Agents, Places
from faultload.faults.network.docker_agents import ContainerAgents, Site
from faultload.platforms.base import Instance
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker.client import containers_of, instance_of, started_at

if TYPE_CHECKING:
    from docker.models.containers import Container

_GONE = "afterwards table and class are gone from the namespace, and a new connection is answered"


class _Containers(Places["Container", Site]):
    """The containers of a target's services, and the addresses by which they reach each other."""

    noun = "container"

    def of(self, service: str) -> list[Container]:
        return containers_of(self.target, service)

    def instance(self, service: str, place: Container) -> Instance:
        return instance_of(service, place, self.target.services[service].port)

    def flows(
        self, link: str, side: Side, mine: Sequence[Container], theirs: Sequence[Container], *, acts: bool = True
    ) -> Iterable[tuple[Container, Flow]]:
        port, protocol = self.port(link), self.protocol(link)
        client, server = link.split(" -> ")
        for one in mine:
            _refuse_shared(one)
            peers = [address for other in theirs if other.id != one.id for address in _shared(one, other)]
            if not peers:
                far = server if side == "client" else client
                raise Refused(f"container {one.name} shares no Docker network with a container of '{far}'")
            published = _published(one, theirs, port) if side == "client" else ()
            yield one, Flow(side, port, protocol, tuple(dict.fromkeys(peers)), acts, published)

    def id(self, place: Container) -> str:
        return str(place.id)

    def name(self, place: Container) -> str:
        return str(place.name)

    def site(self, place: Container, spec: Spec) -> Site:
        _refuse_shared(place)
        return Site(str(place.id), started_at(place), str(place.name), spec)

    def site_from(self, value: Mapping[str, Any]) -> Site:
        return Site.from_json(value)


class _OnContainers(family.OnNetwork):
    """What all of them need of an engine."""

    gone_within_s = 15.0
    look_every_s = 3.0
    preparation_s = HELPER_S
    needs = "membership in the group docker; a helper with NET_ADMIN and NET_RAW in the container's network"
    undone_by = (
        "the agent undoes it, or a new helper in the same namespace; ends on its own 5 s after the duration; "
        f"{_GONE}"
    )

    def _means(self) -> tuple[Agents[Any, Any], Places[Any, Any]]:
        return ContainerAgents(), _Containers(self.target)


@makes("partition", "docker")
class Partition(_OnContainers, family.Partition):
    """partition, in the networks of containers."""


@makes("isolate", "docker")
class Isolate(_OnContainers, family.Isolate):
    """isolate, in the networks of containers."""


@makes("loss", "docker")
class Loss(_OnContainers, family.Loss):
    """loss, in the networks of containers."""


@makes("bandwidth", "docker")
class Bandwidth(_OnContainers, family.Bandwidth):
    """bandwidth, in the networks of containers."""

    made_by = (
        "a separate tc htb class for what each container sends over the link; nftables sorts the packets into it"
    )

    def resolve(self) -> list[Instance]:
        if not agents.can_shape():
            raise Refused("the engine's kernel has no htb qdisc (module sch_htb), which bandwidth needs")
        return super().resolve()


@makes("latency", "docker")
class Latency(_OnContainers, family.Latency):
    """latency, in the networks of containers."""


@makes("reset_connections", "docker")
class ResetConnections(_OnContainers, family.ResetConnections):
    """reset_connections, in the networks of containers."""


@makes("http_error", "docker")
class HttpError(_OnContainers, family.HttpError):
    """http_error, in the networks of containers."""


@makes("dns_failure", "docker")
class DnsFailure(_OnContainers, family.DnsFailure):
    """dns_failure, in the networks of containers."""

    made_by = (
        "nftables drops whatever comes from port 53 in the instance's network, including the engine's own resolver"
    )


def _refuse_shared(found: Container) -> None:
    """Refuse a container whose network is not its own."""
    mode = str(found.attrs["HostConfig"].get("NetworkMode") or "")
    if mode == "host" or mode.startswith("container:"):
        whose = "the machine's network" if mode == "host" else "another container's network"
        raise Refused(f"container {found.name} uses {whose}: a fault there would touch more than what is declared")


def _published(client: Container, servers: Sequence[Container], port: int) -> tuple[tuple[str, int], ...]:
    """Where a client could reach servers past their own addresses: where their port is published."""
    places = set()
    for server in servers:
        for one in (server.attrs["NetworkSettings"].get("Ports") or {}).get(f"{port}/tcp") or []:
            bound, published = str(one["HostIp"]), int(one["HostPort"])
            machine = docker_client.machine_of(client) if bound in ("", "0.0.0.0", "::") else [bound]
            places |= {(address, published) for address in machine}
    return tuple(sorted(places))


def _shared(one: Container, other: Container) -> list[str]:
    """The addresses, IPv4 and IPv6, of the other container on networks that both are on."""
    mine, theirs = _networks(one), _networks(other)
    common = [theirs[network] for network in mine if network in theirs]
    return [str(found[key]) for found, key in product(common, ("IPAddress", "GlobalIPv6Address")) if found.get(key)]


def _networks(found: Container) -> dict[str, Mapping[str, Any]]:
    """A container's networks by id."""
    networks: Mapping[str, Any] = found.attrs["NetworkSettings"].get("Networks") or {}
    return {str(one["NetworkID"]): one for one in networks.values() if one.get("NetworkID")}
