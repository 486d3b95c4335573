"""A run's processes are forked from servers: who holds which pipe, and what a dead server changes."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import psutil
import pytest
from standin import StandIn, Workspace, processes_of_run, states, wait_for

from faultload.chaos.warden import processes_of
from faultload.record.directory import RunDirectory
from faultload.record.events import Note


@pytest.fixture
def frozen(workspace: Workspace, target: StandIn) -> tuple[Path, psutil.Process]:
    """A run with a paused cache: its directory and its conductor."""
    pause = workspace.experiment("f", "pause", {"service": "cache"}, duration_s=4)
    scenario = workspace.scenario(
        target,
        load={
            "journeys": "journeys.py",
            "rate": [{"step": "20/s", "for": "16s"}],
            "max_users": 50,
            "timeout": "2s",
        },
        faults=[{"name": "freeze", "experiment": pause, "at": "5s"}],
        recovery={"slice": "1s", "hold": "3s"},
    )
    run = workspace.folder / "out"
    process = workspace.start("run", scenario, "--out", run)
    wait_for(lambda: states(run).get("freeze", [""])[-1] == "ACTIVE" or process.poll() is not None, 60, "active")
    assert process.poll() is None, process.communicate()[0]
    return run, psutil.Process(process.pid)


def servers_of(conductor: psutil.Process) -> dict[str, psutil.Process]:
    """The fork servers of a conductor, as their command lines show them."""
    children = [(child, " ".join(child.cmdline())) for child in conductor.children()]
    servers = [(child, line) for child, line in children if "faultload.run.forkserver" in line]
    return {"load" if "faultload.load" in line else "chaos": child for child, line in servers}


def writers(pid: int) -> set[str]:
    """The pipes that a process can write to."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        flags = re.search(r"flags:\s*(\d+)", Path(f"/proc/{pid}/fdinfo/{path.name}").read_text())
        assert flags is not None
        if str(path.readlink()).startswith("pipe:") and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY:
            found.add(str(path.readlink()))
    return found


def readers(pid: int) -> set[str]:
    """The pipes that a process has open, less those that it can write to."""
    links = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return {link for link in links if link.startswith("pipe:")} - writers(pid)


def test_only_the_conductor_can_write_to_its_pipes(frozen: tuple[Path, psutil.Process]) -> None:
    run, conductor = frozen
    servers = servers_of(conductor)
    assert set(servers) == {"load", "chaos"}
    started = {name: one.pid for name, one in processes_of(RunDirectory(run)).items() if name != "conductor"}
    assert set(started) == {"warden", "load-0", "chaos-freeze-1"}
    mine = writers(conductor.pid)
    for name, pid in started.items():
        assert psutil.Process(pid).ppid() == conductor.pid, name
        assert readers(pid) & mine, f"{name} would not see the conductor die"
        assert not writers(pid) & mine - {str(Path(f"/proc/{conductor.pid}/fd/1").readlink())}, name
    for name, server in servers.items():
        held = {str(path.readlink()) for path in Path(f"/proc/{server.pid}/fd").iterdir()}
        assert not [one for one in held if one in mine], f"the {name} server holds a pipe of the conductor"
    libraries = {
        name: {Path(mapped.path).name for mapped in server.memory_maps()} for name, server in servers.items()
    }
    assert any("greenlet" in file for file in libraries["load"])
    assert not [file for file in libraries["chaos"] if "greenlet" in file], "gevent is where Chaos Toolkit runs"


@pytest.mark.long
@pytest.mark.parametrize("victim", ["load", "chaos"])
def test_a_killed_server_changes_nothing_but_how_processes_start(
    frozen: tuple[Path, psutil.Process], victim: str
) -> None:
    run, conductor = frozen
    servers_of(conductor)[victim].kill()
    if victim == "chaos":  # the next process that is asked for
        processes_of(RunDirectory(run))["warden"].signal(signal.SIGKILL)
    conductor.wait(90)
    record = RunDirectory(run)
    verdict = record.verdict()
    assert verdict is not None
    assert verdict["exit_code"] == 0, verdict
    assert states(run)["freeze"][-1] == "UNDONE"
    notes = [str(event.what) for event in record.events_of(Note)]
    assert ("server_lost" in notes) is (victim == "chaos"), notes
    assert ("warden_lost" in notes) is (victim == "chaos"), notes
    assert not processes_of_run(run)


@pytest.mark.long
@pytest.mark.parametrize("victims", [("load",), ("chaos",), ("load", "chaos")])
def test_a_conductor_killed_after_its_servers_is_undone_by_the_warden(
    frozen: tuple[Path, psutil.Process], victims: tuple[str, ...]
) -> None:
    run, conductor = frozen
    servers = servers_of(conductor)
    for name in victims:
        servers[name].kill()
    conductor.kill()
    wait_for(lambda: states(run)["freeze"][-1] == "UNDONE", 10, "undone")
    wait_for(lambda: not processes_of_run(run), 15, "nothing of the run is left")
    wait_for(lambda: not any(one.is_running() for one in servers.values()), 5, "no server is left")
