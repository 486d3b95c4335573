"""One cell of the fault matrix: a run with one fault, a machine in trouble from one moment on, and what is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_troubles import TROUBLES, Place, Trouble
from kill_cell import (
    Failed,
    Result,
    difference,
    is_stopped,
    open_entries,
    rest,
    scenario_with,
    settled,
    story,
    sweep,
    undone_by,
    until,
)
from kill_worlds import Facts, World, command_lines
from standin import Workspace

from faultload.chaos.journal import PAUSE_AT_ENV
from faultload.chaos.warden import processes_of
from faultload.host.processes import ProcessId
from faultload.record.directory import RunDirectory

MOMENTS = ("before", "active", "undo")
PAUSE_AT = {"active": ("witnessed", "ACTIVE"), "undo": ("UNDOING", "UNDOING")}
"""Where the chaos process stops itself so that the moment is exact, and what the journal says then."""
BOUND_S = 30.0
LOAD_S = 24
_END_S = 150.0
"""A run of `LOAD_S` has ended after so long, whatever goes wrong: beyond it, it hangs."""


@dataclass(frozen=True)
class FaultCell:
    """What goes wrong, and when; with which fault."""

    trouble: str
    moment: str
    kind: str

    def __str__(self) -> str:
        return f"{self.trouble:22} {self.moment:7} {self.kind:8}"


@dataclass
class Played(Result):
    """What became of a cell, and with which exit code its run ended."""

    code: int | None = None


def play(cell: FaultCell, world: World, workspace: Workspace) -> Result:
    """Play one cell; whatever happens, its run is ended, what it opened undone, and the trouble over."""
    result = Played(cell)
    place, trouble = Place(workspace.folder, workspace.state), TROUBLES[cell.trouble]()
    place.mount()
    try:
        _play(cell, world, workspace, place, trouble, result)
    except Failed as error:
        result.wrong.append(str(error))
    finally:
        if not result.ok:
            sweep(workspace)
        place.unmount()
        if place.group is not None:
            _remove(place.group)
    return result


def _play(
    cell: FaultCell, world: World, workspace: Workspace, place: Place, trouble: Trouble, result: Played
) -> None:
    before = settled(world)
    trouble.prepare(place)
    output = workspace.folder / "output"
    _start(cell, world, workspace, place, output if cell.trouble != "output closed" else None)
    try:
        _wait_for(cell, place, output)
        chaos = place.processes("chaos") if cell.moment in PAUSE_AT else []
        trouble.begin(place)
        began = time.monotonic()
        if cell.trouble != "chaos stopped":
            _go_on(chaos)
        open_s = 0.0
        while place.conductor.poll() is None:
            took_s = time.monotonic() - began
            if took_s > _END_S:
                raise Failed(f"the run hangs {took_s:.0f} s after its trouble began: {story(place.run)}")
            if trouble.lasts_s is not None and took_s > trouble.lasts_s:
                trouble.end(place)
            if open_entries(workspace):
                open_s = took_s
            time.sleep(0.2)
        with suppress(Failed):
            until(lambda: _restored(world, workspace, before), 5.0, "as before")
            result.seconds = open_s
    finally:
        _end(place)
        trouble.end(place)
    if result.seconds is None:
        done = workspace.faultload("undo", "--all", "--yes")
        _no_traceback(done.stdout + done.stderr, "undo", result)
        if done.returncode not in (0, 6):
            result.wrong.append(f"undo ended with {done.returncode}: {done.stdout} {done.stderr}")
        until(lambda: _restored(world, workspace, before), BOUND_S, lambda: rest(world, workspace, before))
        result.seconds = time.monotonic() - began
        result.by = "undo"
    else:
        result.by = undone_by(place.run)
        if result.seconds > BOUND_S:
            result.wrong.append(f"as before only after {result.seconds:.1f} s")
    _ended_right(trouble, place, output, result)
    _nothing_left(world, workspace, before)


def _start(cell: FaultCell, world: World, workspace: Workspace, place: Place, output: Path | None) -> None:
    scenario = scenario_with(cell.kind, world, workspace, LOAD_S)
    argv = [sys.executable, "-m", "faultload", "run", str(scenario), "--out", str(place.run)]
    if place.group is not None:
        enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        argv = ["sh", "-c", enter, str(place.group), *argv]
    env = {**os.environ, **workspace.env}
    if cell.moment in PAUSE_AT:
        env[PAUSE_AT_ENV] = PAUSE_AT[cell.moment][0]
    stream: Any = subprocess.PIPE if output is None else output.open("w")
    place.conductor = subprocess.Popen(
        argv, cwd=workspace.folder, env=env, stdout=stream, stderr=subprocess.STDOUT, text=True
    )
    workspace.started.append(place.conductor)
    if output is not None:
        stream.close()


def _wait_for(cell: FaultCell, place: Place, output: Path) -> None:
    """Until the moment has come."""

    def reached() -> bool:
        run = RunDirectory(place.run)
        if not run.info_path.exists():
            return False
        if cell.moment == "before":
            begun = run.info().load_start_s
            return begun is not None and run.clock.now() > begun + 1.0 and _has_chaos(place)
        lines = run.faults()
        chaos = place.processes("chaos")
        state = PAUSE_AT[cell.moment][1]
        return bool(lines) and lines[-1].state == state and bool(chaos) and is_stopped(chaos[-1])

    until(lambda: reached() or place.conductor.poll() is not None, 120.0, lambda: f"{cell}: {story(place.run)}")
    if place.conductor.poll() is not None:
        said = output.read_text()[-800:] if output.exists() else story(place.run)
        raise Failed(f"the run ended early, with {place.conductor.returncode}: {said}")


def _has_chaos(place: Place) -> bool:
    return any(name.startswith("chaos-") for name in processes_of(RunDirectory(place.run)))


def _go_on(chaos: list[ProcessId]) -> None:
    for process in chaos:
        process.signal(signal.SIGCONT)


def _restored(world: World, workspace: Workspace, before: Facts) -> bool:
    return not open_entries(workspace) and world.facts() == before


def _end(place: Place) -> None:
    if place.conductor.poll() is None:
        place.conductor.kill()
        place.conductor.wait()


def _ended_right(trouble: Trouble, place: Place, output: Path, result: Played) -> None:
    """The exit code is one of the right ones and that of the verdict, and nobody sees a traceback."""
    code = result.code = place.conductor.returncode
    said = output.read_text() if output.exists() else ""
    if code not in trouble.codes:
        result.wrong.append(f"exit code {code}, right are {trouble.codes}: {said[-800:]}")
    verdict = RunDirectory(place.run).verdict()
    if verdict is None and "no verdict" not in said and output.exists():
        result.wrong.append(f"there is no verdict, and nothing says so: {said[-800:]}")
    if verdict is not None and verdict["exit_code"] != code:
        result.wrong.append(f"exit code {code}, the verdict says {verdict['exit_code']}: {said[-800:]}")
    _no_traceback(said, "the run", result)
    warden = RunDirectory(place.run).log("warden")  # the logs of load and chaos are theirs whose code runs there
    if warden.exists():
        _no_traceback(warden.read_text(errors="replace"), warden.name, result)


def _no_traceback(text: str, where: str, result: Played) -> None:
    if "Traceback" in text:
        result.wrong.append(f"{where} shows a traceback: {text[text.index('Traceback') :][-600:]}")


def _nothing_left(world: World, workspace: Workspace, before: Facts) -> None:
    def left() -> list[str]:
        return command_lines(workspace.folder)

    until(lambda: not left(), BOUND_S, lambda: f"no process of the run is left: {left()}")
    after = settled(world)
    if after != before:
        raise Failed(f"in the end not as before: {difference(before, after)}")


def _remove(group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)
    with suppress(OSError):
        group.rmdir()
    shutil.rmtree(group, ignore_errors=True)
