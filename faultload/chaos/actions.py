"""Chaos Toolkit actions: one per fault word, plus `hold` and `undo`; all guarantees are part of them.

The functions of the words are made from the vocabulary, with the signature that Chaos Toolkit checks an
experiment against.
"""

from __future__ import annotations

import inspect
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any

from chaoslib.exit import exit_gracefully

from faultload.chaos.gate import problems, shared_instances
from faultload.chaos.guard import check_fault, check_target
from faultload.chaos.journal import (
    OpenFault,
    entry_path,
    open_faults,
    pause_for_test,
    plan_fault,
    readable_faults,
)
from faultload.chaos.session import Session, leave
from faultload.chaos.undo import undo as undo_fault
from faultload.errors import FaultloadError, InvalidInput, NotUndone, in_words
from faultload.faults import fault_for, words
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.spec.target import TargetFile
from faultload.spec.vocabulary import COMMON, Argument, FaultWord

Configuration = dict[str, Any] | None
Result = dict[str, Any]
_log = logging.getLogger("chaostoolkit")


def _or_leave(action: Callable[..., Result]) -> Callable[..., Result]:
    """An action whose failure ends the experiment: Chaos Toolkit would go on, and call it completed."""

    @wraps(action)
    def act(*args: Any, **kwargs: Any) -> Result:
        if threading.current_thread() is not threading.main_thread():
            _log.error("%s cannot run in the background: take `background` away", act.__name__)
            exit_gracefully()  # the experiment's own thread leaves; SystemExit would end no more than this one
            return {}
        try:
            return action(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is: said, and the rollbacks run
            leave(_said(error))

    return act


@_or_leave
def hold(duration_s: float, configuration: Configuration = None) -> Result:
    """Keep what was injected for `duration_s`, or shorter when somebody asks to stop.

    A fault whose own `duration_s` is over is undone when this returns.
    """
    problem = COMMON["duration_s"].problem(duration_s)
    if problem is not None:
        raise InvalidInput(f"hold: duration_s {problem}, not {duration_s!r}")
    session = Session.current(configuration)
    started = max((fault.began_ns for fault in session.opened.values()), default=time.monotonic_ns())
    session.sleep_until(started + int(float(duration_s) * 1e9))
    held_s = round((time.monotonic_ns() - started) / 1e9, 3)
    session.wait_for_expired()
    return {"held_s": held_s}


def undo(fault: str, configuration: Configuration = None) -> Result:
    """Undo a fault that this experiment injected; does nothing for one that it did not.

    Raises NotUndone when the fault is still there afterwards, and ends the experiment as interrupted when it is the
    last one: of a rollback that merely fails Chaos Toolkit takes no notice.
    """
    session = Session.current(configuration)
    opened = session.opened.get(fault)
    if opened is None:
        label = session.label(fault)
        known, _ = readable_faults(session.target.id, session.run.path)
        mine = [one for one in known if one.entry["fault"] == label]
        opened = next((one for one in mine if one.entry["k"] == session.k), None)
    if opened is None:
        return {"fault": fault, "undone": False, "why": "it was not injected"}
    session.undoing = True
    try:
        gone = undo_fault(opened, "chaos")
    finally:
        session.undoing = False
    session.tried[fault] = gone
    if gone and fault in session.expiries:
        session.expiries[fault].cancel()
    if set(session.opened) <= set(session.tried) and not all(session.tried.values()):
        left = ", ".join(name for name, undone in session.tried.items() if not undone)
        session.leave(f"not undone: {left}: `faultload undo` tries again")  # the last one: the experiment fails
    if not gone:
        raise NotUndone(f"{opened.label} could not be undone: `faultload undo` tries again")
    return {"fault": fault, "undone": True}


def _action(word: FaultWord) -> Callable[..., Result]:
    """The action of a word: its arguments, `fault`, `duration_s`, `seed`, and Chaos Toolkit's configuration."""

    @_or_leave
    def act(
        fault: str = word.name,
        duration_s: float | None = None,
        seed: int | None = None,
        configuration: Configuration = None,
        **arguments: Any,
    ) -> Result:
        return _inject(word, fault, arguments, duration_s, seed, configuration)

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
    word: FaultWord,
    fault: str,
    arguments: dict[str, Any],
    duration_s: float | None,
    seed: int | None,
    configuration: Configuration,
) -> Result:
    """Gate, guard, resolve, write ahead, inject, witness: the life of every fault."""
    session = Session.current(configuration)
    run, settings = session.run, configuration or {}
    if duration_s is None:
        duration_s = settings.get("duration_s", 10.0)
    seed = next(one for one in (seed, session.order.seed, settings.get("seed"), 1) if one is not None)
    given = {**arguments, "fault": fault, "duration_s": duration_s, "seed": seed}
    mistakes = word.mistakes({name: value for name, value in given.items() if value is not None})
    if mistakes:
        text = f"{word.name}: {'; '.join(mistakes)}"
        run.event("note", what="not_injected", fault=session.label(fault), k=session.k, refused=True, text=text)
        session.leave(text)
    session.sleep_until_due(fault)
    session.check_may_go_on()
    request = FaultRequest(
        # what a fault leaves is found again by its id: no other run's is the same, whatever its folder is called
        fault_id=f"{session.label(fault)}#{session.k}@{run.path.name}-{secrets.token_hex(4)}",
        kind=word.name,
        arguments=word.filled(arguments),
        duration_s=float(duration_s),
        seed=int(seed),
        max_duration_s=session.order.max_duration_s if word.one_shot else 0.0,
    )
    handler, opened = _planned(session, request, fault)
    instances, plan = opened.instances, opened.plan
    label, k = session.label(fault), session.k
    session.check_may_go_on()
    opened = session.opened[fault] = opened.mark("INJECTING", "chaos", injected_ns=time.monotonic_ns())
    try:
        handler.inject(instances, plan)
    except Exception as error:  # noqa: BLE001 - whatever it is: said, and perhaps half injected, so undone
        run.event("note", what="inject_failed", fault=label, k=k, text=_said(error))
        run.event("witness", fault=label, k=k, of="there", seen=False, what=_said(error))
        session.leave(f"{label} could not be injected: {_said(error)}")
    pause_for_test("injected")
    opened = session.opened[fault] = opened.mark("ACTIVE", "chaos", active_ns=time.monotonic_ns())
    try:
        sight = handler.witness(instances)
    except Exception as error:  # noqa: BLE001 - a witness that fails has seen nothing
        sight = WitnessReport(False, _said(error))
    seen_ns = time.monotonic_ns()
    run.event("witness", fault=label, k=k, of="there", seen=sight.seen, what=sight.what)
    due_ns = opened.began_ns + int(request.duration_s * 1e9)
    session.expire(fault, due_ns)
    if sight.seen and not word.one_shot:
        session.look_again(fault, handler, seen_ns, due_ns)
    pause_for_test("witnessed")
    if session.standalone and not sight.seen:
        session.leave(f"{label} was not witnessed: {sight.what}")
    return _result(opened, sight.seen, sight.what)


def _planned(session: Session, request: FaultRequest, fault: str) -> tuple[PlatformFault, OpenFault]:
    """From the gate to PLANNED, one fault of a target at a time; leaves when something forbids it."""
    run, target = session.run, session.target
    label, k = session.label(fault), session.k
    word = words()[request.kind]
    with session.planning():
        try:
            check_target(target, session.approved, session.allowed)
            handler = fault_for(target, request)
            bad = problems(run, target, handler, request, overlap=session.order.overlap)
            instances = [] if bad else handler.resolve()
            bad = bad or shared_instances(target, request, instances)
            run.event("gate", fault=label, k=k, passed=not bad, why="; ".join(bad))
            if bad:
                session.left_out(label, "; ".join(bad))
                session.leave(f"the gate holds: {'; '.join(bad)}")
            touched = [one for other in open_faults(target.id) for one in other.instances]
            check_fault(target, request, instances, touched)
            session.need_warden()
            with _released_without_entry(target, request, handler):
                handler.prepare(instances)
                plan = handler.undo_plan(instances)
        except Exception as error:  # noqa: BLE001 - whatever it is: said, and nothing was touched yet
            refused = isinstance(error, FaultloadError)
            run.event("note", what="not_injected", fault=label, k=k, refused=refused, text=_said(error))
            session.leave(_said(error))
        try:
            with _released_without_entry(target, request, handler):
                opened = plan_fault(
                    run,
                    target,
                    request,
                    instances,
                    plan,
                    fault=label,
                    k=k,
                    one_shot=word.one_shot,
                    max_duration_s=request.longest_s,
                )
        except (OSError, FaultloadError) as error:
            refused = isinstance(error, FaultloadError)
            text = str(error) if refused else f"what its undo needs could not be kept: {in_words(error)}"
            with suppress(OSError):
                run.event("note", what="not_injected", fault=label, k=k, refused=refused, text=text)
            session.leave(text)
        session.opened[fault] = opened
    return handler, opened


@contextmanager
def _released_without_entry(target: TargetFile, request: FaultRequest, handler: PlatformFault) -> Iterator[None]:
    """What fails here ends the helpers of `prepare`, unless an entry of the index is left for undo to do it."""
    try:
        yield
    except BaseException:
        if not entry_path(target.id, request.fault_id).exists():
            with suppress(Exception):  # helpers end by themselves: what is wrong is more worth saying
                handler.release()
        raise


def _said(error: Exception) -> str:
    """An error in words; of one that nobody expected its type too."""
    return str(error) if isinstance(error, FaultloadError) else f"{type(error).__name__}: {error}"


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
