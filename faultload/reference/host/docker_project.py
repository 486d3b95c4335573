"""A compose project as the engine sees it: its containers, their logs, and how to remove all of it."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from faultload.host import state
from faultload.host.private import write_bytes
from faultload.platforms.docker.client import NUMBER, PROJECT, SERVICE, asking
from faultload.record.redactor import Redactor

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.networks import Network

LOG_BYTES = 10 * 1024 * 1024
_ROUNDS = 20


def project_of(name: str) -> str:
    """The compose project of a reference system: one for each state folder, so that two never share containers."""
    owner = f"{platform.node()}:{state.state_home()}"
    return f"faultload-{name}-{hashlib.sha256(owner.encode()).hexdigest()[:8]}"


@contextmanager
def engine(timeout_s: float = 30.0) -> Iterator[DockerClient]:
    """A client with a time-out of its own for the engine that the environment names.

    Raises TargetError when none answers.
    """
    with asking("answer"):
        import docker

        client = docker.from_env(timeout=int(timeout_s))
        client.ping()
    try:
        yield client
    finally:
        client.close()


def compose_command() -> tuple[str, ...] | None:
    """`docker compose`, or the older `docker-compose`; None when there is neither."""
    for command in (("docker", "compose"), ("docker-compose",)):
        try:
            found = subprocess.run([*command, "version"], capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if found.returncode == 0:
            return command
    return None


def containers(client: DockerClient, project: str, *, stopped: bool = True) -> list[Container]:
    """The containers of a project, as they are now."""
    found = client.containers.list(all=stopped, filters={"label": f"{PROJECT}={project}"}, ignore_removed=True)
    return list(found)


def title(container: Container) -> str:
    """`api-1`: service and number, without the project."""
    labels = container.labels
    return f"{labels.get(SERVICE, container.name)}-{labels.get(NUMBER, '1')}"


def save_logs(client: DockerClient, project: str, folder: Path) -> None:
    """Keep the end of every container's log as `SERVICE-NUMBER.log` in a folder that exists."""
    from docker.errors import APIError

    if not folder.is_dir():
        return
    for container in containers(client, project):
        try:
            text = container.logs(tail=20_000)
        except APIError:
            continue  # removed meanwhile
        write_bytes(folder / f"{title(container)}.log", Redactor.from_environment().data(text)[-LOG_BYTES:])


def remove(client: DockerClient, project: str) -> list[str]:
    """Remove containers, networks and volumes of a project; returns what would not go, in words.

    It looks again until nothing is found: an engine may still be making what a killed compose had asked for.
    """
    left: list[str] = []
    for attempt in range(_ROUNDS):
        if attempt:
            time.sleep(min(0.2 * attempt, 1.0))
        found = containers(client, project)
        with ThreadPoolExecutor(8) as pool:
            left = [what for what in pool.map(_remove_container, found) if what]
        if not found:
            left = _remove_networks_and_volumes(client, project)
            if not left and attempt:
                return []
    return left


def _remove_container(container: Container) -> str | None:
    from docker.errors import APIError, NotFound

    try:
        container.remove(force=True, v=True)
    except NotFound:
        return None
    except APIError as error:
        return f"container {container.name}: {error.explanation or error}"
    return None


def _let_go(client: DockerClient, network: Network) -> str:
    """Take from a network what no container has any more; who is still on it, in words.

    An engine may keep the end of a container that it removed, and then refuses to remove the network.
    """
    from docker.errors import APIError, NotFound

    there = []
    try:
        network.reload()
        for container, end in (network.attrs["Containers"] or {}).items():
            try:
                client.containers.get(container)
                there.append(end["Name"])
            except NotFound:
                network.disconnect(end["Name"], force=True)
    except APIError:
        pass  # it is asked again in the next round
    return f" ({', '.join(sorted(there))})" if there else ""


def _remove_networks_and_volumes(client: DockerClient, project: str) -> list[str]:
    from docker.errors import APIError, NotFound

    left = []
    wanted = {"label": f"{PROJECT}={project}"}
    for network in client.networks.list(filters=wanted):
        try:
            network.remove()
        except NotFound:
            continue
        except APIError as error:
            joined = _let_go(client, network)
            left.append(f"network {network.name}: {error.explanation or error}{joined}")
    for volume in client.volumes.list(filters=wanted):
        try:
            volume.remove(force=True)
        except NotFound:
            continue
        except APIError as error:
            left.append(f"volume {volume.name}: {error.explanation or error}")
    return left
