"""`faultload undo`: finds what is still open on this machine, undoes it, and stops what a dead run left."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import click

from faultload import reference
from faultload.chaos.journal import OpenFault, entry_stays, others_open, readable_faults
from faultload.chaos.undo import PERSON, end_late_helpers, undo_all
from faultload.chaos.warden import conductor_lives, end_processes, started_target, stop_injecting
from faultload.errors import ExitCode, FaultloadError, InvalidInput, Mistake, Refused
from faultload.host.private import not_ours
from faultload.host.state import read_json
from faultload.platforms.base import names
from faultload.record.directory import RunDirectory
from faultload.spec.units import format_seconds


def undo_leftovers(
    what: str | None, *, everything: bool, only_list: bool, confirmed: bool = False, force: bool = False
) -> ExitCode:
    """Undo the open faults of a run, of a target, or of this machine; exit code 6 when something stays.

    Of everything on this machine, what belongs to a run that is still going on is left alone unless `force`, and a
    person is shown the rest and asked, unless `confirmed`. Raises Refused without an answer.
    """
    if what is None and not everything and not only_list:
        raise InvalidInput(
            Mistake("name a run, a target id or a fault, or use --all", hint="--list shows what is open")
        )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that is closed meanwhile keeps nothing in place
    known, unreadable = readable_faults()
    faults = _selected(known, what)
    orphans = _orphans(what)
    if only_list:
        _print_list(faults, orphans, unreadable, details=what is not None)
        return ExitCode.PASS
    if what is None:
        if not force:
            faults = [fault for fault in faults if not _goes_on(fault)]
        if (faults or orphans) and not confirmed:
            _print_list(faults, orphans, unreadable, details=False)
            _ask()
    runs = {_run_of(fault) for fault in faults} | {run.path for run in _dead_runs(what)}
    dead = [run for run in (RunDirectory(path) for path in sorted(runs)) if not conductor_lives(run)]
    for run in dead:
        stop_injecting(run)
    left = undo_all(faults, PERSON)
    for fault in faults:
        result = f"NOT undone: {_problem_of(fault)}" if fault in left else "undone"
        click.echo(f"{fault.label} on {fault.target_id}: {result}")
        if fault not in left and fault.path.exists():
            click.echo(entry_stays(fault))
    stayed = [f"process {process.pid} did not end" for run in dead for process in end_processes(run)]
    end_late_helpers(faults)
    for target_id in orphans:
        owner = reference.of_id(target_id)
        stayed += [f"{one} did not end" for one in reference.stop(*owner)] if owner is not None else []
        click.echo(f"{target_id}: stopped")
    if not faults and not orphans:
        click.echo("nothing is open")
    for text in others_open() if what is None else ():
        click.echo(text)
    if what is None or (not faults and not orphans):
        stayed += unreadable
    for one in stayed:
        click.echo(one, err=True)
    return ExitCode.NOT_UNDONE if left or stayed else ExitCode.PASS


def _selected(known: Sequence[OpenFault], what: str | None) -> list[OpenFault]:
    """The faults of a run, else of a target, else those that are called so: pause-web, pause-web#2."""
    if what is None:
        return list(known)
    ways = (
        [fault for fault in known if _run_of(fault) == Path(what).resolve()],
        [fault for fault in known if fault.target_id == what],
        [fault for fault in known if what in (fault.label, fault.entry["fault"], fault.fault_id)],
    )
    return next((found for found in ways if found), [])


def _goes_on(fault: OpenFault) -> bool:
    """Whether a fault's run, or its `chaos run`, is still going on; says that it is left alone."""
    run = RunDirectory(_run_of(fault))
    injector = fault.injector
    if not (conductor_lives(run) or (injector is not None and injector.alive())):
        return False
    click.echo(f"{fault.label} is left alone: {run.path} is still going on (--force undoes it all the same)")
    return True


def _ask() -> None:
    """Raises Refused unless a person at a terminal says yes."""
    if not sys.stdin.isatty():
        raise Refused("nothing was undone: nobody can be asked here; say --yes to undo all of this")
    click.echo("Undo all of this? [y/N] ", err=True, nl=False)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("nothing was undone")


def _run_of(fault: OpenFault) -> Path:
    """A fault's run directory, without symbolic links: `runs/latest` is one."""
    return Path(fault.entry["run"]).resolve()


def _problem_of(fault: OpenFault) -> str:
    """What kept a fault from being undone, as undo wrote it."""
    entry: dict[str, object] = {}
    with suppress(OSError, ValueError):
        entry = read_json(fault.path) or {}
    return str(entry.get("problem") or "it is still there") + "; `faultload undo` tries again"


def _orphans(what: str | None) -> list[str]:
    """Ids of reference systems that a run which died left up, or whose supervisor died."""
    found = []
    for name, platform in reference.everywhere():
        state = reference.status(name, platform)
        if state is None or (state.running and state.owner_alive is not False):
            continue
        path = Path(what) if what is not None else None
        of_run = (
            path is not None
            and (path / "run.json").is_file()
            and started_target(RunDirectory(path)) == state.target_id
        )
        if what is None or what == state.target_id or of_run:
            found.append(state.target_id)
    return found


def _dead_runs(what: str | None) -> list[RunDirectory]:
    """Raises Refused for a run directory of somebody else: it names the processes that would be ended."""
    if what is None or not (Path(what) / "run.json").is_file():
        return []
    run = RunDirectory(Path(what).resolve())
    why = not_ours(run.events_path) if run.events_path.exists() else None
    if why is not None:
        raise Refused(f"{run.events_path} says which processes to end, but {why}: undo it as that user")
    return [run]


def _print_list(
    faults: Sequence[OpenFault], orphans: Sequence[str], unreadable: Sequence[str], *, details: bool
) -> None:
    for fault in faults:
        kind = fault.entry["request"]["kind"]
        click.echo(f"{fault.label}  {kind}  {fault.state}  {names(fault.instances)}")
        click.echo(f"    target {fault.target_id}\n    run    {fault.entry['run']}")
        for name, text in _details(fault) if details else ():
            click.echo(f"    {name:6} {text}")
    for target_id in orphans:
        click.echo(f"{target_id}  reference system left behind by a run that died")
    others = others_open()
    for text in (*unreadable, *others):
        click.echo(text)
    if not faults and not orphans and not unreadable and not others:
        click.echo("nothing is open")


def _details(fault: OpenFault) -> Iterator[tuple[str, str]]:
    """One fault in full: what was asked for, what undo would do, and what is seen of it now."""
    request = fault.entry["request"]
    asked = ", ".join(f"{name} {value}" for name, value in request["arguments"].items())
    yield "asked", f"{asked}; {request['duration_s']:g} s, seed {request['seed']}"
    yield "since", f"{_ago(fault)}, for {float(fault.entry['max_duration_s']):g} s at most"
    for key, value in fault.plan.items():
        if key != "private" and value not in (None, [], {}):
            yield "before", f"{key}: {json.dumps(value)}"
    try:
        handler = fault.handler()
        yield "undo", handler.undone_by or (type(handler).undo.__doc__ or "").strip() or "restores what was before"
        sight = handler.gone(fault.instances, fault.plan)
        yield "now", f"{'gone' if sight.seen else 'still there'}: {sight.what}"
    except (FaultloadError, OSError) as error:
        yield "now", f"cannot be checked: {error}"


def _ago(fault: OpenFault) -> str:
    if math.isinf(fault.overdue_s):
        return "before this machine restarted"
    return f"{format_seconds(fault.overdue_s + float(fault.entry['max_duration_s']))} ago"
