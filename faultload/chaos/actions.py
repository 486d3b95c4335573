"""Chaos Toolkit actions: one function a fault word, `hold`, and `undo`; their guarantees live inside them."""

from __future__ import annotations

import os
import time
from typing import Any

from faultload.chaos.gate import problems
from faultload.chaos.guard import check_fault, check_target
from faultload.chaos.journal import OpenFault, open_faults, plan_fault
from faultload.chaos.session import AT_ENV, MAX_DURATION_ENV, Session
from faultload.chaos.undo import undo as undo_fault
from faultload.errors import FaultloadError, NotUndone
from faultload.platforms import fault_for
from faultload.platforms.base import FaultRequest
from faultload.vocabulary import FAULTS

__all__ = [
    "failover_database",
    "hold",
    "kill",
    "latency",
    "partition",
    "pause",
    "reset_connections",
    "restart",
    "switchover_database",
    "terminate",
    "undo",
]

Configuration = dict[str, Any] | None
Result = dict[str, Any]


def kill(
    service: str,
    count: int | None = None,
    share: float | None = None,
    fault: str = "kill",
    duration_s: float | None = None,
    seed: int | None = None,
    configuration: Configuration = None,
) -> Result:
    """SIGKILL for `count` or a `share` of a service's instances (one unless said otherwise)."""
    arguments = {"service": service, "count": count, "share": share}
    return _inject("kill", fault, arguments, duration_s, seed, configuration)


def terminate(
    service: str,
    count: int | None = None,
    share: float | None = None,
    grace_s: float = 10.0,
    fault: str = "terminate",
    duration_s: float | None = None,
    seed: int | None = None,
    configuration: Configuration = None,
) -> Result:
    """SIGTERM, and SIGKILL after `grace_s`."""
    arguments = {"service": service, "count": count, "share": share, "grace_s": grace_s}
    return _inject("terminate", fault, arguments, duration_s, seed, configuration)


def restart(
    service: str,
    count: int | None = None,
    share: float | None = None,
    fault: str = "restart",
    duration_s: float | None = None,
    seed: int | None = None,
    configuration: Configuration = None,
) -> Result:
    """Stopped by us, and started again by the target's supervisor or else by us."""
    arguments = {"service": service, "count": count, "share": share}
    return _inject("restart", fault, arguments, duration_s, seed, configuration)


def pause(
    service: str,
    count: int | None = None,
    share: float | None = None,
    fault: str = "pause",
    duration_s: float | None = None,
    seed: int | None = None,
    configuration: Configuration = None,
) -> Result:
    """Frozen until the fault is undone."""
    arguments = {"service": service, "count": count, "share": share}
    return _inject("pause", fault, arguments, duration_s, seed, configuration)


def partition(
    link: str,
    on_heal: str = "deliver",
    fault: str = "partition",
    duration_s: float | None = None,
    seed: int | None = None,
    configuration: Configuration = None,
) -> Result:
    """A link silent both ways, for new and established connections."""
    return _inject("partition", fault, {"link": link, "on_heal": on_heal}, duration_s, seed, configuration)


def latency(
    link: str,
    delay_ms: float,
    jitter_ms: float = 0.0,
    fault: str = "latency",
    duration_s: float | None = None,
    seed: int | None = None,
    configuration: Configuration = None,
) -> Result:
    """`delay_ms` (give or take `jitter_ms`) more for each round trip on a link."""
    arguments = {"link": link, "delay_ms": delay_ms, "jitter_ms": jitter_ms}
    return _inject("latency", fault, arguments, duration_s, seed, configuration)


def reset_connections(
    link: str,
    fault: str = "reset_connections",
    duration_s: float | None = None,
    seed: int | None = None,
    configuration: Configuration = None,
) -> Result:
    """Every established connection of a link reset, once."""
    return _inject("reset_connections", fault, {"link": link}, duration_s, seed, configuration)


def failover_database(
    service: str = "db",
    mode: str = "postmaster",
    fault: str = "failover_database",
    duration_s: float | None = None,
    seed: int | None = None,
    configuration: Configuration = None,
) -> Result:
    """The leader dies: its postmaster, or the whole member with its Patroni."""
    return _inject("failover_database", fault, {"service": service, "mode": mode}, duration_s, seed, configuration)


def switchover_database(
    service: str = "db",
    candidate: str | None = None,
    fault: str = "switchover_database",
    duration_s: float | None = None,
    seed: int | None = None,
    configuration: Configuration = None,
) -> Result:
    """The leader hands over in order, through Patroni's API."""
    arguments = {"service": service, "candidate": candidate}
    return _inject("switchover_database", fault, arguments, duration_s, seed, configuration)


def hold(duration_s: float, configuration: Configuration = None) -> Result:
    """Keep what was injected for `duration_s`, or shorter when somebody asks to stop."""
    session = Session.current(configuration)
    injected = [int(one.entry["injected_ns"]) for one in session.opened.values() if one.entry.get("injected_ns")]
    started = max(injected, default=time.monotonic_ns())
    session.sleep_until(started + int(float(duration_s) * 1e9))
    return {"held_s": round((time.monotonic_ns() - started) / 1e9, 3)}


def undo(fault: str, configuration: Configuration = None) -> Result:
    """Undo a fault that this experiment injected; does nothing for one that it did not.

    Raises NotUndone when the fault is still there afterwards.
    """
    session = Session.current(configuration)
    opened = session.opened.get(fault)
    if opened is None:
        label = session.label(fault)
        mine = [one for one in open_faults(session.target.id, session.run.path) if one.entry["fault"] == label]
        opened = next((one for one in mine if one.entry["k"] == session.k), None)
    if opened is None:
        return {"fault": fault, "undone": False, "why": "it was not injected"}
    session.undoing = True
    try:
        gone = undo_fault(opened, "chaos")
    finally:
        session.undoing = False
    if not gone:
        raise NotUndone(f"{opened.label} could not be undone: `faultload undo` tries again")
    return {"fault": fault, "undone": True}


def _inject(
    kind: str,
    fault: str,
    arguments: dict[str, Any],
    duration_s: float | None,
    seed: int | None,
    configuration: Configuration,
) -> Result:
    """Gate, guard, resolve, write ahead, inject, witness: the life of every fault."""
    session = Session.current(configuration)
    at_ns = os.environ.get(AT_ENV)
    if at_ns is not None:
        session.sleep_until(session.run.clock.t0_ns + int(at_ns))
    session.check_may_go_on()
    run, target = session.run, session.target
    label, k = session.label(fault), session.k
    settings = configuration or {}
    request = FaultRequest(
        fault_id=f"{label}#{k}@{run.path.name}",
        kind=kind,
        arguments={key: value for key, value in arguments.items() if value is not None},
        duration_s=float(duration_s if duration_s is not None else settings.get("duration_s", 10.0)),
        seed=int(seed if seed is not None else settings.get("seed", 1)),
    )
    try:
        approved = os.environ.get("FAULTLOAD_APPROVED", "").split(",")
        check_target(target, approved)
        handler = fault_for(target, request)
        bad = problems(run, target, handler, overlap=session.overlap)
        run.event("gate", fault=label, k=k, passed=not bad, why="; ".join(bad))
        if bad:
            session.leave(f"the gate holds: {'; '.join(bad)}")
        instances = handler.resolve()
        check_fault(target, request, instances)
        session.need_warden()
        handler.prepare(instances)
        plan = handler.undo_plan(instances)
    except FaultloadError as error:
        run.event("note", what="not_injected", fault=label, k=k, refused=True, text=str(error))
        session.leave(str(error))
    word = FAULTS[kind]
    longest = max(request.duration_s, float(os.environ.get(MAX_DURATION_ENV, "0")) if word.one_shot else 0.0)
    opened = plan_fault(
        run,
        target,
        request,
        instances,
        plan,
        fault=label,
        k=k,
        one_shot=word.one_shot,
        max_duration_s=longest,
    )
    session.opened[fault] = opened
    session.check_may_go_on()
    opened = session.opened[fault] = opened.mark("INJECTING", "chaos", injected_ns=time.monotonic_ns())
    try:
        handler.inject(instances, plan)
    except (FaultloadError, OSError) as error:
        run.event("note", what="inject_failed", fault=label, k=k, text=str(error))
        run.event("witness", fault=label, k=k, of="there", seen=False, what=str(error))
        session.leave(f"{label} could not be injected: {error}")
    opened = session.opened[fault] = opened.mark("ACTIVE", "chaos")
    sight = handler.witness(instances)
    run.event("witness", fault=label, k=k, of="there", seen=sight.seen, what=sight.what)
    return _result(opened, sight.seen, sight.what)


def _result(opened: OpenFault, witnessed: bool, what: str) -> Result:
    return {
        "fault": opened.label,
        "instances": [instance.id for instance in opened.instances],
        "witnessed": witnessed,
        "what": what,
    }
