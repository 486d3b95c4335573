"""The guard: the limits of what a fault may touch; nothing, unless the target allows it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from faultload.errors import Refused
from faultload.faults import words
from faultload.faults.base import FaultRequest
from faultload.host.state import state_home
from faultload.platforms import platform_of
from faultload.platforms.base import Instance, Platform
from faultload.platforms.where import elsewhere, names_of, unproven
from faultload.record.directory import RunDirectory
from faultload.spec.target import TargetFile

KILL_SWITCH_ENV = "FAULTLOAD_KILL_SWITCH"
APPROVED_ENV = "FAULTLOAD_APPROVED"
DEFAULT_SHARE = 0.5
_FAILOVER = "failover_database"
"""It touches the leader's processes, several of one member: only the floor is asked."""


def kill_switch(run: RunDirectory | None = None) -> Path | None:
    """The kill-switch file that is there now, or None: a named one, the machine's, or the run's."""
    named = os.environ.get(KILL_SWITCH_ENV)
    places = [Path(named)] if named else []
    places.append(state_home() / "stop")
    if run is not None:
        places.append(run.path / "stop")
    return next((place for place in places if place.exists()), None)


class Unapproved(Refused):
    """A target elsewhere that a person has not confirmed; `name` is what `--approve` takes."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is not on this machine ({why}): confirm it with --approve {name}")
        self.name = name


def check_before_asking(
    target: TargetFile,
    approved: Collection[str],
    allowed: Collection[str] = (),
    urls: Iterable[tuple[str, str]] = (),
) -> None:
    """Whether a target may be asked at all: it is on this machine by its addresses, or was approved.

    Of an engine or cluster without an id nobody knows yet which one it is; that it is the approved one is looked
    at by `check_here`. `urls`: what else is asked, as (what it is, URL). Raises Refused; connects to nothing.
    """
    far = elsewhere(target, urls)
    if far and not (not target.id and {*target.allow, *allowed} & {*approved}):
        _check_approved(target, far[0], approved, allowed)


def check_here(target: TargetFile, approved: Collection[str], allowed: Collection[str] = ()) -> None:
    """Whether a target that answers may be loaded or struck: it is on this machine, or was approved.

    `allowed`: what the scenario lists, beside the target file. Raises Refused.
    """
    far = elsewhere(target) or unproven(target)
    if far:
        _check_approved(target, far[0], approved, allowed)


def _check_approved(target: TargetFile, why: str, approved: Collection[str], allowed: Collection[str]) -> None:
    names = names_of(target)
    known = {*names} & {*target.allow, *allowed}
    if not known:
        raise Refused(f"{names[0]} is not on this machine ({why}): list it under `allow` to let faults touch it")
    if not known & {*approved}:
        raise Unapproved(names[0], why)


def check_target(target: TargetFile, approved: Collection[str], allowed: Collection[str] = ()) -> None:
    """Faults on this target at all: nothing protected, and here or approved (`check_here`). Raises Refused."""
    if target.platform == "external":
        raise Refused(f"{target.name} is known only by its URL, so faults cannot touch it; give a target file")
    check_places(target, ())
    check_here(target, approved, allowed)


def check_fault(
    target: TargetFile,
    request: FaultRequest,
    instances: Sequence[Instance],
    touched: Sequence[Instance] = (),
) -> None:
    """One fault on its resolved instances: protected names, at most N or a share, the ready floor.

    `touched`: what faults that are open already touch; it counts. Raises Refused. Without limits of its own a
    target lends half of a service's instances, rounded down but at least one: one of three, one of two, the
    only one.
    """
    named = {*(instance.service for instance in instances), str(request.argument("service", ""))}
    check_places(target, [*named, str(request.argument("link", ""))])
    _check_names(target, sorted({instance.name for instance in instances}))
    word = words()[request.kind]
    counted = word.selects or word.layer in ("process", "node")
    if "service" not in word.arguments or not (counted or word.name == _FAILOVER):
        return
    service = str(request.argument("service", word.default_service))
    platform = platform_of(target)
    running = platform.instances(service)
    mine = _taken(request, service, instances, running)
    known = {(one.id, one.started) for one in (*running, *mine)}
    others = [one for one in touched if one.service == service and (one.id, one.started) in known]
    if counted:
        _check_count(target, request.kind, service, mine, others, len(running))
    _check_floor(target, platform, request.kind, service, [*mine, *others])


def check_places(target: TargetFile, places: Collection[str]) -> None:
    """Services and both ends of links: neither they nor where they live is protected. Raises Refused."""
    _check_names(target, [name for name in (target.project, target.context, target.namespace) if name])
    names = sorted({end for place in places for end in place.split(" -> ")} - {""})
    _check_names(target, names)
    for name in names:
        namespace = target.namespace_of(name) if name in target.services else None
        if namespace is not None and target.is_protected(namespace):
            raise Refused(f"namespace '{namespace}' is protected: no fault may touch it")


def _check_names(target: TargetFile, names: Collection[str]) -> None:
    for name in names:
        if target.is_protected(name):
            raise Refused(f"'{name}' is protected: no fault may touch it (target file: protected)")


def _taken(
    request: FaultRequest, service: str, instances: Sequence[Instance], running: Sequence[Instance]
) -> list[Instance]:
    """The instances that are not there meanwhile: those resolved; of a scaling as many as it takes away."""
    if "to" not in request.arguments:
        return [instance for instance in instances if instance.service == service]
    return list(running)[: max(0, len(running) - int(request.arguments["to"]))]


def _check_count(
    target: TargetFile,
    kind: str,
    service: str,
    mine: Sequence[Instance],
    others: Sequence[Instance],
    running: int,
) -> None:
    """At most N instances or a share of them at once, those of other open faults among them."""
    limit = max(1, int(running * (target.guard.max_share or DEFAULT_SHARE)))
    if target.guard.max_instances is not None:
        most = int(running * target.guard.max_share) if target.guard.max_share is not None else running
        limit = min(target.guard.max_instances, max(1, most))
    count = len({(one.id, one.started) for one in (*mine, *others)})
    if mine and count > limit:
        beside = f" ({len(others)} by other open faults)" if others else ""
        raise Refused(
            f"{kind} would touch {count} of {running} instances of '{service}'{beside}, at most {limit} "
            "may be touched at once (target file: guard)"
        )


def _check_floor(
    target: TargetFile, platform: Platform, kind: str, service: str, touched: Sequence[Instance]
) -> None:
    """So many instances stay ready: ready now, and not touched by this or another open fault."""
    floor = target.services[service].min_ready
    if floor is None:
        return
    gone = {(one.id, one.started) for one in touched}
    left = [one for one in platform.ready(service) if (one.id, one.started) not in gone]
    if len(left) < floor:
        raise Refused(
            f"{kind} would leave {len(left)} ready instances of '{service}', "
            f"{floor} must stay ready (target file: min_ready)"
        )
