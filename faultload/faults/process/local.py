"""Faults on local processes by signals: kill, terminate, restart, pause."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.errors import TargetError
from faultload.faults import makes
from faultload.faults.base import PlatformFault, WitnessReport, choose
from faultload.host.processes import wait_gone
from faultload.platforms.base import Instance, names
from faultload.platforms.local.processes import (
    answers,
    cpu_ticks,
    http_status,
    instances_of,
    kill_all,
    process_of,
    restart_plan,
    start_again,
    stopped,
    wait_until,
)

_RESTART_GRACE_S = 5.0
_STOP_WITHIN_S = 2.0
_OWN = "processes of your own user; root for other users' processes"


class OnService(PlatformFault):
    @property
    def service(self) -> str:
        return str(self.request.arguments["service"])

    def resolve(self) -> list[Instance]:
        return choose(self.request, self.service, instances_of(self.target, self.service))

    def _ready(self) -> list[Instance]:
        service = self.target.services[self.service]
        return [instance for instance in instances_of(self.target, self.service) if answers(service, instance)]


@makes("kill", "local")
class Kill(OnService):
    """SIGKILL; the target's own supervisor brings the process back, undo does where none did."""

    made_by = "SIGKILL through a pidfd"
    needs = _OWN
    witnessed_by = "the processes are gone within 3 s"
    undone_by = "starts the missing processes with the same arguments, folder, environment and log"

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        expected = len(instances_of(self.target, self.service))
        plans = []
        private = {}
        for instance in instances:
            plan = restart_plan(process_of(instance))
            private[instance.id] = plan.pop("private")
            plans.append({"id": instance.id, "port": instance.port, **plan})
        return {"restores": plans, "expected": expected, "private": private}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        kill_all(instances)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        return sight_of_death(instances, "gone")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Starts again what did not come back by itself."""
        running = instances_of(self.target, self.service)
        missing = int(plan["expected"]) - len(running)
        taken = {instance.port for instance in running}
        for restore in plan["restores"]:
            if missing <= 0:
                return
            instance = next(instance for instance in instances if instance.id == restore["id"])
            if process_of(instance).alive() or (restore["port"] is not None and restore["port"] in taken):
                continue
            start_again({**restore, "private": plan["private"][restore["id"]]})
            missing -= 1

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        expected = int(plan["expected"])
        ready = self._ready()
        return WitnessReport(
            len(ready) >= expected, f"{len(ready)} of {expected} instances are ready: {names(ready)}"
        )


@makes("terminate", "local")
class Terminate(Kill):
    """SIGTERM, and SIGKILL after `grace_s`."""

    made_by = "SIGTERM through a pidfd, then SIGKILL to whatever is left after `grace_s`"

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        for instance in instances:
            process_of(instance).signal(signal.SIGTERM)
        processes = [process_of(instance) for instance in instances]
        for process in wait_gone(processes, float(self.request.argument("grace_s", 10.0))):
            process.signal(signal.SIGKILL)


@makes("restart", "local")
class Restart(Terminate):
    """Stopped by us; started again by its supervisor or, where none does within 5 s, by us."""

    made_by = "SIGTERM, then SIGKILL after 10 s; its supervisor starts it again, or faultload does after 5 s"

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        super().inject(instances, plan)
        expected = int(plan["expected"])
        if not wait_until(lambda: len(instances_of(self.target, self.service)) >= expected, _RESTART_GRACE_S, 0.1):
            self.undo(instances, plan)


@makes("pause", "local")
class Pause(OnService):
    """SIGSTOP; undo sends SIGCONT to the very process that was stopped."""

    made_by = "SIGSTOP through a pidfd"
    needs = _OWN
    witnessed_by = "the process uses no CPU time for 0.5 s, and the health path does not answer"
    undone_by = "SIGCONT to the process that was stopped"

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        already = [instance.id for instance in instances if stopped(process_of(instance))]
        if already:
            raise TargetError(f"already stopped before the fault: {', '.join(already)}")
        return {"resume": [instance.id for instance in instances]}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        for instance in instances:
            process_of(instance).signal(signal.SIGSTOP)
        # one that waits for a processor stops when it gets one; one that never does is the witness's to tell
        wait_until(lambda: all(stopped(process_of(instance)) for instance in instances), _STOP_WITHIN_S, 0.01)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        """Frozen means: it uses no CPU time and, where it has a health path, it does not answer."""
        service = self.target.services[self.service]
        before = {instance.id: cpu_ticks(process_of(instance)) for instance in instances}
        started = time.monotonic()
        for instance in instances:
            if instance.port is not None and service.health is not None:
                status = http_status(f"http://127.0.0.1:{instance.port}{service.health}", 0.5)
                if status is not None:
                    return WitnessReport(False, f"{instance.name} still answers with {status}")
        time.sleep(max(0.0, 0.5 - (time.monotonic() - started)))
        for instance in instances:
            ticks = cpu_ticks(process_of(instance))
            if ticks is None or ticks != before[instance.id] or not stopped(process_of(instance)):
                return WitnessReport(False, f"{instance.name} still runs")
        return WitnessReport(True, f"frozen, no answer and no CPU time in 0.5 s: {names(instances)}")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        for instance in instances:
            if stopped(process_of(instance)):
                process_of(instance).signal(signal.SIGCONT)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        service = self.target.services[self.service]
        alive = [instance for instance in instances if process_of(instance).alive()]

        ok = all(not stopped(process_of(one)) and answers(service, one) for one in alive)
        what = "running and answering again" if ok else "not answering yet"
        return WitnessReport(ok, f"{what}: {names(alive)}" if alive else "the processes ended meanwhile")


def sight_of_death(instances: Sequence[Instance], what: str) -> WitnessReport:
    """Whether the processes are gone, within 3 s."""
    left = wait_gone([process_of(instance) for instance in instances], 3.0)
    if left:
        return WitnessReport(False, f"still running: {', '.join(str(process.pid) for process in left)}")
    return WitnessReport(True, f"{what}: {names(instances)}")
