"""`faultload undo` on real processes: by run, target, fault or all; twice; and again after a failure."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from standin import StandIn, Workspace, start_chaos, states, wait_for

from faultload.chaos.warden import processes_of
from faultload.host.processes import ProcessId, identify, state_of
from faultload.platforms.local.links import LinkProxy
from faultload.record.directory import RunDirectory

pytestmark = pytest.mark.long


def proxy_of(target: StandIn) -> ProcessId:
    """The link proxy's process: the last that the stand-in started."""
    found = identify(target.processes[-1].pid)
    assert found is not None
    return found


@pytest.fixture
def dead_run(workspace: Workspace, target: StandIn) -> Path:
    """A run with a pause and a partition open, of which everything was killed."""
    faults = [
        {"name": "freeze", "experiment": workspace.experiment("f", "pause", {"service": "cache"}, 60), "at": "5s"},
        {
            "name": "cut",
            "experiment": workspace.experiment("c", "partition", {"link": "web -> store"}, 60),
            "at": "6s",
            "overlap": True,
        },
    ]
    load = {
        "journeys": "journeys.py",
        "rate": [{"step": "10/s", "for": "80s"}],
        "arrivals": "even",
        "max_users": 20,
        "timeout": "1s",
    }
    run = workspace.folder / "out"
    process = workspace.start("run", workspace.scenario(target, faults=faults, load=load), "--out", run)

    def both() -> bool:
        return {name: seen[-1] for name, seen in states(run).items()} == {"freeze": "ACTIVE", "cut": "ACTIVE"}

    wait_for(lambda: both() or process.poll() is not None, 60, "both are active")
    assert process.poll() is None, process.communicate()[0]
    os.kill(process.pid, signal.SIGSTOP)
    for one in processes_of(RunDirectory(run)).values():
        one.signal(signal.SIGKILL)
    process.wait()
    return run


def disturbed(target: StandIn) -> set[str]:
    links = LinkProxy(f"http://127.0.0.1:{target.control}").links()
    found = {"cut" for entry in links.values() if entry["faults"]}
    return found | ({"freeze"} if state_of(target.servers[target.cache]) == "T" else set())


def test_it_lists_shows_and_undoes_one_by_one(workspace: Workspace, target: StandIn, dead_run: Path) -> None:
    listed = workspace.faultload("undo", "--list")
    assert listed.returncode == 0
    first, second = listed.stdout.index("cut#1  partition  ACTIVE"), listed.stdout.index("freeze#1  pause  ACTIVE")
    assert first < second, "last in, first out"
    shown = workspace.faultload("undo", "freeze#1", "--list").stdout
    assert "asked  service cache" in shown
    assert "now    still there" in shown
    assert disturbed(target) == {"cut", "freeze"}, "showing touches nothing"
    one = workspace.faultload("undo", "freeze#1")
    assert (one.returncode, disturbed(target)) == (0, {"cut"}), one.stdout
    assert "freeze#1 on" in one.stdout
    rest = workspace.faultload("undo", str(dead_run))
    assert (rest.returncode, disturbed(target)) == (0, set()), rest.stdout
    again = workspace.faultload("undo", "--all", "--yes")
    assert again.returncode == 0
    assert again.stdout.strip() == "nothing is open"


def test_a_new_run_is_refused_until_the_target_is_undone(
    workspace: Workspace, target: StandIn, dead_run: Path
) -> None:
    file = workspace.folder / "scenarios" / "visit.yaml"
    refused = workspace.faultload("run", file, "--out", workspace.folder / "again")
    assert refused.returncode == 5
    assert "fault cut#1 (partition) is open; fault freeze#1 (pause) is open" in refused.stderr
    assert not (workspace.folder / "again").exists()
    named = f"http://127.0.0.1:{target.web[0]}"
    assert f"faultload undo {named}" in refused.stderr
    done = workspace.faultload("undo", named)
    assert done.returncode == 0, done.stdout
    assert done.stdout.index("cut#1") < done.stdout.index("freeze#1")
    assert disturbed(target) == set()


def test_what_does_not_answer_stays_open_and_is_undone_later(
    workspace: Workspace, target: StandIn, dead_run: Path
) -> None:
    proxy = proxy_of(target)
    proxy.signal(signal.SIGSTOP)
    try:
        failed = workspace.faultload("undo", "--all", "--yes")
    finally:
        proxy.signal(signal.SIGCONT)
    assert failed.returncode == 6, failed.stdout + failed.stderr
    assert "cut#1 on" in failed.stdout
    assert "NOT undone" in failed.stdout
    assert "freeze#1 on" in failed.stdout, "the other one is undone all the same"
    assert state_of(target.servers[target.cache]) != "T"
    assert "cut#1  partition  UNDO_FAILED" in workspace.faultload("undo", "--list").stdout
    later = workspace.faultload("undo", "--all", "--yes")
    assert (later.returncode, disturbed(target)) == (0, set()), later.stdout


def at_a_terminal(workspace: Workspace, answer: str) -> tuple[int, str]:
    """`faultload undo --all`, asked and answered: its exit code, and what it said."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "faultload", "undo", "--all"]
    env = {**os.environ, **workspace.env}
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    os.close(theirs)
    try:
        os.write(ours, f"{answer}\n".encode())
        said = process.communicate(timeout=60)[0].decode()
    finally:
        os.close(ours)
    return process.returncode, said


def test_everything_is_undone_only_when_a_person_says_so(
    workspace: Workspace, target: StandIn, dead_run: Path
) -> None:
    unasked = workspace.faultload("undo", "--all")
    assert unasked.returncode == 5
    assert "cut#1  partition  ACTIVE" in unasked.stdout and "say --yes" in unasked.stderr
    code, said = at_a_terminal(workspace, "n")
    assert (code, "freeze#1  pause  ACTIVE" in said, "Undo all of this? [y/N]" in said) == (5, True, True)
    assert disturbed(target) == {"cut", "freeze"}
    code, said = at_a_terminal(workspace, "yes")
    assert (code, disturbed(target)) == (0, set()), said


def test_what_belongs_to_a_run_that_goes_on_is_left_alone(workspace: Workspace, target: StandIn) -> None:
    file = workspace.folder / workspace.experiment("f", "pause", {"service": "cache"}, 60)
    process = start_chaos(workspace, target, file)
    try:
        wait_for(lambda: disturbed(target) == {"freeze"}, 30, "it is paused")
        done = workspace.faultload("undo", "--all", "--yes")
        assert done.returncode == 0, done.stderr
        assert "is left alone" in done.stdout and "--force" in done.stdout
        assert disturbed(target) == {"freeze"}
        forced = workspace.faultload("undo", "--all", "--yes", "--force")
        assert (forced.returncode, disturbed(target)) == (0, set()), forced.stdout
    finally:
        process.terminate()
        process.communicate(timeout=60)
