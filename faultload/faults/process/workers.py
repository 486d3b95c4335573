"""One worker of a process tree: which there are, one of them by the seed, and whether its master replaced it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from faultload.errors import Refused
from faultload.faults.base import FaultRequest, WitnessReport
from faultload.host.processes import ProcessId, identify
from faultload.host.trees import Family, family
from faultload.platforms.base import Instance
from faultload.platforms.local.facts import facts_of, wraps
from faultload.platforms.local.processes import process_of

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def wrapped(root: ProcessId) -> list[ProcessId]:
    """A root and, where it is a wrapper such as `sh -c` or `tini`, what it runs: a shell passes no signal on."""
    return _chain(root, family())


def _chain(root: ProcessId, now: Family) -> list[ProcessId]:
    chain = [root]
    while len(children := now.children(chain[-1].pid)) == 1:
        above, below = facts_of(chain[-1]), facts_of(now.process(children[0]))
        if above is None or below is None or not wraps(above, below):
            break
        chain.append(below.process)
    return chain


def workers_of(root: ProcessId) -> tuple[ProcessId, list[ProcessId]]:
    """The master of a tree, and its workers: its children that run the same program, oldest first."""
    now = family()
    master = _chain(root, now)[-1]
    program = facts_of(master)
    found = []
    for pid in now.children(master.pid):
        facts = facts_of(now.process(pid))
        if (
            facts is not None
            and program is not None
            and facts.program == program.program
            and not _helps(facts.argv)
        ):
            found.append(facts.process)
    return master, sorted(found, key=lambda process: (process.started, process.pid))


def _helps(argv: Sequence[str]) -> bool:
    """Whether it is a helper of Python's multiprocessing, which serves nobody."""
    return any("multiprocessing.resource_tracker" in part or "multiprocessing.forkserver" in part for part in argv)


def choose(request: FaultRequest, instance: Instance) -> Instance:
    """One worker of an instance as an instance of its own, the same for the same seed. Raises Refused."""
    _, found = workers_of(process_of(instance))
    if not found:
        raise Refused(f"{instance.label} has no workers: nothing below it runs its program; leave out `worker`")
    worker = random.Random(f"{request.seed}:{request.fault_id.split('@')[0]}:worker").choice(found)
    # the name stays the instance's: what is protected is, with all its workers
    return replace(instance, id=str(worker.pid), started=worker.started)


def described(instances: Sequence[Instance]) -> dict[str, dict[str, Any]]:
    """Of each chosen worker: its master, how many workers that has, and so in words."""
    found = {}
    now = family()
    for instance in instances:
        parent = now.parents.get(int(instance.id))
        master = None if parent is None else identify(parent)
        if master is None or not process_of(instance).alive():
            raise Refused(f"{instance.label} has ended meanwhile")
        number = len(workers_of(master)[1])
        what = f"one of {_number(number)} workers of {instance.service}:{instance.port or master.pid}"
        found[instance.id] = {
            "master": master.to_json(),
            "workers": number,
            "what": f"{what} (pid {instance.id}, master {master.pid})",
        }
    return found


def _number(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def back(instances: Sequence[Instance], of: Mapping[str, Any]) -> WitnessReport:
    """Whether each master has as many workers as before; only it can start one."""
    seen, what = True, []
    for instance in instances:
        master = ProcessId.from_json(of[instance.id]["master"])
        before = int(of[instance.id]["workers"])
        number = len([one for one in workers_of(master)[1] if one.alive()]) if master.alive() else 0
        seen = seen and number >= before
        gone = "" if master.alive() else ", its master is gone"
        what.append(f"{instance.service}:{instance.port or master.pid} has {number} of {before} workers{gone}")
    return WitnessReport(seen, ", ".join(what))
