"""The Docker engine: one client a process, and the containers of a target's services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from faultload.errors import TargetError
from faultload.target import TargetFile

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
ONE_OFF = "com.docker.compose.oneoff"
FAULT_LABEL = "faultload.fault"
"""On everything that a fault makes: its id."""
RUN_LABEL = "faultload.run"
TIMEOUT_S = 20


@cache
def client() -> DockerClient:
    """The engine that the environment names (DOCKER_HOST). Raises TargetError when it cannot be had."""
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        raise TargetError("the Python package docker is missing: pip install docker") from None
    try:
        return docker.from_env(timeout=TIMEOUT_S)
    except DockerException as error:
        raise TargetError(_in_words(error)) from None


@contextmanager
def engine() -> Iterator[DockerClient]:
    """The client, with the engine's errors as TargetError in plain words."""
    import requests
    from docker.errors import DockerException

    try:
        yield client()
    except (DockerException, requests.exceptions.RequestException) as error:
        raise TargetError(_in_words(error)) from None


def _in_words(error: Exception) -> str:
    text = str(getattr(error, "explanation", None) or error)
    if "Permission denied" in text or "PermissionError" in text:
        return "the Docker engine may not be used by this user: add it to the group docker, or run as root"
    if "FileNotFoundError" in text or "ConnectionRefusedError" in text or "Connection refused" in text:
        return "no Docker engine answers: start it, or set DOCKER_HOST"
    return f"the Docker engine says: {text}"


def labels_of(target: TargetFile, service: str) -> dict[str, str]:
    """The labels that a declared service's containers have."""
    declared = target.services[service]
    labels = dict(declared.labels or {})
    if declared.compose is not None:
        labels |= {PROJECT: str(target.project), SERVICE: declared.compose}
    return labels


def containers_of(target: TargetFile, service: str, *, stopped: bool = False) -> list[Container]:
    """The running containers of a declared service by name, those with `stopped` too; no one-off commands.

    Containers that a fault made are left out, unless they stand for the service (`scale`).
    """
    wanted = labels_of(target, service)
    if not wanted:
        return []
    with engine() as docker:
        found = docker.containers.list(
            all=stopped, filters={"label": [f"{key}={value}" for key, value in wanted.items()]}, ignore_removed=True
        )
    kept = [one for one in found if one.labels.get(ONE_OFF, "False") != "True"]
    return sorted(kept, key=lambda one: str(one.name))


def container(container_id: str) -> Container | None:
    """A container by its id, or None when there is none (any more)."""
    from docker.errors import NotFound

    with engine() as docker:
        try:
            return docker.containers.get(container_id)
        except NotFound:
            return None


def started_at(one: Container) -> float:
    """When its main process was started, in seconds of the epoch; with the id it is the instance's identity."""
    text = str(one.attrs["State"]["StartedAt"])
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return round(seconds + float(f"0.{fraction or '0'}"), 6)


def addresses_of(one: Container) -> dict[str, str]:
    """The container's IPv4 address in each of its networks, by network name."""
    networks = one.attrs["NetworkSettings"]["Networks"] or {}
    return {name: str(found["IPAddress"]) for name, found in networks.items() if found.get("IPAddress")}


def address_of(one: Container, network: str | None = None) -> str | None:
    """One IPv4 address of a container: in the named network, or in its first; None without one."""
    found = addresses_of(one)
    return found.get(network) if network is not None else next(iter(found.values()), None)
