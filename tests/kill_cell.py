"""One cell of the kill matrix: a run with one fault, processes killed at one moment, and what is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil
from kill_worlds import NOTHING_LASTS, Facts, World, command_lines
from standin import Workspace, processes_in

from faultload.chaos.journal import PAUSE_AT_ENV, readable_faults
from faultload.chaos.warden import processes_of
from faultload.host.processes import ProcessId, state_of
from faultload.record.directory import RunDirectory

VICTIMS = (
    ("conductor",),
    ("chaos",),
    ("load",),
    ("warden",),
    ("conductor", "chaos"),
    ("conductor", "warden"),
)
MOMENTS = ("inject", "active", "undo")
PAUSE_AT = {"inject": "injected", "active": "witnessed", "undo": "UNDOING"}
"""Where the chaos process stops itself: injected, not yet ACTIVE; ACTIVE and witnessed; UNDOING, not yet undone."""
STATES = {"inject": "INJECTING", "active": "ACTIVE", "undo": "UNDOING"}
BOUND_S = 15.0


@dataclass(frozen=True)
class Cell:
    """Which fault, who dies, and when."""

    kind: str
    victims: tuple[str, ...]
    moment: str

    def __str__(self) -> str:
        return f"{self.kind:20} {' + '.join(self.victims):20} {self.moment:7}"


class Played(Protocol):
    """A cell of any matrix: `kind` is the fault in it, `str` its line."""

    @property
    def kind(self) -> str: ...


@dataclass
class Result:
    """What became of a cell: how long until all was as before, by whom, and what is wrong."""

    cell: Any
    seconds: float | None = None
    by: str = ""
    wrong: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.wrong


class Failed(Exception):
    """A cell that did not come to its end."""


def until(condition: Callable[[], Any], timeout_s: float, what: Callable[[], str] | str) -> float:
    """Wait; returns how long it took. Raises Failed at the time-out."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise Failed(f"not within {timeout_s:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.2)
    return time.monotonic() - started


def play(cell: Cell, world: World, workspace: Workspace) -> Result:
    """Play one cell; whatever happens, its run is ended and what it opened undone."""
    result = Result(cell)
    run = workspace.folder / "out"
    shutil.rmtree(run, ignore_errors=True)
    try:
        before, traces = settled(world), world.traces()
        conductor = _start(cell, world, workspace, run)
        try:
            _play(cell, world, workspace, run, conductor, before, traces, result)
        finally:
            _end(conductor, run)
        _nothing_left(world, workspace, run, before, result)
    except Failed as error:
        result.wrong.append(str(error))
    finally:
        if not result.ok:
            sweep(workspace)
    return result


def sweep(workspace: Workspace) -> None:
    """After a bad cell: undo and end whatever is left of its run."""
    workspace.faultload("undo", "--all", "--yes")
    for process in processes_in(workspace.folder):
        with suppress(psutil.Error):
            process.kill()


def settled(world: World) -> Facts:
    """The facts, when two looks agree: what the last cell left behind is over."""
    facts = world.facts()
    deadline = time.monotonic() + 20.0
    while (again := world.facts()) != facts and time.monotonic() < deadline:
        facts = again
    return facts


def _start(cell: Cell, world: World, workspace: Workspace, run: Path) -> subprocess.Popen[str]:
    scenario = scenario_with(cell.kind, world, workspace, seconds=90)
    workspace.env[PAUSE_AT_ENV] = PAUSE_AT[cell.moment]
    try:
        return workspace.start("run", scenario, "--out", run)
    finally:
        del workspace.env[PAUSE_AT_ENV]


def scenario_with(kind: str, world: World, workspace: Workspace, seconds: int) -> Path:
    """A scenario of a light load with one fault of a kind after five seconds, which no error can fail."""
    fault = {
        "name": "one",
        "experiment": workspace.experiment("one", kind, world.arguments(kind), world.duration_s),
        "at": "5s",
    }
    return workspace.scenario(
        str(world.target_file),
        faults=[fault],
        load={
            "journeys": "journeys.py",
            "rate": [{"step": "5/s", "for": f"{seconds}s"}],
            "arrivals": "even",
            "max_users": 20,
            "timeout": "2s",
        },
        objectives=["error_rate <= 100%"],
    )


def _play(
    cell: Cell,
    world: World,
    workspace: Workspace,
    run: Path,
    conductor: subprocess.Popen[str],
    before: Facts,
    traces: Facts,
    result: Result,
) -> None:
    until(lambda: _reached(cell, run) or conductor.poll() is not None, 120, lambda: f"{cell.moment}: {story(run)}")
    if conductor.poll() is not None:
        raise Failed(f"the run ended early: {conductor.communicate()[0][-600:]} {story(run)}")
    # when its undo begins, a fault may have ended by its own time-out on the target's side
    visible = cell.kind not in NOTHING_LASTS and cell.moment != "undo"
    if visible and world.facts() == before and world.traces() == traces:
        result.wrong.append(f"nothing of the fault was to be seen before the kill: {_ages(run)}; {story(run)}")
    known = processes_of(RunDirectory(run))
    dead = [process for name, process in known.items() if name.partition("-")[0] in cell.victims]
    chaos = [process for name, process in known.items() if name.startswith("chaos-")]
    known["conductor"].signal(signal.SIGSTOP)  # it must not replace what dies beside it
    for process in dead:
        process.signal(signal.SIGKILL)
    if "conductor" not in cell.victims:
        known["conductor"].signal(signal.SIGCONT)
    killed = time.monotonic()
    if {"conductor", "warden"} <= set(cell.victims):
        done = workspace.faultload("undo", run)
        if done.returncode != 0:
            result.wrong.append(f"undo ended with {done.returncode}: {done.stdout} {done.stderr}")
    else:
        for process in chaos:
            process.signal(signal.SIGCONT)

    def restored() -> bool:
        return not open_entries(workspace) and world.facts() == before

    until(restored, BOUND_S, lambda: rest(world, workspace, before))
    result.seconds = time.monotonic() - killed
    result.by = undone_by(run)
    if result.seconds > BOUND_S and not {"conductor", "warden"} <= set(cell.victims):
        result.wrong.append(f"as before only after {result.seconds:.1f} s")


def _reached(cell: Cell, run: Path) -> bool:
    record = RunDirectory(run)
    faults = record.faults()
    if not faults:
        return False
    chaos = [one for name, one in processes_of(record).items() if name.startswith("chaos-")]
    return bool(chaos) and is_stopped(chaos[-1]) and faults[-1].state == STATES[cell.moment]


def is_stopped(process: ProcessId) -> bool:
    return state_of(process) == "T"


def _end(conductor: subprocess.Popen[str], run: Path) -> None:
    """End a run that still goes on, in a hurry and without its report: one signal of two at once is lost."""
    deadline = time.monotonic() + 60.0
    while conductor.poll() is None and time.monotonic() < deadline:
        conductor.send_signal(signal.SIGINT)
        time.sleep(0.1)
    late = conductor.poll() is None
    if late:
        conductor.kill()
    if conductor.stdout is not None and not conductor.stdout.closed:
        conductor.communicate()
    if late:
        raise Failed(f"the conductor did not end: {story(run)}")


def _nothing_left(world: World, workspace: Workspace, run: Path, before: Facts, result: Result) -> None:
    """No process, no open fault, nothing of the target changed; and a second undo finds nothing."""

    def left() -> list[str]:
        return command_lines(workspace.folder)

    until(lambda: not left(), BOUND_S, lambda: f"no process of the run is left: {left()}")
    states = [line.state for line in RunDirectory(run).faults()]
    if states[-1:] != ["UNDONE"]:
        result.wrong.append(f"the journal ends with {states}")
    if {"conductor", "warden"} <= set(result.cell.victims):
        again = workspace.faultload("undo", "--all", "--yes")
        if again.returncode != 0 or "nothing is open" not in again.stdout:
            result.wrong.append(f"a second undo found something: {again.stdout} {again.stderr}")
    after = settled(world)
    if after != before:
        result.wrong.append(f"in the end not as before: {difference(before, after)}")


def rest(world: World, workspace: Workspace, before: Facts) -> str:
    """What is not as before, for a failure's message."""
    return f"as before: {difference(before, world.facts())}; open {open_entries(workspace)}"


def open_entries(workspace: Workspace) -> list[str]:
    """What the index of open faults holds."""
    here = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(workspace.state)
    try:
        faults, unreadable = readable_faults()
    finally:
        if here is None:
            del os.environ["XDG_STATE_HOME"]
        else:
            os.environ["XDG_STATE_HOME"] = here
    return [f"{fault.label} {fault.state}" for fault in faults] + unreadable


def _ages(run: Path) -> str:
    """How long ago a run's fault came into each of its states, for a failure's message."""
    record = RunDirectory(run)
    now = record.clock.now()
    return ", ".join(f"{line.state} {now - line.t:.1f} s ago" for line in record.faults())


def undone_by(run: Path) -> str:
    lines = [line for line in RunDirectory(run).faults() if line.state == "UNDONE"]
    return lines[-1].by if lines else ""


def difference(before: Facts, after: Facts) -> str:
    return "; ".join(f"{key}: {before[key]} -> {after[key]}" for key in before if before[key] != after[key])


def story(run: Path) -> str:
    """The last events of a run, for a failure's message."""
    record = RunDirectory(run)
    events = [event.to_json() for event in record.events() if event.kind != "health"]
    said = [str(event.get("text") or event.get("why") or "") for event in events]
    return f"states {[line.state for line in record.faults()]}, said {[text for text in said if text][-4:]}"
