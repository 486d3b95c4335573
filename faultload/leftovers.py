"""`faultload undo`: find what is still open on this machine, undo it, stop what a dead run left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from faultload import reference
from faultload.chaos.journal import OpenFault, open_faults
from faultload.chaos.undo import undo_all
from faultload.chaos.warden import conductor_lives, end_processes, stop_injecting
from faultload.errors import ExitCode, InvalidInput, Mistake
from faultload.platforms.base import names
from faultload.record import RunDirectory


def undo_leftovers(what: str | None, *, everything: bool, only_list: bool) -> ExitCode:
    """Undo the open faults of a run, of a target, or of this machine; exit code 6 when something stays."""
    if what is None and not everything and not only_list:
        raise InvalidInput(Mistake("name a run or a target id, or say --all", hint="--list shows what is open"))
    faults = _selected(what)
    orphans = _orphans(what)
    if only_list:
        _print_list(faults, orphans)
        return ExitCode.PASS
    runs = {_run_of(fault) for fault in faults} | {run.path for run in _dead_runs(what)}
    dead = [run for run in (RunDirectory(path) for path in sorted(runs)) if not conductor_lives(run)]
    for run in dead:
        stop_injecting(run)
    left = undo_all(faults, "undo")
    for fault in faults:
        click.echo(f"{fault.label} on {fault.target_id}: {'NOT undone' if fault in left else 'undone'}")
    stayed = [f"process {process.pid}" for run in dead for process in end_processes(run)]
    for target_id in orphans:
        known = reference.of_id(target_id)
        stayed += reference.stop(*known) if known is not None else []
        click.echo(f"{target_id}: stopped")
    if not faults and not orphans:
        click.echo("nothing is open")
    for one in stayed:
        click.echo(f"{one} did not end", err=True)
    return ExitCode.NOT_UNDONE if left or stayed else ExitCode.PASS


def _selected(what: str | None) -> list[OpenFault]:
    if what is None:
        return open_faults()
    of_run = [fault for fault in open_faults() if _run_of(fault) == Path(what).resolve()]
    return of_run or open_faults(target_id=what)


def _run_of(fault: OpenFault) -> Path:
    """A fault's run directory, without symbolic links: `runs/latest` is one."""
    return Path(fault.entry["run"]).resolve()


def _orphans(what: str | None) -> list[str]:
    """Ids of reference systems that a run which died left up, or whose supervisor died."""
    found = []
    for name, platform in reference.everywhere():
        state = reference.status(name, platform)
        if state is None or (state.running and state.owner_alive is not False):
            continue
        path = Path(what) if what is not None else None
        of_run = path is not None and (path / "run.json").is_file() and _started(path) == state.target_id
        if what is None or what == state.target_id or of_run:
            found.append(state.target_id)
    return found


def _started(path: Path) -> str | None:
    info = RunDirectory(path).info() or {}
    name = info.get("started_target")
    return None if name is None else str(name)


def _dead_runs(what: str | None) -> list[RunDirectory]:
    if what is not None and (Path(what) / "run.json").is_file():
        return [RunDirectory(Path(what).resolve())]
    return []


def _print_list(faults: Sequence[OpenFault], orphans: Sequence[str]) -> None:
    for fault in faults:
        kind = fault.entry["request"]["kind"]
        click.echo(f"{fault.label}  {kind}  {fault.state}  {names(fault.instances)}")
        click.echo(f"    target {fault.target_id}\n    run    {fault.entry['run']}")
    for target_id in orphans:
        click.echo(f"{target_id}  reference system left behind by a run that died")
    if not faults and not orphans:
        click.echo("nothing is open")
