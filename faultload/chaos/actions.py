"""Chaos Toolkit actions: a function for each fault word, `hold`, and `undo`; their guarantees live inside them.

The functions of the words are made from the vocabulary, with the signature that Chaos Toolkit checks an
experiment against.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable
from typing import Any

from faultload.chaos.gate import problems
from faultload.chaos.guard import check_fault, check_target
from faultload.chaos.journal import OpenFault, open_faults, plan_fault
from faultload.chaos.session import AT_ENV, MAX_DURATION_ENV, Session
from faultload.chaos.undo import undo as undo_fault
from faultload.errors import FaultloadError, NotUndone
from faultload.faults import fault_for, words
from faultload.platforms.base import FaultRequest
from faultload.vocabulary import Argument, FaultWord

Configuration = dict[str, Any] | None
Result = dict[str, Any]


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


def _action(word: FaultWord) -> Callable[..., Result]:
    """The action of a word: its arguments, `fault`, `duration_s`, `seed`, and Chaos Toolkit's configuration."""

    def act(
        fault: str = word.name,
        duration_s: float | None = None,
        seed: int | None = None,
        configuration: Configuration = None,
        **arguments: Any,
    ) -> Result:
        given = {name: arguments.get(name, known.default) for name, known in word.arguments.items()}
        return _inject(word.name, fault, given, duration_s, seed, configuration)

    act.__name__ = act.__qualname__ = word.name
    act.__doc__ = f"{word.what[0].upper()}{word.what[1:]}."
    own = [_parameter(name, argument) for name, argument in word.arguments.items()]
    common = [one for one in inspect.signature(act).parameters.values() if one.kind is not one.VAR_KEYWORD]
    required_first = sorted(own, key=lambda one: one.default is not one.empty)
    act.__signature__ = inspect.Signature([*required_first, *common], return_annotation=Result)  # type: ignore[attr-defined]
    return act


def _parameter(name: str, argument: Argument) -> inspect.Parameter:
    default = inspect.Parameter.empty if argument.required else argument.default
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=Any)


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
        bad = problems(run, target, handler, request, overlap=session.overlap)
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
    word = words()[kind]
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


_ACTIONS = {name: _action(word) for name, word in words().items()}
globals().update(_ACTIONS)
__all__ = ["hold", "undo", *_ACTIONS]
