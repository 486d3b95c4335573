"""Network agents in helper containers: each shares the network namespace of one container."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from faultload.agents.network.agent import SPEC_ENV
from faultload.agents.network.spec import Spec
from faultload.agents.probes import together
from faultload.errors import Refused, TargetError
from faultload.faults.network.agents import Agents
from faultload.platforms.docker.client import FAULT_LABEL, asking, client, container, printed_in, runs, started_at

if TYPE_CHECKING:
    from docker.models.containers import Container

RUN_LABEL = "faultload.run"
SITE_LABEL = "faultload.network-of"
_PROGRAM = ("python3", "-m", "faultload.agents.network.agent")
_CAPABILITIES = ("NET_ADMIN", "NET_RAW")
_Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Site:
    """One container whose network a fault works in or is measured from; `before` is what its agent measured."""

    container: str
    started: float
    name: str
    spec: Spec
    before: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "container": self.container,
            "started": self.started,
            "name": self.name,
            "spec": self.spec.to_json(),
            "before": dict(self.before),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Site:
        return cls(**{**value, "spec": Spec.from_json(value["spec"])})

    @property
    def id(self) -> str:
        return self.container

    def in_way(self, way: str) -> Site:
        """The same site with the fault made in one of several ways."""
        return replace(self, spec=replace(self.spec, way=way))

    @property
    def same(self) -> bool:
        """Whether the container runs since the very same start: then its namespace is the same too."""
        found = container(self.container)
        return found is not None and runs(found) and started_at(found) == self.started

    @property
    def running(self) -> bool:
        found = container(self.container)
        return found is not None and runs(found)


def _create(network: str, labels: Mapping[str, str], command: Sequence[str], spec: Spec | None) -> Container:
    from faultload.platforms.docker import image as helper_image

    image = helper_image.ensure(client())
    with asking("create a helper container"):
        return client().containers.create(
            image,
            [*_PROGRAM, *command],
            network_mode=network,
            labels=dict(labels),
            environment={} if spec is None else {SPEC_ENV: spec.text()},
            cap_drop=["ALL"],
            cap_add=list(_CAPABILITIES),
            security_opt=["no-new-privileges"],
            auto_remove=True,
        )


def _labels(site: Site) -> dict[str, str]:
    fault = site.spec.fault
    return {FAULT_LABEL: fault, RUN_LABEL: fault.rpartition("@")[2], SITE_LABEL: site.container}


def _remove(helper: Container) -> None:
    from docker.errors import APIError, NotFound

    with asking(f"remove helper container {helper.name}"):
        try:
            helper.remove(force=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409:  # on its way out by itself
                raise


def _start(helper: Container, *, whole: bool) -> str:
    """Start a helper; its first line, or the whole of what it prints until it ends."""
    said = b""
    with asking(f"run helper container {helper.name}"):
        stream = helper.attach(stdout=True, stderr=True, stream=True, logs=True)
        try:
            helper.start()
            for part in stream:
                said += part
                if not whole and said.startswith(b"{") and b"\n" in said:
                    break
        finally:
            with suppress(Exception):  # the connection is gone with the helper
                stream.close()
    return said.decode(errors="replace")


def _answer(text: str, where: str) -> dict[str, Any]:
    """The agent's last line as JSON. Raises TargetError for anything else."""
    lines = text.strip().splitlines()
    try:
        value = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise TargetError(f"{where}: the network agent said {text.strip()[-300:]!r}") from None
    if not isinstance(value, dict):
        raise TargetError(f"{where}: the network agent said {value!r}")
    return value


def _briefly(
    network: str, labels: Mapping[str, str], command: Sequence[str], spec: Spec | None, where: str
) -> dict[str, Any]:
    """What a helper that ends at once answers."""
    helper = _create(network, labels, command, spec)
    try:
        answer = _answer(_start(helper, whole=True), where)
    finally:
        _remove(helper)
    if "error" in answer:
        raise TargetError(f"{where}: {answer['error']}")
    return answer


class ContainerAgents(Agents[Site, "Container"]):
    """Agents in helper containers that share the network of a site's container."""

    def serve(self, site: Site) -> Site:
        helper = _create(f"container:{site.container}", _labels(site), ["serve"], site.spec)
        answer = _answer(_start(helper, whole=False), site.name)
        if "ready" not in answer:
            raise Refused(f"{site.name}: {answer.get('error', answer)}")
        return replace(site, before=answer["ready"])

    def agents_of(self, sites: Sequence[Site]) -> dict[str, Container]:
        return {one.labels[SITE_LABEL]: one for fault in _faults(sites) for one in helpers_of(fault)}

    def runs(self, agent: Container) -> bool:
        return bool(agent.status == "running")

    def ask(self, site: Site, agent: Container, do: str) -> dict[str, Any]:
        return _ask(agent, do, site.name)

    def end(self, agent: Container) -> None:
        _remove(agent)

    def dismiss(self, sites: Sequence[Site]) -> None:
        for fault in _faults(sites):
            together(_remove, helpers_of(fault))

    def is_there(self, site: Site) -> bool:
        return site.same

    def briefly(self, site: Site, command: Sequence[str]) -> dict[str, Any] | None:
        def there() -> bool:
            # a look is worth its while in the network of a new start too, where nothing is to be cleaned
            return site.running if command[0] == "look" else site.same

        if not there():
            return None
        try:
            return _briefly(f"container:{site.container}", _labels(site), command, site.spec, site.name)
        except TargetError:
            if there():
                raise
            return None

    def kernel(self, site: Site) -> Mapping[str, bool]:
        return _kernel(client())


def _faults(sites: Sequence[Site]) -> list[str]:
    return sorted({site.spec.fault for site in sites})


def helpers_of(fault_id: str) -> list[Container]:
    """The agents of a fault that are there, in whatever state."""
    with asking("list helper containers"):
        labels = [f"{FAULT_LABEL}={fault_id}", SITE_LABEL]
        return client().containers.list(all=True, filters={"label": labels}, ignore_removed=True)


def _ask(helper: Container, do: str, where: str) -> dict[str, Any]:
    answer = _answer(printed_in(helper, [*_PROGRAM, "ask", json.dumps({"do": do})]), where)
    if "error" in answer:
        raise TargetError(f"{where}: {answer['error']}")
    return answer


def latency_way() -> str:
    """`netem` where the engine's kernel has it, else `proxy`; tried in a namespace of its own."""
    return "netem" if _kernel(client())["netem"] else "proxy"


def can_shape() -> bool:
    """Whether the engine's kernel has htb, which bandwidth needs."""
    return bool(_kernel(client())["htb"])


@cache
def _kernel(_engine: object) -> dict[str, bool]:
    return _briefly("none", {"faultload.helper": "kernel"}, ["kernel"], None, "the engine's kernel")
