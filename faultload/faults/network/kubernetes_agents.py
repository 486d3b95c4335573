"""Network agents in helper pods: each goes into the network namespace of one pod on its node."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from faultload.agents.network.agent import IDLE_S, SPEC_ENV
from faultload.agents.network.spec import Spec
from faultload.errors import Refused, TargetError
from faultload.faults.network.agents import Agents, tried
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

    @property
    def id(self) -> str:
        return self.pod

    def in_way(self, way: str) -> Site:
        """The same site with the fault made in one of several ways."""
        return replace(self, spec=replace(self.spec, way=way))

    def to_json(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("pod", "name", "namespace", "node", "helpers")}
        return {**plain, "spec": self.spec.to_json(), "before": dict(self.before)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Site:
        return cls(**{**value, "spec": Spec.from_json(value["spec"])})


class PodAgents(Agents[Site, Pod]):
    """Agents in helper pods on the nodes of a target's pods."""

    def __init__(self, target: TargetFile) -> None:
        self.target = target
        self._kernels: dict[str, Mapping[str, bool]] = {}

    def serve(self, site: Site) -> Site:
        helper = self._helper(site, ["serve"], site.spec.fault, site.spec.expires_s + IDLE_S + _START_S)
        try:
            helpers.wait_running(self.target, helper, _START_S)
            while not (lines := self._lines(helper)):
                helpers.wait_running(self.target, helper, _START_S)
                time.sleep(0.1)
        except TargetError as error:
            said = tried(lambda: self._lines(helper))
            refused = _json(said[-1]).get("error") if isinstance(said, list) and said else None
            raise (Refused(f"{site.name}: {refused}") if refused else error) from None
        answer = _json(lines[-1])
        if "ready" not in answer:
            raise Refused(f"{site.name}: {answer.get('error', lines[-1])}")
        return replace(site, before=answer["ready"])

    def left(self, sites: Sequence[Site]) -> str:
        count = len(self.agents_of(sites))
        return f"{count} helper pods of the fault are still there" if count else ""

    def kernel(self, site: Site) -> Mapping[str, bool]:
        """Tried in a network of its own, once for each node."""
        if site.node not in self._kernels:
            helper = helpers.start(
                self.target,
                site.helpers,
                site.node,
                ["python3", "-m", "faultload.agents.network.agent", "kernel"],
                f"{site.spec.fault}/kernel",
                _BRIEFLY_S,
                capabilities=("NET_ADMIN",),
            )
            self._kernels[site.node] = self._ended(helper, f"{site.spec.fault}/kernel")
        return self._kernels[site.node]

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

    def agents_of(self, sites: Sequence[Site]) -> dict[str, Pod]:
        """The agents that are there, by the pod that each is for."""
        places = {(site.helpers, site.spec.fault) for site in sites}
        found = [pod for place, fault_id in places for pod in helpers.helpers_of(self.target, place, fault_id)]
        return {pod.labels.get(SITE_LABEL, ""): pod for pod in found}

    def ask(self, site: Site, agent: Pod, do: str) -> dict[str, Any]:
        helper = Helper(agent.namespace, agent.name, agent.uid, agent.node)
        order = json.dumps({"do": do})
        argv = ["sh", "-c", _SHELL, "sh", self._container(site), "ask", order]
        done: Executed = helpers.execute_in(self.target, helper, argv)
        answer = _json(done.out.strip().rpartition("\n")[2])
        if not answer or "error" in answer:
            raise TargetError(f"{site.name}: {answer.get('error') or done.err.strip() or 'its agent said nothing'}")
        return answer

    def runs(self, agent: Pod) -> bool:
        return agent.phase == "Running"

    def end(self, agent: Pod) -> None:
        """It goes with the others: a new helper cleans beside it."""

    def is_there(self, site: Site) -> bool:
        return self._pod(site) is not None

    def dismiss(self, sites: Sequence[Site]) -> None:
        for place, fault_id in sorted({(site.helpers, site.spec.fault) for site in sites}):
            helpers.remove(self.target, place, fault_id)

    def briefly(self, site: Site, command: Sequence[str]) -> dict[str, Any] | None:
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


def _json(text: str) -> dict[str, Any]:
    """A JSON object, or an empty one for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
