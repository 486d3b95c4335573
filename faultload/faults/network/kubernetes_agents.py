"""Network agents in helper pods: each goes into the network namespace of one pod on its node."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from faultload.agents.network.agent import IDLE_S, SPEC_ENV
from faultload.agents.network.spec import Spec
from faultload.agents.probes import together
from faultload.errors import Refused, TargetError
from faultload.platforms.kubernetes import helper as helpers
from faultload.platforms.kubernetes.client import Executed, Pod, asking, core, pods_in
from faultload.platforms.kubernetes.helper import Helper
from faultload.spec.target import TargetFile

SITE_LABEL = "faultload.io/network-of"
_CAPABILITIES = ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE")
"""The last two to go into the namespace of a process (setns(2), proc_pid_ns(5))."""
_START_S = 60.0
_GRACE_S = 10.0
"""What an agent gets to undo in when the cluster itself ends it."""
_BRIEFLY_S = 90.0
_SHELL = (
    'pid=$(python3 -m faultload.agents.container.process pid "$1") || exit 1; shift; '
    'exec python3 -m faultload.agents.network.agent "$@" --netns "$pid"'
)


@dataclass(frozen=True, slots=True)
class Site:
    """One pod whose network a fault works in or is measured from; `before` is what its agent measured."""

    pod: str
    """Its UID: the namespace is the pod's, and outlives its containers."""
    name: str
    namespace: str
    node: str
    helpers: str
    """Where its agent runs."""
    spec: Spec
    before: Mapping[str, Any] = field(default_factory=dict)

    def in_way(self, way: str) -> Site:
        """The same site with the fault made in one of several ways."""
        return replace(self, spec=replace(self.spec, way=way))

    def to_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("pod", "name", "namespace", "node", "helpers")}
        return {**plain, "spec": self.spec.to_json(), "before": dict(self.before)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Site:
        return cls(**{**value, "spec": Spec.from_json(value["spec"])})


class Agents:
    """The agents of one fault on one target."""

    def __init__(self, target: TargetFile) -> None:
        self.target = target

    def start(self, sites: Sequence[Site]) -> list[Site]:
        """Start an agent at every site and let it measure; the sites with what they measured.

        Raises Refused with an agent's reason, TargetError when one cannot be started; then none is left.
        """
        found = together(lambda site: _tried(lambda: self._serve(site)), list(sites))
        failed = [one for one in found if isinstance(one, Exception)]
        if failed:
            self._dismiss(sites)
            raise failed[0]
        return found

    def _serve(self, site: Site) -> Site:
        helper = self._helper(site, ["serve"], site.spec.fault, site.spec.expires_s + IDLE_S + _START_S)
        try:
            helpers.wait_running(self.target, helper, _START_S)
            while not (lines := self._lines(helper)):
                helpers.wait_running(self.target, helper, _START_S)
                time.sleep(0.1)
        except TargetError as error:
            said = _tried(lambda: self._lines(helper))
            refused = _json(said[-1]).get("error") if isinstance(said, list) and said else None
            raise (Refused(f"{site.name}: {refused}") if refused else error) from None
        answer = _json(lines[-1])
        if "ready" not in answer:
            raise Refused(f"{site.name}: {answer.get('error', lines[-1])}")
        return replace(site, before=answer["ready"])

    def order(self, sites: Sequence[Site], do: str) -> list[dict[str, Any]]:
        """The answers of every site's agent to an order. Raises TargetError when one cannot do it."""
        agents = self._agents(sites)
        answers = together(lambda site: _tried(lambda: self._ask(site, agents.get(site.pod), do)), list(sites))
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def undo(self, sites: Sequence[Site]) -> None:
        """Take a fault away at every site, by its agent or by a new helper, and remove the agents.

        A pod that is gone has no namespace that a fault could be left in.
        """
        agents = self._agents(sites)
        problems = [
            problem
            for acts in ("server", "client")  # a client's end may reset, which a server's may not hinder
            for problem in together(
                lambda site: _tried(lambda: self._undo(site, agents.get(site.pod))),
                [site for site in sites if _acts_as(site) == acts],
            )
            if isinstance(problem, Exception)
        ]
        self._dismiss(sites)
        if problems:
            raise problems[0]

    def look(self, site: Site) -> dict[str, Any] | None:
        """What a new helper sees of a fault at a site: `seen` (gone), `what`; None when the pod is gone."""
        return self._briefly(site, ["look", json.dumps(dict(site.before))])

    def left(self, sites: Sequence[Site]) -> int:
        """How many agents are still there."""
        return len(self._agents(sites))

    def latency_way(self, site: Site) -> str:
        """`netem` where the kernel of a pod's node has it, else `proxy`; tried in a network of its own."""
        helper = helpers.start(
            self.target,
            site.helpers,
            site.node,
            ["python3", "-m", "faultload.agents.network.agent", "kernel"],
            f"{site.spec.fault}/kernel",
            _BRIEFLY_S,
            capabilities=("NET_ADMIN",),
        )
        return "netem" if self._ended(helper, f"{site.spec.fault}/kernel").get("netem") else "proxy"

    # one agent

    def _helper(self, site: Site, command: Sequence[str], fault_id: str, deadline_s: float) -> Helper:
        return helpers.start(
            self.target,
            site.helpers,
            site.node,
            ["sh", "-c", _SHELL, "sh", self._container(site), *command],
            fault_id,
            deadline_s,
            grace_s=_GRACE_S,
            capabilities=_CAPABILITIES,
            environment={SPEC_ENV: site.spec.text()},
            labels={SITE_LABEL: site.pod},
        )

    def _pod(self, site: Site) -> Pod | None:
        found = next((pod for pod in pods_in(self.target, site.namespace) if pod.uid == site.pod), None)
        return None if found is None or found.phase in ("Succeeded", "Failed") else found

    def _container(self, site: Site) -> str:
        """The id of a container that runs in the pod now. Raises TargetError when none does."""
        pod = self._pod(site)
        running = [one.id for one in pod.containers.values() if one.started is not None] if pod is not None else []
        if not running:
            raise TargetError(f"no container of {site.name} runs: nothing leads into its network")
        return running[0]

    def _agents(self, sites: Sequence[Site]) -> dict[str, Pod]:
        """The agents that are there, by the pod that each is for."""
        places = {(site.helpers, site.spec.fault) for site in sites}
        found = [pod for place, fault_id in places for pod in helpers.helpers_of(self.target, place, fault_id)]
        return {pod.labels.get(SITE_LABEL, ""): pod for pod in found}

    def _ask(self, site: Site, agent: Pod | None, do: str) -> dict[str, Any]:
        if agent is None:
            raise TargetError(f"{site.name}: its network agent is gone")
        helper = Helper(agent.namespace, agent.name, agent.uid, agent.node)
        order = json.dumps({"do": do})
        argv = ["sh", "-c", _SHELL, "sh", self._container(site), "ask", order]
        done: Executed = helpers.execute_in(self.target, helper, argv, 40.0)
        answer = _json(done.out.strip().rpartition("\n")[2])
        if not answer or "error" in answer:
            raise TargetError(f"{site.name}: {answer.get('error') or done.err.strip() or 'its agent said nothing'}")
        return answer

    def _undo(self, site: Site, agent: Pod | None) -> None:
        if self._pod(site) is None:
            return
        if agent is not None and agent.phase == "Running":
            answer = _tried(lambda: self._ask(site, agent, "undo"))
            if isinstance(answer, dict) and answer.get("state") == "undone" and not answer["left"]:
                return
        found = self._briefly(site, ["clean"])
        if found is not None and found["left"]:
            raise TargetError(f"{site.name}: left behind: {', '.join(found['left'])}")

    def _dismiss(self, sites: Sequence[Site]) -> None:
        for place, fault_id in sorted({(site.helpers, site.spec.fault) for site in sites}):
            helpers.remove(self.target, place, fault_id)

    def _briefly(self, site: Site, command: Sequence[str]) -> dict[str, Any] | None:
        """What a helper that ends at once answers; None when the pod is gone."""
        brief = f"{site.spec.fault}/{command[0]}/{site.pod}"
        try:
            found = self._ended(self._helper(site, command, brief, _BRIEFLY_S), brief)
        except TargetError:
            pod = self._pod(site)
            if pod is not None and not pod.deleting:
                raise
            return None
        if "error" in found:
            raise TargetError(f"{site.name}: {found['error']}")
        return found

    def _ended(self, helper: Helper, fault_id: str) -> dict[str, Any]:
        """The last line of a helper that ended, as JSON; the helper is removed."""
        try:
            ended = helpers.wait_ended(self.target, helper)
            lines = self._lines(helper)
        finally:
            helpers.remove(self.target, helper.namespace, fault_id, wait_s=0.0)
        found = _json(lines[-1]) if lines else {}
        if not found:
            raise TargetError(f"the helper on {helper.node} ended ({ended.code}): {ended.message}")
        return found

    def _lines(self, helper: Helper) -> list[str]:
        with asking(f"read the log of helper pod {helper.name}"):
            text = str(core(self.target).read_namespaced_pod_log(helper.name, helper.namespace) or "")
        return [line for line in text.splitlines() if line.strip()]


def _acts_as(site: Site) -> str:
    return "server" if site.spec.flows and all(flow.side == "server" for flow in site.spec.flows) else "client"


def _json(text: str) -> dict[str, Any]:
    """A JSON object, or an empty one for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _tried(do: Callable[[], Any]) -> Any:
    """What it returns, or the error that it raised, so that the others can go on."""
    try:
        return do()
    except (Refused, TargetError) as error:
        return error
