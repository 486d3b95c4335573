"""What a platform gives its network faults: where agents run, and how to command and query them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from faultload.agents.network.spec import Flow, Side, Spec
from faultload.agents.probes import together
from faultload.errors import Refused, TargetError
from faultload.faults.base import WitnessReport
from faultload.platforms.base import Instance
from faultload.spec.target import TargetFile


class Site(Protocol):
    """One container or pod whose network a fault works in or is measured from."""

    @property
    def id(self) -> str:
        """What its agent is labelled with."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> Spec: ...

    @property
    def before(self) -> Mapping[str, Any]:
        """What its agent measured before the fault."""

    def to_json(self) -> dict[str, Any]: ...


S = TypeVar("S", bound=Site)
A = TypeVar("A")
P = TypeVar("P")


class Agents(ABC, Generic[S, A]):
    """The agents of a fault's sites: started, told and asked together, and taken away.

    A platform says how that is done with one of them.
    """

    def start(self, sites: Sequence[S]) -> list[S]:
        """Start an agent at every site and let it measure; the sites with what they measured.

        Raises Refused with an agent's reason, TargetError when one cannot be started; then none is left.
        """
        served = together(lambda site: tried(lambda: self.serve(site)), list(sites))
        failed = [one for one in served if isinstance(one, Exception)]
        if failed:
            self.dismiss(sites)
            raise failed[0]
        return served

    def order(self, sites: Sequence[S], do: str) -> list[dict[str, Any]]:
        """The answers of every site's agent to an order. Raises TargetError when one cannot do it."""
        agents = self.agents_of(sites)

        def told(site: S) -> Any:
            agent = agents.get(site.id)
            if agent is None:
                return TargetError(f"{site.name}: its network agent is gone")
            return tried(lambda: self.ask(site, agent, do))

        answers = together(told, list(sites))
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def lasting(self, sites: Sequence[S]) -> WitnessReport:
        """Whether the fault is still made at every site, by an agent that lives, in the network it was made in.

        Raises TargetError when an agent cannot be asked.
        """
        agents = self.agents_of(sites)

        def over(site: S) -> str:
            if not self.is_there(site):
                return f"{site.name} ended or was started again, and its network with it"
            agent = agents.get(site.id)
            if agent is None or not self.runs(agent):
                return f"the network agent of {site.name} ended, and its rules with it"
            state = self.ask(site, agent, "state").get("state")
            return "" if state == "injected" else f"the fault at {site.name} is over: its agent says '{state}'"

        found = together(lambda site: tried(lambda: over(site)), list(sites))
        failed = [one for one in found if isinstance(one, Exception)]
        known = [one for one in found if isinstance(one, str) and one]
        if failed and not known:
            raise failed[0]
        return WitnessReport(not known, "; ".join(known) or f"{len(sites)} agents make it")

    def undo(self, sites: Sequence[S]) -> None:
        """Take a fault away at every site, by its agent or by a new helper, and remove the agents.

        What is gone has no network that a fault could be left in.
        """
        agents = self.agents_of(sites)
        problems = [
            problem
            for acts in ("server", "client")  # a client's end may reset, which a server's may not hinder
            for problem in together(
                lambda site: tried(lambda: self._undo(site, agents.get(site.id))),
                [site for site in sites if _acts_as(site) == acts],
            )
            if isinstance(problem, Exception)
        ]
        self.dismiss(sites)
        if problems:
            raise problems[0]

    def _undo(self, site: S, agent: A | None) -> None:
        if not self.is_there(site):
            return
        if agent is not None and self.runs(agent):
            answer = tried(lambda: self.ask(site, agent, "undo"))
            if isinstance(answer, dict) and answer.get("state") == "undone" and not answer["left"]:
                return
            self.end(agent)
        cleaned = self.briefly(site, ["clean"])
        if cleaned is not None and cleaned["left"]:
            raise TargetError(f"{site.name}: left behind: {', '.join(cleaned['left'])}")

    def look(self, site: S) -> dict[str, Any] | None:
        """What a new helper sees of a fault at a site: `seen` (gone), `what`; None when there is no such site."""
        return self.briefly(site, ["look", json.dumps(dict(site.before))])

    def left(self, sites: Sequence[S]) -> str:
        """Which agents must be gone before the fault is, in words; empty when none."""
        return ""

    @abstractmethod
    def serve(self, site: S) -> S:
        """Start the agent of one site; the site with what it measured. Raises Refused with the agent's reason."""

    @abstractmethod
    def agents_of(self, sites: Sequence[S]) -> Mapping[str, A]:
        """The agents that are there, by the id of their site."""

    @abstractmethod
    def runs(self, agent: A) -> bool:
        """Whether an agent can be asked."""

    @abstractmethod
    def ask(self, site: S, agent: A, do: str) -> dict[str, Any]:
        """One agent's answer to an order. Raises TargetError."""

    @abstractmethod
    def end(self, agent: A) -> None:
        """Remove an agent that could not undo."""

    @abstractmethod
    def dismiss(self, sites: Sequence[S]) -> None:
        """Remove all agents of the sites' fault."""

    @abstractmethod
    def is_there(self, site: S) -> bool:
        """Whether the network that the fault was made in still is."""

    @abstractmethod
    def briefly(self, site: S, command: Sequence[str]) -> dict[str, Any] | None:
        """What a helper that ends at once answers to `clean` or `look`; None when the site is gone."""

    @abstractmethod
    def kernel(self, site: S) -> Mapping[str, bool]:
        """Which qdiscs the kernel under a site knows: `htb` and `netem`. Asked once for each kernel."""


class Places(ABC, Generic[P, S]):
    """Where the instances of a target are in its networks. A place is a container or a pod."""

    noun: ClassVar[str]
    """What a place is called."""

    def __init__(self, target: TargetFile) -> None:
        self.target = target

    @abstractmethod
    def of(self, service: str) -> list[P]:
        """The places of a service's running instances."""

    @abstractmethod
    def instance(self, service: str, place: P) -> Instance:
        """The instance that is there."""

    @abstractmethod
    def flows(
        self, link: str, side: Side, mine: Sequence[P], theirs: Sequence[P], *, acts: bool = True
    ) -> Iterable[tuple[P, Flow]]:
        """Each place at one end of a link with its flows to those at the other. Raises Refused for none."""

    @abstractmethod
    def id(self, place: P) -> str:
        """The id of a place, which its site and its instance have too."""

    @abstractmethod
    def name(self, place: P) -> str:
        """What people call it; also what a resolver is asked for."""

    @abstractmethod
    def site(self, place: P, spec: Spec) -> S:
        """The site for what is to be done at a place. Raises Refused where it has no network of its own."""

    @abstractmethod
    def site_from(self, value: Mapping[str, Any]) -> S:
        """A site as a plan keeps it."""

    def ends(self, link: str) -> tuple[list[P], list[P]]:
        """The places at both ends of a link. Raises Refused where there is none."""
        client, server = link.split(" -> ")
        ends = self.of(client), self.of(server)
        for service, places in zip((client, server), ends, strict=True):
            if not places:
                raise Refused(f"service '{service}' has no running {self.noun}")
        return ends

    def port(self, link: str) -> int:
        """The port of a link's server, inside. Raises Refused where none is declared."""
        server = link.split(" -> ")[1]
        port = self.target.links[link].port or self.target.services[server].port
        if port is None:
            raise Refused(f"link '{link}' needs the port of '{server}' inside its {self.noun}s: declare `port`")
        return port

    def protocol(self, link: str) -> str:
        """What a link speaks: as declared, else as its server's declaration suggests."""
        server = self.target.services[link.split(" -> ")[1]]
        known = "postgres" if server.patroni or server.dsn else "http" if server.health else "tcp"
        return self.target.links[link].protocol or known


def tried(do: Callable[[], Any]) -> Any:
    """What it returns, or the error that it raised, so that the others can go on."""
    try:
        return do()
    except (Refused, TargetError) as error:
        return error


def _acts_as(site: Site) -> str:
    return "server" if site.spec.flows and all(flow.side == "server" for flow in site.spec.flows) else "client"
