"""Faults on local process trees by signals: kill, terminate, restart, pause; of a whole tree, or of one worker."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import PlatformFault, WitnessReport, choose
from faultload.faults.process import workers
from faultload.host import trees
from faultload.host.processes import ProcessId, wait_gone
from faultload.host.trees import stopped, tree
from faultload.platforms.base import Instance, names
from faultload.platforms.local.processes import (
    answers,
    certain_instances,
    cpu_ticks,
    health_of,
    instances_of,
    process_of,
    tree_of,
    wait_until,
)
from faultload.platforms.local.restart import EXTERNAL, opened_wrongly, restart_plan, start_again

_RESTART_GRACE_S = 5.0
_LOOK_EVERY_S = 0.05
_OWN = "processes of your own user; root for other users' processes"


class OnService(PlatformFault):
    @property
    def service(self) -> str:
        return str(self.request.arguments["service"])

    def resolve(self) -> list[Instance]:
        return choose(self.request, self.service, certain_instances(self.target, self.service))


class OnTrees(OnService):
    """What is touched is the whole tree of each chosen instance or, with `worker`, one worker of each."""

    @property
    def of_worker(self) -> bool:
        return bool(self.request.argument("worker", False))

    def resolve(self) -> list[Instance]:
        chosen = super().resolve()
        return [workers.choose(self.request, one) for one in chosen] if self.of_worker else chosen

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        """Every process of the trees, and of what each chosen worker is one."""
        members = {one.id: [process.to_json() for process in tree_of(one)] for one in instances}
        return {"members": members, **({"of": workers.described(instances)} if self.of_worker else {})}

    def _named(self, instances: Sequence[Instance]) -> str:
        """For people: web:8081 (pid 4711) with 3 processes below it, or one of three workers of web:8081."""
        if self.of_worker:
            return ", ".join(self._of.values())
        return ", ".join(_with_below(one, len(self._members.get(one.id, ())) - 1) for one in instances)

    def _remember(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """What the witness needs to know of the trees as they were."""
        self._members = {one.id: members_of(plan, one) for one in instances}
        self._of: Mapping[str, str] = {
            one.id: str(plan["of"][one.id]["what"]) for one in instances if self.of_worker
        }


def members_of(plan: Mapping[str, Any], instance: Instance) -> list[ProcessId]:
    """The processes of an instance's tree as the plan knows them; older plans know the root only."""
    known = plan.get("members", {}).get(instance.id, [])
    return [process_of(instance), *(ProcessId.from_json(one) for one in known[1:])]


def _with_below(instance: Instance, below: int) -> str:
    if below < 1:
        return instance.label
    return f"{instance.label} with {below} process{'es' if below > 1 else ''} below it"


@makes("kill", "local")
class Kill(OnTrees):
    """SIGKILL; the target's own supervisor brings the tree back; undo starts its root where there is none."""

    made_by = (
        "SIGKILL through pidfds to the root and all its descendants, which are stopped first; or to one worker"
    )
    needs = _OWN
    witnessed_by = "every process of the trees is gone within 3 s"
    undone_by = (
        "starts the missing roots once, exactly as they were started or as the target file says (`start`, "
        "`systemd`); with `supervisor: external` it only waits; a worker is brought back by its master"
    )

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        held = [one.pid for instance in instances for one in tree_of(instance) if stopped(one)]
        plan = {**super().undo_plan(instances), "stopped": held}
        if self.of_worker:
            return plan
        running = instances_of(self.target, self.service)
        restores = self._restores(instances)
        private = {restore["id"]: restore.pop("private") for restore in restores}
        known = {"expected": len(running), "known": [one.to_json() for one in running]}
        return {**plan, **known, "restores": restores, "private": private}

    def see_way_back(self, instances: Sequence[Instance]) -> None:
        if not self.of_worker:
            self._restores(instances, rehearse=False)

    def _restores(self, instances: Sequence[Instance], *, rehearse: bool = True) -> list[dict[str, Any]]:
        """How each chosen instance is started again. Raises Refused where that is not certain."""
        service = self.target.services[self.service]
        restores = [
            {"id": one.id, "port": one.port, **restart_plan(service, process_of(one), one.port, rehearse=rehearse)}
            for one in {one.id: one for one in instances}.values()
        ]
        if service.pids is not None:
            raise Refused(
                f"service '{self.service}' is declared by `pids`, and a process that comes back has another: "
                "declare it by command, port or ports"
            )
        return restores

    def _ours(self, plan: Mapping[str, Any]) -> list[Instance]:
        """The running instances, without what ran beside them before: it may answer in the place of a dead one."""
        known = [Instance.from_json(one) for one in plan["known"]]
        since = min((float(restore["seen_s"]) for restore in plan["restores"]), default=0.0)
        found = instances_of(self.target, self.service)
        return [one for one in found if one.started >= since or process_of(one) in map(process_of, known)]

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._remember(instances, plan)
        self._end(instances)

    def _end(self, instances: Sequence[Instance]) -> None:
        """End the trees, each read again now, and keep what was found for the witness."""
        for instance in instances:
            self._members[instance.id] = trees.kill([process_of(instance)])

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        left = wait_gone(tree([one for members in self._members.values() for one in members]), 3.0)
        if left:
            return WitnessReport(False, f"still running: {', '.join(str(process.pid) for process in left)}")
        return WitnessReport(True, f"gone: {self._named(instances)}")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Starts again what did not come back by itself: a root, which starts the others.

        One that cannot be started keeps none of the others dead. Raises TargetError, after the last.
        """
        for instance in instances:
            self._finish(instance, plan)
        if self.of_worker:
            return
        running = self._ours(plan)
        missing = int(plan["expected"]) - len(running)
        before = [one["port"] for one in plan["known"]]
        now = [instance.port for instance in running]
        problems = []
        for restore in plan["restores"]:
            if missing <= 0:
                break
            instance = next(instance for instance in instances if instance.id == restore["id"])
            port = restore["port"]
            back = port is not None and now.count(port) >= before.count(port)
            if restore["how"] == EXTERNAL or process_of(instance).alive() or back:
                continue
            try:
                private = plan["private"][restore["id"]]
                order = {**restore, "private": private}
                missing -= start_again(order, self.request.fault_id, restore["id"], running)
            except TargetError as error:
                problems.append(f"{instance.label}: {error}")
        if problems:
            raise TargetError("; ".join(problems))

    def _finish(self, instance: Instance, plan: Mapping[str, Any]) -> None:
        """An injection that was cut short left a tree stopped, or without its root: then it keeps the port."""
        if process_of(instance).alive():
            if not plan.get("stopped"):
                trees.thaw(members_of(plan, instance))
        elif not self.of_worker:
            left = trees.kill(tree(members_of(plan, instance)))
            wait_gone(left, 3.0)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        if self.of_worker:
            return workers.back(instances, plan["of"])
        expected = int(plan["expected"])
        ready = [instance for instance in self._ours(plan) if answers(self.target, instance)]
        what = f"{len(ready)} of {expected} instances are ready: {names(ready)}"
        before = [process_of(Instance.from_json(one)) for one in plan["known"]]
        wrong = [
            f"{instance.label} listens on {place}, which was not open"
            for instance in ready
            if process_of(instance) not in before
            for place in self._opened_wrongly(instance, plan["restores"])
        ]
        if wrong:
            return WitnessReport(False, f"{what}; {'; '.join(wrong)}")
        if len(ready) < expected and any(restore["how"] == EXTERNAL for restore in plan["restores"]):
            what += "; its own supervisor has not brought it back, and faultload starts none beside it"
        return WitnessReport(len(ready) >= expected, what)

    @staticmethod
    def _opened_wrongly(instance: Instance, restores: Sequence[Mapping[str, Any]]) -> list[str]:
        """Where an instance listens and none of those that it may have replaced did."""
        process = process_of(instance)
        places = [
            opened_wrongly(restore, [process])
            for restore in restores
            if restore["port"] == instance.port and "listens" in restore
        ]
        return [place for place in places[0] if all(place in others for others in places)] if places else []


@makes("terminate", "local")
class Terminate(Kill):
    """SIGTERM to the roots, who end their trees; SIGKILL for what is left after `grace_s`."""

    made_by = (
        "SIGTERM through a pidfd to the root (and to what `sh -c` or `tini` wraps), then SIGKILL to whatever is "
        "left of its tree after `grace_s`"
    )

    def _end(self, instances: Sequence[Instance]) -> None:
        for instance in instances:
            self._members[instance.id] = tree_of(instance)
            for process in workers.wrapped(process_of(instance)):
                process.signal(signal.SIGTERM)
        deadline = time.monotonic() + float(self.request.argument("grace_s", 10.0))
        while (left := self._left(instances)) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        trees.kill(left)

    def _left(self, instances: Sequence[Instance]) -> list[ProcessId]:
        """What still runs of the trees, with what was started meanwhile."""
        for instance in instances:
            found = tree(self._members[instance.id])
            self._members[instance.id] = list(dict.fromkeys([*self._members[instance.id], *found]))
        return [process for members in self._members.values() for process in members if process.alive()]


@makes("restart", "local")
class Restart(Terminate):
    """Stopped by us; started again by its supervisor or, where it has none, by us after 5 s."""

    made_by = "SIGTERM, then SIGKILL after 10 s; started again by its supervisor, or after 5 s as undo does it"

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        super().inject(instances, plan)
        expected = int(plan["expected"])
        if not wait_until(lambda: len(self._ours(plan)) >= expected, _RESTART_GRACE_S, 0.1):
            self.undo(instances, plan)


@makes("pause", "local")
class Pause(OnTrees):
    """SIGSTOP; undo sends SIGCONT to the very processes that were stopped, and to what they started."""

    made_by = "SIGSTOP through pidfds to the root and all its descendants, or to one worker"
    needs = _OWN
    witnessed_by = "the trees use no CPU time for 0.5 s, and the health path does not answer"
    undone_by = "SIGCONT to the whole trees, children before their parents"
    _asked: Sequence[Instance] = ()

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        plan = super().undo_plan(instances)
        already = [str(one.pid) for instance in instances for one in tree_of(instance) if stopped(one)]
        if already:
            raise TargetError(f"already stopped before the fault: {', '.join(already)}")
        return {"resume": [instance.id for instance in instances], **plan}

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Which instances answer now: the silence of any other would say nothing."""
        self._asked = [one for one in instances if self._answers(one)]

    def _answers(self, instance: Instance) -> int | None:
        """The status of an instance's health path within 0.5 s; None without one, and of a worker."""
        if self.of_worker or instance.port is None or self.target.services[self.service].health is None:
            return None
        return health_of(self.target, instance, 0.5)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        # one that waits for a processor stops when it gets one; one that never does is the witness's to tell
        self._remember(instances, plan)
        for instance in instances:
            self._members[instance.id] = trees.freeze([process_of(instance)])

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        """Frozen means: nothing uses CPU time and, where there is a health path, it does not answer."""
        roots = [process_of(instance) for instance in instances]
        before = {process: cpu_ticks(process) for process in tree(roots)}
        started = time.monotonic()
        for instance in self._asked:
            if (status := self._answers(instance)) is not None:
                return WitnessReport(False, f"{instance.name} still answers with {status}")
        time.sleep(max(0.0, 0.5 - (time.monotonic() - started)))
        now = tree(roots)
        awake = [one.pid for one in now if not stopped(one) or cpu_ticks(one) != before.get(one)]
        ended = [one.pid for one in roots if not one.alive()]
        if awake or ended:
            return WitnessReport(False, f"still running: {awake}" if awake else f"ended meanwhile: {ended}")
        silent = "no answer and no CPU time in 0.5 s" if self._asked else "no CPU time in 0.5 s"
        return WitnessReport(True, f"frozen, {silent}: {self._named(instances)}")

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Whether the roots are there, and whatever is left of what was stopped is still stopped."""
        over = []
        for instance in instances:
            awake = [one for one in self._members[instance.id] if one.alive() and not stopped(one)]
            if not process_of(instance).alive():
                over.append(f"{instance.label} ended")
            elif awake:
                over.append(f"{instance.label} runs again")
        return WitnessReport(not over, "; ".join(over) or f"still stopped: {names(instances)}")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        for instance in instances:
            trees.thaw(members_of(plan, instance))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        still = [one.pid for instance in instances for one in tree(members_of(plan, instance)) if stopped(one)]
        if still:
            return WitnessReport(False, f"still stopped: {', '.join(map(str, still))}")
        alive = [instance for instance in instances if process_of(instance).alive()]
        if self.of_worker:
            return WitnessReport(
                True, f"running again: {names(alive)}" if alive else "the processes ended meanwhile"
            )
        ok = all(answers(self.target, one) for one in alive)
        what = "running and answering again" if ok else "not answering yet"
        return WitnessReport(ok, f"{what}: {names(alive)}" if alive else "the processes ended meanwhile")


def sight_of_death(instances: Sequence[Instance], what: str) -> WitnessReport:
    """Whether the processes are gone, within 3 s."""
    left = wait_gone([process_of(instance) for instance in instances], 3.0)
    if left:
        return WitnessReport(False, f"still running: {', '.join(str(process.pid) for process in left)}")
    return WitnessReport(True, f"{what}: {names(instances)}")
