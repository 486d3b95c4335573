"""A reference system on Docker: a compose project, started, watched and removed from any process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.errors import InvalidInput, Mistake, TargetError
from faultload.host import state
from faultload.host.processes import ProcessId, descendants, end, identify, spawn
from faultload.platforms.docker import client as docker_client
from faultload.reference.host import docker_image, docker_project, startrecord
from faultload.reference.host.lifecycle import Status

PLATFORM = "docker"
BUILD_LIMIT_S = 1200.0
"""How long an image that is not there may take before a start is given up."""


@dataclass(frozen=True, slots=True)
class DockerStarted:
    """A compose project on its way up."""

    name: str
    folder: Path
    logs: Path
    process: subprocess.Popen[bytes]

    @property
    def target_file(self) -> Path:
        return self.folder / "target.yaml"

    @property
    def _log(self) -> Path:
        return self.logs / "compose.log"

    def wait_ready(self, timeout_s: float = 60) -> Path:
        """The target file, once the whole system is ready; the time to build a missing image does not count.

        Raises TargetError with the last log lines when the start failed, or at the time-out.
        """
        limit_s, since, built = BUILD_LIMIT_S, time.monotonic(), False
        while not self.target_file.exists():
            code = self.process.poll()
            if code is not None and not self.target_file.exists():
                why = startrecord.reason(self.folder) or f"its start ended with {code}"
                raise TargetError(f"{self.name} did not start: {why}\n{startrecord.end_of(self._log)}")
            if not built and (self.folder / "image.json").exists():
                limit_s, since, built = timeout_s, time.monotonic(), True
            if time.monotonic() - since >= limit_s:
                what = "ready" if built else "built"
                raise TargetError(f"{self.name} is not {what} after {limit_s:g} s\n{startrecord.end_of(self._log)}")
            time.sleep(0.05)
        return self.target_file


def check(name: str) -> None:
    """Raise InvalidInput when it cannot be started here: no engine, no compose, nothing to build the image from."""
    try:
        with docker_project.engine() as client:
            if not docker_client.engine_is_here():
                hint = "unset DOCKER_HOST, or declare your own system in a target file"
                where = docker_client.engine_url()
                why = f"the engine at {where} publishes ports on its own loopback, not on this machine's"
                raise InvalidInput(Mistake(why, hint=hint))
            if docker_project.compose_command() is None:
                hint = "apt-get install docker-compose, or Docker's compose plugin"
                raise InvalidInput(Mistake("neither `docker compose` nor `docker-compose` is installed", hint=hint))
            docker_image.check(client, name)
    except TargetError as error:
        raise InvalidInput(Mistake(str(error))) from None


def start(
    name: str,
    *,
    defects: tuple[str, ...] = (),
    logs: Path | None = None,
    owner: ProcessId | None = None,
    extra_env: Mapping[str, str] | None = None,
) -> DockerStarted:
    """Start it and return at once; it lives until `stop`, whatever becomes of the caller.

    Raises Refused when one is up already.
    """
    startrecord.refuse_second(status(name))
    left = stop(name)
    if left:
        raise TargetError(f"what is left of an earlier {name} does not go: {', '.join(left)}")
    folder = startrecord.claim(name, PLATFORM)
    logs = (logs or folder / "logs").absolute()
    argv = startrecord.command("faultload.reference.host.docker_up", name, PLATFORM, folder, logs, defects)
    known = startrecord.entry(defects, logs, owner)
    state.write_json(_record(folder), known)
    process = spawn(argv, log=logs / "compose.log", env=extra_env)
    identity = identify(process.pid)
    state.write_json(_record(folder), known | {"starter": None if identity is None else identity.to_json()})
    return DockerStarted(name, folder, logs, process)


def stop(name: str) -> list[str]:
    """Remove every container, network and volume of it; returns what would not go, in words.

    Works from any process, when it is half started, and when it is not up, too. The containers' logs are kept where
    its other logs are.
    """
    folder = startrecord.folder_of(name, PLATFORM)
    if not folder.exists():
        return []
    found: dict[str, Any] = state.read_json(_record(folder)) or {}
    starter = startrecord.process_in(found, "starter")
    left = []
    if starter is not None:
        below = descendants(starter)
        left = [f"process {process.pid}" for process in end([starter, *below])]
        startrecord.reap(starter)
    project = docker_project.project_of(name)
    try:
        with docker_project.engine(timeout_s=60) as client:
            if "logs" in found and not Path(found["logs"]).is_relative_to(folder):
                docker_project.save_logs(client, project, Path(found["logs"]))
            left += docker_project.remove(client, project)
    except TargetError as error:
        left.append(f"compose project {project}: {error}")
    return left or startrecord.forget(folder)


def status(name: str) -> Status | None:
    """What is known of it, or None when it is not up."""
    found = state.read_json(_record(startrecord.folder_of(name, PLATFORM)))
    if found is None:
        return None
    starter = startrecord.process_in(found, "starter")
    starting = starter is not None and starter.alive()
    pids = {"compose": starter} if starting and starter is not None else {}
    running = starting or _has_containers(name)
    return startrecord.status_of(name, PLATFORM, found, running=running, pids=pids)


def _has_containers(name: str) -> bool:
    """Whether any of its containers runs; False when no engine answers."""
    with suppress(TargetError), docker_project.engine() as client:
        return bool(docker_project.containers(client, docker_project.project_of(name), stopped=False))
    return False


def _record(folder: Path) -> Path:
    return folder / "compose.json"
