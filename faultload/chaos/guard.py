"""The guard: what a fault may touch at most; closed unless the target says otherwise."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from faultload.errors import Refused
from faultload.faults import words
from faultload.platforms import is_here, platform_of
from faultload.platforms.base import FaultRequest, Instance
from faultload.record import RunDirectory
from faultload.state import state_home
from faultload.target import TargetFile

KILL_SWITCH_ENV = "FAULTLOAD_KILL_SWITCH"
APPROVED_ENV = "FAULTLOAD_APPROVED"


def kill_switch(run: RunDirectory | None = None) -> Path | None:
    """The kill-switch file that is there now, or None: a named one, the machine's, or the run's."""
    named = os.environ.get(KILL_SWITCH_ENV)
    places = [Path(named)] if named else []
    places.append(state_home() / "stop")
    if run is not None:
        places.append(run.path / "stop")
    return next((place for place in places if place.exists()), None)


def check_target(target: TargetFile, approved: Collection[str]) -> None:
    """Faults on this target at all: loopback, or approved by its id. Raises Refused."""
    if target.platform == "external":
        raise Refused(f"{target.name} is known by its URL only: no fault can touch it; give a target file")
    if target.id not in approved and not is_here(target):
        raise Refused(
            f"{target.id} is not on this machine: list it under `allow` in the scenario and confirm it with "
            f"--approve {target.id}"
        )


def check_fault(target: TargetFile, request: FaultRequest, instances: Sequence[Instance]) -> None:
    """One fault on its resolved instances: protected names, at most N or a share, the ready floor.

    Raises Refused. Without limits of its own a target lends half of a service's instances, rounded down but
    at least one: one of three, one of two, the only one.
    """
    link = str(request.argument("link", ""))
    for name in {*(instance.service for instance in instances), *link.split(" -> ")} - {"", link}:
        if target.is_protected(name):
            raise Refused(f"'{name}' is protected in the target file: no fault may touch it")
        namespace = target.namespace_of(name) if name in target.services else None
        if namespace is not None and target.is_protected(namespace):
            raise Refused(f"namespace '{namespace}' is protected: no fault may touch it")
    if not words()[request.kind].selects:
        return
    service = str(request.arguments["service"])
    running = len(platform_of(target).instances(service))
    limit = max(1, int(running * (target.guard.max_share or 0.5)))
    if target.guard.max_instances is not None:
        most = int(running * target.guard.max_share) if target.guard.max_share is not None else running
        limit = min(target.guard.max_instances, max(1, most))
    if len(instances) > limit:
        raise Refused(
            f"{request.kind} would touch {len(instances)} of {running} instances of '{service}', at most {limit} "
            "may be touched at once (target file: guard)"
        )
    floor = target.services[service].min_ready
    if floor is not None and running - len(instances) < floor:
        raise Refused(
            f"{request.kind} would leave {running - len(instances)} instances of '{service}', "
            f"{floor} must stay ready (target file: min_ready)"
        )
