"""Local processes as instances: their trees, whether they are ready, and how one is started again."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from faultload.errors import Refused
from faultload.host.listeners import LOOPBACK, answering, listening
from faultload.host.processes import ProcessId, identify
from faultload.host.trees import family, stopped, tree
from faultload.platforms.base import Instance
from faultload.platforms.databases.patroni import cluster_problems, members_of
from faultload.platforms.local.facts import facts_of, file_of
from faultload.platforms.local.matching import addresses_of, all_argv, around_here, matches, uid_of
from faultload.spec.target import TargetFile

_direct = build_opener(ProxyHandler({}))


def process_of(instance: Instance) -> ProcessId:
    """The process behind a local instance."""
    return ProcessId(int(instance.id), instance.started)


def instances_of(target: TargetFile, name: str) -> list[Instance]:
    """The running instances of a declared service; never a process that is not declared.

    Each is the root of its process tree. A fault asks `certain_instances`.
    """
    service = target.services[name]
    if service.patroni is not None:
        return members_of(name, service.patroni)
    return list(matches(target, name).instances)


def certain_instances(target: TargetFile, name: str) -> list[Instance]:
    """The running instances of a service for a fault to choose from.

    Raises Refused where others match as well, and where faultload itself runs inside one.
    """
    service = target.services[name]
    if service.user is not None and uid_of(service.user) is None:
        raise Refused(f"service '{name}': this machine has no user '{service.user}' (target file: user)")
    if service.patroni is not None:
        return members_of(name, service.patroni)
    found = matches(target, name)
    if found.ambiguous is not None:
        raise Refused(found.ambiguous)
    ours = around_here(found.instances)
    if ours is not None:
        raise Refused(f"faultload itself runs in the process tree of {ours.label}: start it from elsewhere")
    return list(found.instances)


def tree_of(instance: Instance) -> list[ProcessId]:
    """The process tree of an instance as it is now, its root first; empty when it is gone."""
    return tree([process_of(instance)])


def not_ready(target: TargetFile, name: str) -> list[str]:
    """Why a service is not ready, in plain words; empty when it is."""
    service = target.services[name]
    if service.patroni is not None:
        return cluster_problems(name, service.patroni)
    floor = service.declared if service.min_ready is None else service.min_ready
    found = matches(target, name)
    if found.ambiguous is not None:
        return [found.ambiguous]
    count = sum(answers(target, instance) for instance in found.instances)
    if count < floor:
        return [f"{name}: {count} of {service.declared} instances are ready, {floor} must be"]
    return []


def ready(target: TargetFile, name: str) -> list[Instance]:
    """The running instances of a service that are ready; of a database, its running members."""
    service, found = target.services[name], instances_of(target, name)
    if service.patroni is not None:
        return found
    return [instance for instance in found if answers(target, instance)]


def answers(target: TargetFile, instance: Instance, timeout_s: float = 2.0) -> bool:
    """Whether an instance is ready: its health path answers 200, or its port connects, or it is not stopped."""
    service = target.services[instance.service]
    if instance.port is None:
        return not stopped(process_of(instance))
    if service.health is not None:
        return health_of(target, instance, timeout_s) == 200
    try:
        socket.create_connection((_address_of(target, instance), instance.port), timeout_s).close()
    except OSError:
        return False
    return not stopped(process_of(instance))


def health_of(target: TargetFile, instance: Instance, timeout_s: float) -> int | None:
    """The status of an instance's health path where it listens, or None when nothing answers in time."""
    address, path = _address_of(target, instance), target.services[instance.service].health
    host = f"[{address}]" if ":" in address else address
    return http_status(f"http://{host}:{instance.port}{path}", timeout_s)


def _address_of(target: TargetFile, instance: Instance) -> str:
    """The first address of an instance where something listens, or would."""
    assert instance.port is not None
    addresses = addresses_of(target, target.services[instance.service], instance.port) or LOOPBACK
    sockets = listening({instance.port})
    return next((one for one in addresses if answering(sockets, instance.port, [one])), addresses[0])


def http_status(url: str, timeout_s: float) -> int | None:
    """The status of a GET, or None when nothing answers in time."""
    try:
        with _direct.open(url, timeout=timeout_s) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError, ValueError):
        return None


def cpu_ticks(process: ProcessId) -> int | None:
    """User and system CPU time of a process in clock ticks, or None when it is gone."""
    if not process.alive():
        return None
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[11]) + int(fields[12])


def restart_plan(process: ProcessId, command: Sequence[str] | None = None) -> dict[str, Any]:
    """What it takes to start a process again as it is now; the environment goes into `private`.

    `command`: how the target file says that it was started, for one that wrote a title over its arguments. Raises
    Refused where that is not certain.
    """
    root = Path(f"/proc/{process.pid}")
    facts = facts_of(process)
    if facts is None:
        raise Refused(f"process {process.pid} has ended meanwhile")
    if facts.elsewhere or facts.other_root:
        raise Refused(
            f"{facts.label} lives in other namespaces or has another root folder, as in a container: undo could "
            "not start it there again"
        )
    if facts.deleted:
        raise Refused(
            f"{facts.label} runs {facts.program}, which was removed or replaced since: undo could not start the "
            "same program again; restart the service first"
        )
    pairs = root.joinpath("environ").read_bytes().decode(errors="surrogateescape").split("\0")
    env = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    argv = list(facts.argv)
    named = Path(argv[0]) if argv else Path()
    # a virtual environment is known by the path it was started with
    executable = str(named) if named.is_absolute() and named.exists() else str((root / "exe").readlink())
    if facts.titled:
        known = file_of(command[0], facts.cwd, env.get("PATH")) if command else None
        if command is None or known is None:
            raise Refused(
                f"{facts.label} wrote the title '{facts.argv[0]}' over its arguments, so undo could not start it "
                "again: give its `command` in the target file"
            )
        argv, executable = list(command), known
    log = (root / "fd" / "1").readlink()
    return {
        "argv": argv,
        "executable": executable,
        "cwd": str((root / "cwd").readlink()),
        "log": str(log) if log.is_file() else None,
        "user": _identity_of(root),
        "seen_s": time.clock_gettime(time.CLOCK_BOOTTIME),
        "private": {"env": env},
    }


def _identity_of(root: Path) -> dict[str, Any]:
    """The effective user, group and further groups of a process."""
    lines = dict(line.split(":", 1) for line in (root / "status").read_text().splitlines() if ":" in line)
    return {
        "uid": int(lines["Uid"].split()[1]),
        "gid": int(lines["Gid"].split()[1]),
        "groups": [int(group) for group in lines["Groups"].split()],
    }


def starting(plan: Mapping[str, Any], known: Sequence[Instance]) -> bool:
    """Whether somebody started a process of this restart plan since, and it is no instance yet."""
    others = {one.id for one in known}
    wanted = (tuple(plan["argv"]), plan["cwd"], plan["user"]["uid"])
    now = family()
    for pid, argv in all_argv():
        younger = now.started.get(pid, 0.0) >= plan.get("seen_s", 0.0)
        if argv != wanted[0] or not younger or others.intersection(map(str, (pid, *now.above(pid)))):
            continue
        facts = facts_of(now.process(pid))
        if facts is not None and not facts.elsewhere and (facts.argv, facts.cwd, facts.uid) == wanted:
            return True
    return False


def start_again(plan: Mapping[str, Any]) -> ProcessId | None:
    """Start a process from its restart plan, in a session of its own, as the user that it ran as."""
    user = plan["user"]
    other = os.geteuid() == 0 and user["uid"] != 0
    with open(plan["log"] or os.devnull, "ab") as output:
        process = subprocess.Popen(
            plan["argv"],
            executable=plan["executable"],
            cwd=plan["cwd"],
            env=plan["private"]["env"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=user["uid"] if other else None,
            group=user["gid"] if other else None,
            extra_groups=user["groups"] if other else None,
        )
    return identify(process.pid)


def wait_until(condition: Any, timeout_s: float, every_s: float = 0.05) -> bool:
    """Wait for a condition that cannot be subscribed to; False at the time-out."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True
