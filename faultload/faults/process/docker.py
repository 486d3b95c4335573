"""Faults on the processes of containers: kill, terminate, restart, pause."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from faultload.agents.when_told import PREPARED
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.containers import HELPER_S, OnContainers, each, need_removable, take_back_later
from faultload.platforms.base import Instance, names
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker import helper as docker_helper
from faultload.platforms.docker.platform import Docker
from faultload.platforms.docker.stats import cpu_used_s
from faultload.platforms.local.processes import http_status, wait_until

if TYPE_CHECKING:
    from docker.models.containers import Container

_HELPER_S = 30.0
_NOTICED_S = 5.0
_STOP_S = 10.0
_FREEZE_TRIES = 5


class _Ending(OnContainers):
    """The chosen containers end; undo starts the very same where nobody else did."""

    undone_by = "starts the same container, unless its restart policy or a supervisor did"

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        for one in self.the_very(instances):
            need_removable(one, self.request.kind)
        platform = Docker(self.target)
        return {
            "running": len(platform.instances(self.service)),
            "ready": len(platform.ready(self.service)),
        }

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        """The engine, which waits for the containers' processes, has seen them end."""
        wait_until(lambda: not self.same_life(instances), _NOTICED_S)
        left = self.same_life(instances)
        if left:
            return WitnessReport(False, f"still running: {names(left)}")
        return WitnessReport(True, f"ended: {names(instances)}")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Start what did not come back by itself, at most as many as are missing."""
        docker_helper.remove(self.request.fault_id)
        missing = int(plan["running"]) - len(Docker(self.target).instances(self.service))
        found = [one for instance in instances if (one := docker_client.container(instance.id)) is not None]
        down = [one for one in found if not docker_client.runs(one)]
        each(lambda one: one.start(), down[: max(0, missing)], "start")

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        expected, ready = int(plan["ready"]), Docker(self.target).ready(self.service)
        what = f"{len(ready)} of {expected} containers are ready: {names(ready)}"
        return WitnessReport(len(ready) >= expected and not docker_helper.helpers_of(self.request.fault_id), what)


@makes("kill", "docker")
class Kill(_Ending):
    """SIGKILL from outside for the container's main process: a crash, so that its restart policy brings it back.

    The engine's own kill counts as a stop by hand: it cancels the restart policy. A SIGKILL from inside the
    container does not reach its first process (pid_namespaces(7)).
    """

    needs_helper = True
    preparation_s = HELPER_S
    made_by = "SIGKILL to the container's main process, from a helper container that sees the machine's processes"
    needs = "helper containers that see the machine's processes and have the capability KILL"
    witnessed_by = "the engine reports that the container's process ended"

    _helper: Container | None = None

    def _order(self) -> list[str]:
        """What the helper does to the containers whose ids follow."""
        return ["kill"]

    def _patience_s(self) -> float:
        return _HELPER_S

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Start the helper, which waits: starting it takes longer than the kill."""
        ids = [str(one.id) for one in self.the_very(instances)]
        argv = ["python3", "-m", "faultload.agents.container.process", "when-told", *self._order(), *ids]
        options: dict[str, Any] = {"sees_machine": True, "cap_add": ["KILL"]}
        self._helper = docker_helper.start(argv, self.request.fault_id, says=PREPARED, **options)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self.the_very(instances)
        assert self._helper is not None
        docker_helper.tell(self._helper, "done", self._patience_s())


@makes("terminate", "docker")
class Terminate(Kill):
    """SIGTERM from outside, and SIGKILL after `grace_s`; its restart policy brings it back."""

    made_by = "SIGTERM, then SIGKILL after `grace_s`, to the container's main process, from a helper container"

    @property
    def grace_s(self) -> float:
        return float(self.request.argument("grace_s", 10.0))

    def _order(self) -> list[str]:
        return ["terminate", f"{self.grace_s:g}"]

    def _patience_s(self) -> float:
        return self.grace_s + _HELPER_S


@makes("restart", "docker")
class Restart(_Ending):
    """Stopped in order and started again by the engine."""

    made_by = "the engine stops the container cleanly and starts it again"
    witnessed_by = "the container is running, from a later start"

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        each(lambda one: one.restart(timeout=stop_timeout_s(one)), self.the_very(instances), "restart")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        def again(instance: Instance) -> bool:
            one = docker_client.container(instance.id)
            return one is not None and docker_client.runs(one) and docker_client.started_at(one) > instance.started

        wait_until(lambda: all(map(again, instances)), _NOTICED_S)
        left = [instance for instance in instances if not again(instance)]
        if left:
            return WitnessReport(False, f"not started again: {names(left)}")
        return WitnessReport(True, f"ended and started again: {names(instances)}")


def stop_timeout_s(one: Container) -> int:
    """How long a container is given to end in order."""
    return int(one.attrs["Config"].get("StopTimeout") or _STOP_S)


@makes("pause", "docker")
class Pause(OnContainers):
    """All processes of the container frozen by the engine; undo thaws the very container that was frozen."""

    needs_helper = True
    preparation_s = HELPER_S
    made_by = "the engine freezes the container's control group"
    needs = "a helper container with the engine's socket, which ends the pause if nothing else does"
    witnessed_by = "the container uses no processor time for 0.5 s, and its port does not answer"
    undone_by = "the engine thaws it; the helper does so too, 5 s after the fault's duration"
    _silent_before: Sequence[str] = ()

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {"resume": [one.id for one in self.the_very(instances)]}

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Which containers answer nothing anyway: their silence would say nothing. The helper comes first."""
        answering = {one.id: self._answers(docker_client.container(one.id)) for one in instances}
        self._silent_before = [id_ for id_, answer in answering.items() if answer is None]
        take_back_later("unpause", self.the_very(instances), self.request.fault_id, self.expires_s)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        each(_freeze, self.the_very(instances), "pause")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        before = {instance.id: cpu_used_s(instance.id) for instance in instances}
        started = time.monotonic()
        asked = [instance for instance in instances if instance.id not in self._silent_before]
        for instance in asked:
            if (answer := self._answers(docker_client.container(instance.id))) is not None:
                return WitnessReport(False, f"{instance.name} still {answer}")
        time.sleep(max(0.0, 0.5 - (time.monotonic() - started)))
        for instance in instances:
            used = cpu_used_s(instance.id)
            if used is None or before[instance.id] is None or used != before[instance.id]:
                return WitnessReport(False, f"{instance.name} still runs")
        silence = "no answer and " if asked else ""
        return WitnessReport(True, f"frozen, {silence}no processor time in 0.5 s: {names(instances)}")

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        found = {one.name: docker_client.container_of(one) for one in instances}
        over = [
            f"{name} ended or was started again" if one is None else f"{name} runs again"
            for name, one in found.items()
            if one is None or not docker_client.state_of(one)["Paused"]
        ]
        return WitnessReport(not over, "; ".join(over) or f"still frozen: {names(instances)}")

    def _answers(self, one: Container | None) -> str | None:
        """What a container says on its port within 0.5 s; None for nothing, also where it cannot be asked.

        The kernel completes connections for a frozen process, so only what the process itself says counts.
        """
        declared = self.target.services[self.service]
        if one is None or declared.port is None or declared.health is None:
            return None
        place = docker_client.reachable(one, declared.port)
        if place is None:
            return None
        host = f"[{place[0]}]" if ":" in place[0] else place[0]
        status = http_status(f"http://{host}:{place[1]}{declared.health}", 0.5)
        return None if status is None else f"answers with {status}"

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        found = [one for instance in instances if (one := docker_client.container_of(instance)) is not None]
        frozen = [one for one in found if docker_client.state_of(one)["Paused"]]
        each(_thaw, frozen, "unpause")
        docker_helper.remove(self.request.fault_id)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        sight = self.back(instances)
        if sight.seen and docker_helper.helpers_of(self.request.fault_id):
            return WitnessReport(False, "the helper of this fault is still there")
        return sight


def _freeze(one: Container) -> None:
    """Pause a container. A busy control group of version 1 may need several tries to freeze as a whole."""
    from docker.errors import APIError

    for left in reversed(range(_FREEZE_TRIES)):
        try:
            one.pause()
            return
        except APIError as error:
            if not left or "unable to freeze" not in str(error.explanation):
                raise
            time.sleep(0.2)


def _thaw(one: Container) -> None:
    """Unpause a container, unless the helper did just now."""
    from docker.errors import APIError

    try:
        one.unpause()
    except APIError:
        one.reload()
        if docker_client.state_of(one)["Paused"]:
            raise
