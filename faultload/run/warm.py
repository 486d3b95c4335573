"""Starts a run's processes warm, forked from servers that have done the imports.

Two servers: load processes come from one that has imported Locust, chaos processes and wardens from another that
never does, since Chaos Toolkit would hang under gevent's patches. Where a server is missing or lost, its
processes are started plainly.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from faultload.host.processes import Process, Spawn, stat_fields
from faultload.record.directory import RunDirectory
from faultload.record.logs import open_log, spawn
from faultload.run.forkserver import LONGEST, Job

LOAD = {
    "faultload.load.worker": "faultload.load.worker:run_to_exit",
    "faultload.load.verify": "faultload.load.verify:main",
}
"""Programs of the load server: what `python -m` calls them, and the function that does the same."""
WARDEN = {"faultload.chaos.warden": "faultload.chaos.warden:main"}
CHAOS = {**WARDEN, "chaostoolkit": "chaostoolkit.cli:cli"}
_CHAOS_NEEDS = (
    "faultload.chaos.actions",
    "faultload.chaos.findings",
    "faultload.verdict.live_baseline",
    "chaoslib.provider.python",
)
"""What every chaos process imports beside its program."""
REPLY_S = 8.0
"""So long is a server waited for, at most: shorter than the silence after which a warden takes over."""
_CHILD_SUBREAPER = 36  # prctl
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""No library of a server starts a thread: a fork would not have it."""
_ROOM = "-" * 4000


@contextmanager
def one_thread() -> Iterator[None]:
    """Import numerical libraries in it: they start no threads, which would take more time than they save."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before


class WarmProcess:
    """A forked process, this one's own child; what `Popen` says of one, in the same words."""

    def __init__(self, pid: int, stdin: IO[bytes] | None) -> None:
        self.pid = pid
        self.stdin = stdin
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(0.01)
        return code

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:  # not waited for yet: the pid is still its own
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(9)


class ForkServer:
    """One server; `spawn` is that of faultload.host.processes, with a warm start where it can be had."""

    def __init__(
        self, name: str, programs: Mapping[str, str], needs: Iterable[str] = (), cwd: Path | None = None
    ) -> None:
        self.name = name
        self.lost: str | None = None
        """Why processes are started plainly; None while the server is there."""
        self._programs = programs
        self._ready = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(REPLY_S)
        modules = dict.fromkeys([*(entry.partition(":")[0] for entry in programs.values()), *needs])
        argv = [sys.executable, "-m", "faultload.run.forkserver", str(theirs.fileno()), ",".join(modules), _ROOM]
        with theirs:
            self.process = spawn(argv, env=_ONE_THREAD, cwd=cwd, pass_fds=[theirs.fileno()])

    def ready(self) -> bool:
        """Whether the server has imported everything; True as well where it is lost, for nobody has to wait."""
        while self.lost is None and not self._ready and select.select([self._socket], [], [], 0)[0]:
            try:
                self._answer()
            except OSError as error:
                self._lose(str(error))
        return self._ready or self.lost is not None

    def spawn(
        self,
        argv: Sequence[str],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Iterable[int] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> Process:
        """Start `[python, "-m", a program of this server, ...]`, plainly where the server is lost."""
        pass_fds = tuple(pass_fds)
        if self.lost is None:
            job = Job(
                module=argv[2],
                entry=self._programs[argv[2]],
                arguments=tuple(argv[3:]),
                env={**os.environ, **(env or {})},
                cwd=str(cwd or Path.cwd()),
                descriptors=(0, 1, 2, *pass_fds),
            )
            try:
                return self._fork(job, log, stdin == subprocess.PIPE, pass_fds)
            except OSError as error:
                self._lose(str(error))
        return spawn(argv, log=log, env=env, cwd=cwd, pass_fds=pass_fds, stdin=stdin)

    def _fork(self, job: Job, log: Path | None, piped: bool, pass_fds: tuple[int, ...]) -> WarmProcess:
        waiting, go = os.pipe()
        reading, writing = os.pipe() if piped else (os.open(os.devnull, os.O_RDONLY), None)
        output = open_log(log)
        try:
            with _adopting():
                request = json.dumps(job.to_json()).encode()
                if len(request) >= LONGEST:
                    raise OSError("the environment is too long for a request")
                socket.send_fds(self._socket, [request], [waiting, reading, output, output, *pass_fds])
                while not (pid := self._answer()):
                    pass
                if _parent_of(pid) != os.getpid():
                    raise OSError("this kernel does not hand processes on")
                os.write(go, b".")
        except OSError:
            if writing is not None:
                os.close(writing)
            raise
        finally:
            for descriptor in (waiting, go, reading, output):
                os.close(descriptor)
        return WarmProcess(pid, None if writing is None else os.fdopen(writing, "wb"))

    def _answer(self) -> int:
        """The next pid that the server says, or 0 as soon as it says that it is ready. Raises OSError."""
        data = self._socket.recv(LONGEST)
        said = json.loads(data) if data else {"lost": "it ended"}
        if "lost" in said:
            raise OSError(said["lost"])
        if "ready" in said:
            self._ready = True
            return 0
        return int(said["pid"])

    def _lose(self, why: str) -> None:
        self.lost = why
        self.close()

    def close(self) -> None:
        """End the server; processes that it forked go on."""
        self._socket.close()
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Servers:
    """Those of one `faultload run`, shared by its scenarios."""

    load: ForkServer
    chaos: ForkServer

    def close(self) -> None:
        self.load.close()
        self.chaos.close()


@contextmanager
def warm_servers(faults: bool) -> Iterator[Servers | None]:
    """Start both servers, and end them; without faults that of chaos knows wardens only. None off Linux."""
    if sys.platform != "linux":
        yield None
        return
    # a chaos process runs in the run's folder: no module of the folder of the caller may come before its own
    chaos = ForkServer("chaos", CHAOS if faults else WARDEN, _CHAOS_NEEDS if faults else (), cwd=Path("/"))
    servers = Servers(ForkServer("load", LOAD), chaos)
    try:
        yield servers
    finally:
        servers.close()


def spawn_from(server: ForkServer | None, run: RunDirectory) -> Spawn:
    """How a run starts processes; a note in its record says when and why no longer warm."""
    if server is None:
        return spawn

    def start(argv: Sequence[str], **options: object) -> Process:
        was_lost = server.lost is not None
        process = server.spawn(argv, **options)  # type: ignore[arg-type]
        if server.lost is not None and not was_lost:
            text = f"the {server.name} server is lost ({server.lost}): processes are started without it"
            run.event("note", what="server_lost", text=text)
        return process

    return start


@contextmanager
def _adopting() -> Iterator[None]:
    """Meanwhile, a descendant whose parent ends becomes a child of this process (Linux)."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_CHILD_SUBREAPER, 0, 0, 0, 0)


def _parent_of(pid: int) -> int | None:
    try:
        return int(stat_fields(pid)[1])
    except FileNotFoundError:
        return None
