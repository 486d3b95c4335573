"""Every run ends by itself, undone and with nothing left, whichever process of it is stopped or held."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from standin import StandIn, Workspace, processes_of_run, short, states, wait_for

from faultload.chaos.warden import processes_of
from faultload.host.processes import ProcessId
from faultload.record.directory import RunDirectory
from faultload.record.events import Witness

MANY_S = 120
"""Beyond it a run of some seconds hangs."""


def started(workspace: Workspace, target: StandIn | str, **changes: object) -> tuple[Path, subprocess.Popen[str]]:
    scenario = workspace.scenario(target, **changes)
    run = workspace.folder / "out"
    return run, workspace.start("run", scenario, "--out", run)


def freeze(workspace: Workspace, at: str, seconds: float) -> dict[str, str]:
    """A pause of the cache, as a scenario names it."""
    experiment = workspace.experiment("f", "pause", {"service": "cache"}, seconds)
    return {"name": "freeze", "experiment": experiment, "at": at}


def process(run: Path, name: str) -> ProcessId:
    return processes_of(RunDirectory(run))[name]


def load_runs(run: Path) -> bool:
    record = RunDirectory(run)
    begun = record.info().load_start_s if record.info_path.exists() else None
    return begun is not None and record.clock.now() > begun + 1.0


def ended(run: Path, conductor: subprocess.Popen[str]) -> str:
    """What the run printed; it ended in time, and nothing of it is left."""
    said, _ = conductor.communicate(timeout=MANY_S)
    assert "Traceback" not in said
    wait_for(lambda: not processes_of_run(run), 15, f"nothing runs: {processes_of_run(run)}")
    return said


def reasons(run: Path) -> list[str]:
    verdict = RunDirectory(run).verdict()
    assert verdict is not None
    found: list[str] = verdict["reasons"]
    return found


@pytest.mark.long
def test_a_stopped_load_process_ends_the_run_within_seconds(workspace: Workspace, target: StandIn) -> None:
    run, conductor = started(workspace, target, load=short(seconds=20))
    wait_for(lambda: load_runs(run), 60, "the load runs")
    process(run, "load-0").signal(signal.SIGSTOP)
    said = ended(run, conductor)
    assert conductor.returncode == 4, said
    assert "load-0 said nothing for 15 s of its load: it is stopped, or hangs" in reasons(run)


@contextmanager
def endless_headers() -> Iterator[str]:
    """A server that answers with header lines and never comes to their end; its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    over = threading.Event()

    def hold(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not over.wait(0.01):
                connection.sendall(b"X-More: of the same\r\n" * 200)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=hold, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    listener.close()


@pytest.mark.long
def test_a_server_that_never_ends_its_header_holds_no_run(workspace: Workspace) -> None:
    with endless_headers() as url:
        run, conductor = started(workspace, url, load=short(rate="5/s", seconds=4, max_users=5))
        said = ended(run, conductor)
    assert conductor.returncode in (1, 4), said
    assert RunDirectory(run).verdict() is not None


SLEEPERS = {
    "on_start": """
    def on_start(self):
        time.sleep(1e6)
""",
    "on_stop": """
    def on_stop(self):
        time.sleep(1e6)
""",
}


@pytest.mark.long
@pytest.mark.parametrize("where", SLEEPERS)
def test_a_user_that_sleeps_for_ever_holds_no_run(workspace: Workspace, target: StandIn, where: str) -> None:
    journeys = workspace.folder / "journeys.py"
    journeys.write_text("import time\n" + journeys.read_text() + SLEEPERS[where])
    run, conductor = started(workspace, target, load=short(seconds=3))
    said = ended(run, conductor)
    assert conductor.returncode in (0, 3, 4) if where == "on_stop" else (1, 4), said
    assert RunDirectory(run).verdict() is not None


@pytest.mark.long
def test_a_listener_that_sleeps_for_ever_is_ended_and_named(workspace: Workspace, target: StandIn) -> None:
    journeys = workspace.folder / "journeys.py"
    sleeper = "events.quitting.add_listener(lambda **_: time.sleep(1e6))"
    journeys.write_text(f"import time\nfrom locust import events\n{journeys.read_text()}\n{sleeper}\n")
    run, conductor = started(workspace, target, load=short(seconds=3))
    said = ended(run, conductor)
    assert conductor.returncode == 4, said
    assert any(why.startswith("load-0: drain and end took longer than") for why in reasons(run)), reasons(run)


@pytest.mark.long
def test_a_warden_that_stays_stopped_is_replaced_and_the_run_is_as_valid_as_before(
    workspace: Workspace, target: StandIn
) -> None:
    run, conductor = started(workspace, target, faults=[freeze(workspace, "20s", 4)], load=short(seconds=30))
    wait_for(lambda: load_runs(run), 60, "the load runs")
    stopped = process(run, "warden")
    stopped.signal(signal.SIGSTOP)
    said = ended(run, conductor)
    assert "the warden was stopped for 15 s: a new one was started" in said
    assert not stopped.alive()
    assert states(run)["freeze"][-1] == "UNDONE"
    assert not reasons(run), "its measurement is as good as before"


@pytest.mark.long
def test_a_chaos_process_that_stays_stopped_has_its_fault_undone_by_the_warden_and_ends_with_the_run(
    workspace: Workspace, target: StandIn
) -> None:
    run, conductor = started(workspace, target, faults=[freeze(workspace, "5s", 3)], load=short(seconds=24))
    record = RunDirectory(run)
    wait_for(lambda: any(record.events_of(Witness)) or conductor.poll() is not None, 60, "it is witnessed")
    process(run, "chaos-freeze-1").signal(signal.SIGSTOP)
    said = ended(run, conductor)
    assert [line.by for line in record.faults() if line.state == "UNDONE"] == ["warden"]
    verdict = record.verdict()
    assert verdict is not None and not verdict["reasons"], "who is stopped spoils nothing of the measurement"
    busy = "the load generator was the limit" in verdict["objectives"][0]["why"]
    assert conductor.returncode == (4 if busy else 0), said


def test_a_closed_terminal_ends_a_run_in_order(workspace: Workspace, target: StandIn) -> None:
    run, conductor = started(workspace, target, load=short(seconds=30))
    wait_for(lambda: load_runs(run), 60, "the load runs")
    for _ in range(2):  # the kernel says so, and the shell does
        os.kill(conductor.pid, signal.SIGHUP)
    said = ended(run, conductor)
    assert conductor.returncode == 130, said
    stopped = RunDirectory(run).info().stopped
    assert stopped is not None and (stopped.by, stopped.why) == ("person", "the terminal was closed (SIGHUP)")
    assert (run / "report.html").exists()
