"""The pod of a database's primary, and how to kill it: only its postmaster, or the whole member."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults.base import FaultRequest, WitnessReport
from faultload.faults.pods import KubernetesFault
from faultload.platforms.base import Instance
from faultload.platforms.kubernetes.client import (
    Executed,
    Pod,
    asking,
    container_of,
    core,
    execute,
    is_gone,
    namespace_of,
    pods_of,
    running_container,
)
from faultload.spec.target import TargetFile

_DEAD_S = 5.0
_ENDED_S = 20.0

_FIND = """
name_of() { while read -r key value rest; do [ "$key" = Name: ] && { echo "$value"; return; }; done <"$1"; }
parent_of() { while read -r key value rest; do [ "$key" = PPid: ] && { echo "$value"; return; }; done <"$1"; }
for folder in /proc/[0-9]*; do
  case $(name_of $folder/status 2>/dev/null) in postgres|postmaster) ;; *) continue;; esac
  parent=$(parent_of $folder/status 2>/dev/null)
  case $(name_of /proc/$parent/status 2>/dev/null) in postgres|postmaster) continue;; esac
  read -r line <$folder/stat 2>/dev/null || continue
  set -- ${line##*) }
  echo "${folder#/proc/} ${20}"
done
"""
"""The postmaster: a `postgres` whose parent is none; its pid in the container and its start time in clock ticks.

Nothing but the shell is used, for an image may have no `ps` (field 22 of /proc/PID/stat, see proc_pid_stat(5)).
"""
_IS = """
read -r line <"/proc/$1/stat" 2>/dev/null || { echo gone; exit 0; }
pid=$1 ticks=$2
set -- ${line##*) }
[ "${20}" = "$ticks" ] && [ "$1" != Z ] || { echo gone; exit 0; }
"""
_KILL = _IS + 'kill -9 "$pid" && echo killed\n'
_LOOK = _IS + "echo alive\n"
_KILL_ALL = "kill -9 -1; echo killed\n"
"""Everything in the container but its first process and this shell (kill(2), pid -1)."""


def instance_of(target: TargetFile, service: str, pod: Pod) -> Instance:
    """A pod whose container runs as an instance. Raises Refused for one that does not run."""
    container = running_container(target, service, pod)
    if container is None or container.started is None or pod.leaving:
        raise Refused(f"{pod.name} of service '{service}' does not run: nothing to fail over")
    return Instance(service, pod.uid, container.started, pod.name, target.services[service].port)


class PrimaryDies(KubernetesFault):
    """SIGKILL for the postmaster in the primary's pod; mode `member`: for all of its container, and it goes."""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.service = str(request.argument("service", "db"))
        self._plan: Mapping[str, Any] = {}

    @abstractmethod
    def _primary(self) -> Pod:
        """The pod of the primary. Raises Refused when it cannot be known."""

    @property
    def whole_member(self) -> bool:
        return str(self.request.argument("mode", "postmaster")) == "member"

    def resolve(self) -> list[Instance]:
        pod = self._primary()
        if not self.whole_member:
            self._postmaster(pod)
        return [instance_of(self.target, self.service, pod)]

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        plan = super().undo_plan(instances)
        pod = self._the_very(instances[0])
        plan["container"] = pod.containers[container_of(self.target, self.service, pod)].id
        if not self.whole_member:
            plan["postmaster"] = self._postmaster(pod)
        return plan

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._plan = plan
        pod = self._the_very(instances[0])
        if self.whole_member:
            # killed first, for a pod that is merely deleted would hand over in order
            self._run(pod, _KILL_ALL)
            self._delete(pod)
        elif self._run(pod, _KILL, *plan["postmaster"]).out.strip() != "killed":
            raise TargetError(f"the postmaster of {pod.name} ended before the fault: nothing was touched")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        deadline = time.monotonic() + (_ENDED_S if self.whole_member else _DEAD_S)
        lives = self._member_lives if self.whole_member else self._postmaster_lives
        while lives(instances[0]):
            if time.monotonic() >= deadline:
                return WitnessReport(False, f"still running: {instances[0].label}")
            time.sleep(0.1)
        what = "the member is gone" if self.whole_member else "the leader's postmaster is gone"
        return WitnessReport(True, f"{what}: {instances[0].label}")

    # the pod

    def _pods(self) -> list[Pod]:
        return pods_of(self.target, self.service)

    def _the_very(self, instance: Instance) -> Pod:
        pod = next((pod for pod in self._pods() if pod.uid == instance.id), None)
        container = running_container(self.target, self.service, pod) if pod is not None else None
        if pod is None or pod.leaving or container is None or container.started != instance.started:
            raise TargetError(f"{instance.label} ended or restarted before the fault, so nothing was touched")
        return pod

    def _run(self, pod: Pod, script: str, *arguments: str) -> Executed:
        namespace = namespace_of(self.target, self.service)
        container = container_of(self.target, self.service, pod)
        return execute(self.target, namespace, pod.name, container, ["sh", "-c", script, "sh", *arguments])

    def _postmaster(self, pod: Pod) -> list[str]:
        """Pid and start time of the postmaster, as the container sees them. Raises Refused for none or several."""
        found = self._run(pod, _FIND)
        lines = [line.split() for line in found.out.splitlines()]
        if len(lines) != 1 or len(lines[0]) != 2:
            what = "no PostgreSQL server was found" if not lines else f"{len(lines)} PostgreSQL servers were found"
            hint = f" ({found.err.strip()})" if found.err.strip() else ""
            raise Refused(f"{what} in the container of {pod.name}{hint}: mode `member` deletes the pod instead")
        return lines[0]

    def _postmaster_lives(self, instance: Instance) -> bool:
        pod = next((pod for pod in self._pods() if pod.uid == instance.id), None)
        container = running_container(self.target, self.service, pod) if pod is not None else None
        if pod is None or container is None or container.id != self._plan["container"]:
            return False
        try:
            return self._run(pod, _LOOK, *self._plan["postmaster"]).out.strip() == "alive"
        except TargetError:
            # the container may be on its way down with its postmaster: the next look tells
            return True

    def _member_lives(self, instance: Instance) -> bool:
        pod = next((pod for pod in self._pods() if pod.uid == instance.id), None)
        return pod is not None and running_container(self.target, self.service, pod) is not None

    def _delete(self, pod: Pod) -> None:
        """Delete the very pod, with a second to go: none at all would forget it before it has ended."""
        from kubernetes.client import V1DeleteOptions, V1Preconditions
        from kubernetes.client.exceptions import ApiException

        body = V1DeleteOptions(preconditions=V1Preconditions(uid=pod.uid), grace_period_seconds=1)
        with asking(f"delete pod {pod.name}"):
            try:
                core(self.target).delete_namespaced_pod(pod.name, pod.namespace, body=body)
            except ApiException as error:
                if not is_gone(error):
                    raise
