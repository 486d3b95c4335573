"""Local processes as instances: their trees, and whether they are ready."""

from __future__ import annotations

import socket
import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from faultload.errors import Refused
from faultload.host.listeners import LOOPBACK, answering, listening
from faultload.host.processes import ProcessId, stat_fields
from faultload.host.trees import stopped, tree
from faultload.platforms.base import Instance
from faultload.platforms.databases.patroni import cluster_problems, members_of
from faultload.platforms.local.matching import addresses_of, around_here, matches, uid_of
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
    except (OSError, HTTPException, ValueError):
        return None


def cpu_ticks(process: ProcessId) -> int | None:
    """User and system CPU time of a process in clock ticks, or None when it is gone."""
    if not process.alive():
        return None
    try:
        fields = stat_fields(process.pid)
    except OSError:
        return None
    return int(fields[11]) + int(fields[12])


def wait_until(condition: Any, timeout_s: float, every_s: float = 0.05) -> bool:
    """Wait for a condition that cannot be subscribed to; False at the time-out."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True
