"""Brings a compose project up: the image, the containers, and the target file once everything is ready.

A process of its own, so that whoever asked may do other things, or die.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from faultload.errors import TargetError
from faultload.host import state
from faultload.host.private import write_text
from faultload.reference.host import docker_image, docker_project, startrecord
from faultload.reference.host.targetfile import write_target

log = logging.getLogger("compose")

UP_LIMIT_S = 600.0
"""Of images that have to be pulled: those of the profile `observability`."""
READY_LIMIT_S = 300.0


class Project(Protocol):
    """What a reference system's `containers` module plans."""

    @property
    def variables(self) -> Mapping[str, str]: ...
    async def not_ready(self) -> str | None: ...
    async def when_ready(self) -> None: ...
    def target(self) -> dict[str, Any]: ...


def bring_up(name: str, target_id: str, folder: Path, defects: frozenset[str]) -> None:
    """From nothing to the target file. Raises TargetError."""
    project = docker_project.project_of(name)
    with docker_project.engine(timeout_s=1200) as client:
        image = docker_image.ensure(client, name, log.info)
    module = importlib.import_module(f"faultload.reference.systems.{name}.containers")
    planned: Project = module.Containers.plan(project, image, defects)
    variables = "".join(f"{key}={value}\n" for key, value in planned.variables.items())
    write_text(folder / "compose.env", variables)
    state.write_json(folder / "image.json", {"image": image})
    compose(project, module.COMPOSE_FILE, planned.variables, "up", "-d", "--no-build", *module.SERVICES)
    asyncio.run(become_ready(planned))
    identity = {"id": target_id, "name": name, "platform": "docker"}
    write_target(folder / "target.yaml", identity | planned.target())
    log.info("ready")


def compose(project: str, file: Path, variables: Mapping[str, str], *words: str) -> None:
    """Run compose on a project. Raises TargetError; what it says goes to this process' own log."""
    command = docker_project.compose_command()
    if command is None:
        raise TargetError("neither `docker compose` nor `docker-compose` is installed")
    argv = [*command, "--ansi", "never", "-p", project, "-f", str(file), *words]
    log.info("%s", " ".join(argv))
    try:
        done = subprocess.run(argv, env={**os.environ, **variables}, timeout=UP_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise TargetError(f"compose {words[0]} took more than {UP_LIMIT_S:g} s") from None
    if done.returncode != 0:
        raise TargetError(f"compose {words[0]} ended with {done.returncode}")


async def become_ready(planned: Project) -> None:
    """Wait for the whole path, saying what is missing whenever that changes. Raises TargetError at the limit."""
    said: str | None = ""
    deadline = time.monotonic() + READY_LIMIT_S
    while (missing := await planned.not_ready()) is not None:
        if missing != said:
            log.info("%s", missing)
            said = missing
        if time.monotonic() >= deadline:
            raise TargetError(f"not ready after {READY_LIMIT_S:g} s: {missing}")
        await asyncio.sleep(0.2)
    await planned.when_ready()


def main() -> None:
    """A failed start leaves its reason in `failed.json` and the containers' logs beside its own."""
    given = startrecord.arguments("faultload.reference.host.docker_up")
    try:
        bring_up(given.name, given.id, given.folder, frozenset(given.defect))
    except Exception as error:
        log.error("the start failed: %s", error, exc_info=not isinstance(error, TargetError))
        startrecord.failed(given.folder, str(error))
        with docker_project.engine() as client:
            docker_project.save_logs(client, docker_project.project_of(given.name), given.logs)
        sys.exit(1)


if __name__ == "__main__":
    main()
