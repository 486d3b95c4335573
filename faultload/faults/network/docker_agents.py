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
from faultload.platforms.docker.client import FAULT_LABEL, asking, client, container, printed_in, runs, started_at

if TYPE_CHECKING:
    from docker.models.containers import Container

RUN_LABEL = "faultload.run"
SITE_LABEL = "faultload.network-of"
_PROGRAM = ("python3", "-m", "faultload.agents.network.agent")
_CAPABILITIES = ("NET_ADMIN", "NET_RAW")


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


def _briefly(network: str, labels: Mapping[str, str], command: Sequence[str], spec: Spec | None, where: str) -> Any:
    """What a helper that ends at once answers."""
    helper = _create(network, labels, command, spec)
    try:
        answer = _answer(_start(helper, whole=True), where)
    finally:
        _remove(helper)
    if "error" in answer:
        raise TargetError(f"{where}: {answer['error']}")
    return answer


def start(sites: Sequence[Site]) -> list[Site]:
    """Start an agent at every site and let it measure; the sites with what they measured.

    Raises Refused with an agent's reason, TargetError when one cannot be started; then none is left.
    """
    helpers = together(lambda site: _tried(lambda: _serve(site)), list(sites))
    failed = [found for found in helpers if isinstance(found, Exception)]
    if failed:
        if sites:
            dismiss(sites[0].spec.fault)
        raise failed[0]
    return [found for found in helpers if isinstance(found, Site)]


def _serve(site: Site) -> Site:
    helper = _create(f"container:{site.container}", _labels(site), ["serve"], site.spec)
    answer = _answer(_start(helper, whole=False), site.name)
    if "ready" not in answer:
        raise Refused(f"{site.name}: {answer.get('error', answer)}")
    return replace(site, before=answer["ready"])


def _tried(do: Any) -> Any:
    """What it returns, or the error that it raised, so that the others can go on."""
    try:
        return do()
    except (Refused, TargetError) as error:
        return error


def helpers_of(fault_id: str) -> list[Container]:
    """The agents of a fault that are there, in whatever state."""
    with asking("list helper containers"):
        labels = [f"{FAULT_LABEL}={fault_id}", SITE_LABEL]
        return client().containers.list(all=True, filters={"label": labels}, ignore_removed=True)


def dismiss(fault_id: str) -> None:
    """Remove the agents of a fault."""
    together(_remove, helpers_of(fault_id))


def order(sites: Sequence[Site], do: str) -> list[dict[str, Any]]:
    """The answers of every site's agent to an order. Raises TargetError when one cannot do it."""
    if not sites:
        return []
    agents = {helper.labels[SITE_LABEL]: helper for helper in helpers_of(sites[0].spec.fault)}

    def one(site: Site) -> Any:
        helper = agents.get(site.container)
        if helper is None:
            return TargetError(f"{site.name}: its network agent is gone")
        return _tried(lambda: _ask(helper, do, site.name))

    answers = together(one, list(sites))
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _ask(helper: Container, do: str, where: str) -> dict[str, Any]:
    answer = _answer(printed_in(helper, [*_PROGRAM, "ask", json.dumps({"do": do})]), where)
    if "error" in answer:
        raise TargetError(f"{where}: {answer['error']}")
    return answer


def undo(sites: Sequence[Site]) -> None:
    """Take a fault away at every site, by its agent or by a new helper, and remove the agents.

    A container that ended or was started again has no namespace that a fault could be left in.
    """
    if not sites:
        return
    fault_id = sites[0].spec.fault
    agents = {helper.labels[SITE_LABEL]: helper for helper in helpers_of(fault_id)}
    problems = [
        problem
        for group in ("server", "client")  # a client's end of the fault may reset, which a server's may not hinder
        for problem in together(
            lambda site: _tried(lambda: _undo(site, agents.get(site.container))),
            [site for site in sites if _acts_as(site) == group],
        )
        if isinstance(problem, Exception)
    ]
    dismiss(fault_id)
    if problems:
        raise problems[0]


def _acts_as(site: Site) -> str:
    return "server" if site.spec.flows and all(flow.side == "server" for flow in site.spec.flows) else "client"


def _undo(site: Site, agent: Container | None) -> None:
    if not site.same:
        return
    if agent is not None and agent.status == "running":
        answer = _tried(lambda: _ask(agent, "undo", site.name))
        if isinstance(answer, dict) and answer.get("state") == "undone" and not answer["left"]:
            return
        _remove(agent)
    try:
        answer = _briefly(f"container:{site.container}", _labels(site), ["clean"], site.spec, site.name)
    except TargetError:
        if site.same:
            raise
        return
    if answer["left"]:
        raise TargetError(f"{site.name}: left behind: {', '.join(answer['left'])}")


def look(site: Site) -> dict[str, Any] | None:
    """What a new helper sees of a fault at a site: `seen` (gone), `what`; None when the container does not run."""
    if not site.running:
        return None
    command = ["look", json.dumps(dict(site.before))]
    try:
        found: dict[str, Any] = _briefly(
            f"container:{site.container}", _labels(site), command, site.spec, site.name
        )
    except TargetError:
        if site.running:
            raise
        return None
    return found


def latency_way() -> str:
    """`netem` where the engine's kernel has it, else `proxy`; tried in a namespace of its own."""
    return "netem" if _kernel(client())["netem"] else "proxy"


def can_shape() -> bool:
    """Whether the engine's kernel has htb, which bandwidth needs."""
    return bool(_kernel(client())["htb"])


@cache
def _kernel(_engine: object) -> dict[str, bool]:
    found: dict[str, bool] = _briefly(
        "none", {"faultload.helper": "kernel"}, ["kernel"], None, "the engine's kernel"
    )
    return found
