"""A fork server: what its children get, what it keeps, and what happens without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faultload.host.processes import Process, identify, state_of
from faultload.record.directory import RunDirectory
from faultload.record.events import Note
from faultload.run.warm import ForkServer, WarmProcess, spawn_from

PROGRAM = """
import json, os, random, signal, sys, threading

IMPORTED_BY = os.getpid()

def descriptors():
    return {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{name}")}

def main():
    match sys.argv[1]:
        case "say":
            print(json.dumps({
                "argv": sys.argv[1:], "cwd": os.getcwd(), "path": sys.path[0],
                "session": os.getsid(0), "pid": os.getpid(),
                "parent": os.getppid(), "imported_by": IMPORTED_BY, "env": os.environ.get("WORD"),
                "blas": os.environ.get("OPENBLAS_NUM_THREADS"), "random": random.random(),
                "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
                "terminate": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
                "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "descriptors": descriptors()}))
        case "echo":
            print(sys.stdin.readline().strip())
        case "pass":
            print(os.read(int(sys.argv[2]), 5).decode())
        case "exit":
            return int(sys.argv[2])
        case "raise":
            raise RuntimeError("on purpose")
        case "sleep":
            signal.pause()
    return 0

if __name__ == "__main__":
    sys.exit(main())
"""
CROWDED = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a light program, importable by servers and by what is started plainly."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "light_program.py").write_text(PROGRAM)
    (tmp_path / "lib" / "crowded.py").write_text(CROWDED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    return tmp_path


@pytest.fixture
def server(programs: Path) -> Iterator[ForkServer]:
    server = ForkServer("test", {"light_program": "light_program:main"})
    yield server
    server.close()


def start(server: ForkServer, tmp_path: Path, *arguments: str, **options: object) -> Process:
    argv = [sys.executable, "-m", "light_program", *arguments]
    return server.spawn(argv, log=tmp_path / "log", **options)  # type: ignore[arg-type]


def said(process: Process, tmp_path: Path) -> str:
    assert process.wait(20) == 0, (tmp_path / "log").read_text()
    return (tmp_path / "log").read_text().strip()


def test_a_child_is_what_a_fresh_process_would_be(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("WORD", "after the server's start")
    process = start(server, tmp_path, "say", "a b", cwd=folder)
    found = json.loads(said(process, tmp_path))
    assert isinstance(process, WarmProcess)
    assert found["imported_by"] == server.process.pid, "the child imported its program itself"
    assert found["argv"] == ["say", "a b"]
    assert found["cwd"] == found["path"] == str(folder)
    assert found["session"] == found["pid"] == process.pid
    assert found["parent"] == os.getpid()
    assert found["env"] == "after the server's start"
    assert found["blas"] == os.environ.get("OPENBLAS_NUM_THREADS")
    assert found["interrupt"] == (signal.getsignal(signal.SIGINT) is not signal.SIG_IGN), "as this process has it"
    assert found["terminate"]
    assert found["blocked"] == 0
    log = str(tmp_path / "log")
    assert found["descriptors"] == {"0": os.devnull, "1": log, "2": log}


def test_children_of_a_server_draw_different_random_numbers(server: ForkServer, tmp_path: Path) -> None:
    drawn = set()
    for _ in range(2):
        (tmp_path / "log").unlink(missing_ok=True)
        drawn.add(json.loads(said(start(server, tmp_path, "say"), tmp_path))["random"])
    assert len(drawn) == 2


@pytest.mark.parametrize(("arguments", "code"), [(("exit", "0"), 0), (("exit", "3"), 3), (("raise",), 1)])
def test_exit_codes_reach_the_caller(
    server: ForkServer, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    assert start(server, tmp_path, *arguments).wait(20) == code
    assert ("on purpose" in (tmp_path / "log").read_text()) is (code == 1)


def test_input_and_descriptors_reach_the_child(server: ForkServer, tmp_path: Path) -> None:
    echo = start(server, tmp_path, "echo", stdin=subprocess.PIPE)
    assert echo.stdin is not None
    echo.stdin.write(b"told\n")
    echo.stdin.close()
    assert said(echo, tmp_path) == "told"
    (tmp_path / "log").unlink()
    reading, writing = os.pipe()
    child = start(server, tmp_path, "pass", str(reading), pass_fds=[reading])
    os.write(writing, b"12345")
    assert said(child, tmp_path) == "12345"
    os.close(reading)
    os.close(writing)


def test_a_server_keeps_no_descriptor_of_its_children(server: ForkServer, tmp_path: Path) -> None:
    def descriptors() -> list[str]:
        folder = Path(f"/proc/{server.process.pid}/fd")
        return sorted(str(path.readlink()) for path in folder.iterdir())

    start(server, tmp_path, "exit", "0").wait(20)
    before = descriptors()
    child = start(server, tmp_path, "sleep", stdin=subprocess.PIPE)
    assert descriptors() == before
    assert not [one for one in before if one.startswith("pipe:")]
    child.kill()
    assert child.wait(5) == -signal.SIGKILL


def test_a_child_outlives_its_server_and_shows_its_own_command(server: ForkServer, tmp_path: Path) -> None:
    child = start(server, tmp_path, "sleep", "here")
    deadline = time.monotonic() + 5
    while (shown := Path(f"/proc/{child.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0"))[-1] != b"here":
        assert time.monotonic() < deadline, shown
        time.sleep(0.01)
    assert shown == [os.fsencode(sys.executable), b"-m", b"light_program", b"sleep", b"here"]
    server.close()
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    assert child.wait(5) == -signal.SIGTERM


def test_without_its_server_a_process_is_started_plainly_and_the_record_says_so(
    server: ForkServer, tmp_path: Path
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.begin({})
    spawn = spawn_from(server, run)
    argv = [sys.executable, "-m", "light_program", "exit", "7"]
    assert spawn(argv, log=tmp_path / "log").wait(20) == 7
    assert not list(run.events_of(Note))
    server.process.kill()
    for _ in range(2):
        plain = spawn(argv, log=tmp_path / "log")
        assert isinstance(plain, subprocess.Popen)
        assert plain.wait(20) == 7
    (note,) = run.events_of(Note)
    assert note.what == "server_lost"
    assert "the test server is lost" in note.text


@pytest.mark.parametrize(("need", "why"), [("crowded", "started 1 threads"), ("no_such_module", "No module named")])
def test_a_server_that_cannot_fork_says_why(programs: Path, need: str, why: str) -> None:
    server = ForkServer("test", {"light_program": "light_program:main"}, [need])
    deadline = time.monotonic() + 20
    while not server.ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    plain = start(server, programs, "exit", "4")
    assert isinstance(plain, subprocess.Popen)
    assert plain.wait(20) == 4
    assert server.lost is not None
    assert why in server.lost


def test_a_child_that_nobody_takes_over_runs_nothing(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faultload.run.warm._parent_of", lambda pid: None)  # as on a kernel without subreapers
    plain = start(server, tmp_path, "say")
    assert isinstance(plain, subprocess.Popen)
    assert json.loads(said(plain, tmp_path))["pid"] == plain.pid, "the program ran twice"
    assert server.lost == "this kernel does not hand processes on"


def test_a_server_ends_with_its_client(programs: Path) -> None:
    client = "import time\nfrom faultload.run.warm import ForkServer\n"
    client += "server = ForkServer('test', {'light_program': 'light_program:main'})\n"
    client += "print(server.process.pid, flush=True)\ntime.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", client], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server = identify(int(process.stdout.readline()))
        assert server is not None
        process.kill()
    deadline = time.monotonic() + 5
    while state_of(server) not in (None, "Z"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
