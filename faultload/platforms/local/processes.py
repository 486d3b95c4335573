"""Local processes as instances: finds them by argv, port or pid, checks readiness, and restarts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import psutil

from faultload.host.listeners import listeners
from faultload.host.processes import ProcessId, identify, state_of
from faultload.platforms.base import Instance
from faultload.platforms.databases.patroni import cluster_problems, members_of
from faultload.spec.target import Service, TargetFile

_direct = build_opener(ProxyHandler({}))


def process_of(instance: Instance) -> ProcessId:
    """The process behind a local instance."""
    return ProcessId(int(instance.id), instance.started)


def instances_of(target: TargetFile, name: str) -> list[Instance]:
    """The running instances of a declared service, by port and pid; never a process that is not declared."""
    service = target.services[name]
    if service.patroni is not None:
        return members_of(name, service.patroni)
    if service.pids is not None:
        return [_instance(name, found, None) for pid in service.pids if (found := identify(pid)) is not None]
    if service.command is not None:
        return sorted(_by_argv(name, service), key=lambda instance: (instance.name, instance.id))
    ports = {port for port in service.instance_ports if port is not None}
    return [_instance(name, found, port) for port, found in sorted(listeners(ports).items())]


def _instance(service: str, process: ProcessId, port: int | None) -> Instance:
    return Instance(service, str(process.pid), process.started, f"{service}:{port or process.pid}", port)


def _by_argv(name: str, service: Service) -> Iterator[Instance]:
    assert service.command is not None
    wanted: dict[tuple[str, ...], int | None] = {}
    for port in service.instance_ports:
        argv = tuple(part.replace("{port}", str(port)) for part in service.command)
        wanted[argv] = port if argv not in wanted else None
    for pid, argv in all_argv():
        for candidate, port in wanted.items():
            same = argv[1:] == candidate[1:] and Path(argv[0]).name == Path(candidate[0]).name
            if same and (found := identify(pid)) is not None:
                yield _instance(name, found, port)


def all_argv() -> Iterator[tuple[int, tuple[str, ...]]]:
    """Pid and argument list of every process that this user may read."""
    for pid in psutil.pids():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                raw = file.read()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if raw:
            yield pid, tuple(raw.decode(errors="replace").rstrip("\0").split("\0"))


def not_ready(target: TargetFile, name: str) -> list[str]:
    """Why a service is not ready, in plain words; empty when it is."""
    service = target.services[name]
    if service.patroni is not None:
        return cluster_problems(name, service.patroni)
    floor = service.declared if service.min_ready is None else service.min_ready
    count = len(ready(target, name))
    if count < floor:
        return [f"{name}: {count} of {service.declared} instances are ready, {floor} must be"]
    return []


def ready(target: TargetFile, name: str) -> list[Instance]:
    """The running instances of a service that are ready; of a database, its running members."""
    service, found = target.services[name], instances_of(target, name)
    if service.patroni is not None:
        return found
    return [instance for instance in found if answers(service, instance)]


def answers(service: Service, instance: Instance, timeout_s: float = 2.0) -> bool:
    """Whether an instance is ready: its health path answers 200, or its port connects, or it is not stopped."""
    if instance.port is None:
        return not stopped(process_of(instance))
    if service.health is None:
        try:
            socket.create_connection(("127.0.0.1", instance.port), timeout_s).close()
        except OSError:
            return False
        return not stopped(process_of(instance))
    return http_status(f"http://127.0.0.1:{instance.port}{service.health}", timeout_s) == 200


def http_status(url: str, timeout_s: float) -> int | None:
    """The status of a GET, or None when nothing answers in time."""
    try:
        with _direct.open(url, timeout=timeout_s) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError, ValueError):
        return None


def stopped(process: ProcessId) -> bool:
    """Whether the process is stopped by a signal."""
    return state_of(process) in ("T", "t")


def cpu_ticks(process: ProcessId) -> int | None:
    """User and system CPU time of a process in clock ticks, or None when it is gone."""
    if not process.alive():
        return None
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[11]) + int(fields[12])


def restart_plan(process: ProcessId) -> dict[str, Any]:
    """What it takes to start a process again as it is now; the environment goes into `private`."""
    root = Path(f"/proc/{process.pid}")
    argv = root.joinpath("cmdline").read_bytes().decode(errors="surrogateescape").rstrip("\0").split("\0")
    pairs = root.joinpath("environ").read_bytes().decode(errors="surrogateescape").split("\0")
    env = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    log = (root / "fd" / "1").readlink()
    named = Path(argv[0])
    # a virtual environment is known by the path it was started with
    executable = named if named.is_absolute() and named.exists() else (root / "exe").readlink()
    return {
        "argv": argv,
        "executable": str(executable),
        "cwd": str((root / "cwd").readlink()),
        "log": str(log) if log.is_file() else None,
        "user": _identity_of(root),
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


def kill_all(instances: Sequence[Instance]) -> None:
    """SIGKILL for the very processes that were resolved."""
    for instance in instances:
        process_of(instance).signal(signal.SIGKILL)


def wait_until(condition: Any, timeout_s: float, every_s: float = 0.05) -> bool:
    """Wait for a condition that cannot be subscribed to; False at the time-out."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True
