"""The docker platform: instances are containers of a compose project, or found by their labels."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from faultload.errors import TargetError
from faultload.platforms.base import Instance, Platform
from faultload.platforms.docker import client as docker_client
from faultload.platforms.local.processes import http_status
from faultload.spec.target import Service

if TYPE_CHECKING:
    from docker.models.containers import Container

LEAST_API = (1, 41)
"""Of Docker 20.10: older engines cannot give a helper the control groups of the machine."""
_HEALTH_S = 2.0


class Docker(Platform):
    """Containers found by the labels that the target file declares, through the engine of the environment."""

    def identity(self) -> str:
        """`docker:`, the engine's id, and the compose project; without a project the labels of its services."""
        with docker_client.asking("say who it is"):
            engine = docker_client.client().info()["ID"]
        if self.target.project:
            return f"docker:{engine}:{self.target.project}"
        pairs = {
            f"{name}={value}"
            for service in self.target.services
            for name, value in docker_client.labels_of(self.target, service).items()
        }
        return f"docker:{engine}:{','.join(sorted(pairs))}"

    @property
    def address(self) -> str:
        return docker_client.engine_url()

    def unproven(self) -> list[str]:
        """A reason where containers run, and none of them as a process of this machine."""
        found = [
            one for service in self.target.services for one in docker_client.containers_of(self.target, service)
        ]
        if not found or any(map(docker_client.process_is_here, found)):
            return []
        return [f"{found[0].name} of the engine at {self.address} is no process of this machine"]

    def instances(self, service: str) -> list[Instance]:
        port = self.target.services[service].port
        found = docker_client.containers_of(self.target, service)
        return [docker_client.instance_of(service, one, port) for one in found]

    def ready(self, service: str) -> list[Instance]:
        """Those that are not paused and answer on their health path, or are healthy as the engine sees it."""
        declared = self.target.services[service]
        found = docker_client.containers_of(self.target, service)
        if declared.patroni is None:
            with ThreadPoolExecutor(8) as pool:
                fit = list(pool.map(lambda one: answers(declared, one), found))
            found = [one for one, ready in zip(found, fit, strict=True) if ready]
        return [docker_client.instance_of(service, one, declared.port) for one in found]

    def not_ready(self, service: str) -> list[str]:
        """Fewer ready containers than there should be: `count`, or as many as there are, stopped ones too."""
        declared = self.target.services[service]
        if declared.patroni is not None:
            from faultload.platforms.databases.patroni import cluster_problems

            return cluster_problems(service, declared.patroni)
        wanted = declared.count or len(docker_client.containers_of(self.target, service, stopped=True)) or 1
        floor = wanted if declared.min_ready is None else declared.min_ready
        ready = len(self.ready(service))
        if ready >= floor:
            return []
        return [f"{service}: {ready} of {wanted} containers are ready, {floor} must be"]

    def preflight(self, faults: Mapping[str, type]) -> list[str]:
        """The engine, its version, the helper image where a fault needs it, and that each service can be asked."""
        try:
            client = docker_client.client()
            with docker_client.asking("answer"):
                client.ping()
        except TargetError as error:
            return [str(error)]
        found = []
        version = client.api.api_version
        if tuple(int(part) for part in version.split(".")) < LEAST_API:
            least = ".".join(map(str, LEAST_API))
            found.append(f"the Docker engine speaks API {version}: faults need {least} (Docker 20.10) or newer")
        if any(needs_helper(fault) for fault in faults.values()):
            from faultload.platforms.docker import image as helper_image

            problem = helper_image.problem(client)
            if problem is not None:
                found.append(problem)
        return found + [problem for service in self.target.services for problem in self._unknowable(service)]

    def _unknowable(self, service: str) -> list[str]:
        """A health path that nobody here can ask, of containers without a health check of their own."""
        declared = self.target.services[service]
        if declared.health is None or declared.patroni is not None:
            return []
        found = docker_client.containers_of(self.target, service)
        if declared.port is None:
            return [f"service '{service}' declares a health path but no port to ask it on: add port"]
        dumb = [one for one in found if not _own_check(one) and not docker_client.reachable(one, declared.port)]
        if not dumb:
            return []
        names = ", ".join(str(one.name) for one in dumb)
        return [
            f"service '{service}': port {declared.port} of {names} cannot be reached from here: publish it, or "
            "give the container a health check"
        ]


def needs_helper(fault: type) -> bool:
    """Whether a fault class says `needs_helper = True`: it runs in a helper container."""
    return bool(getattr(fault, "needs_helper", False))


def answers(service: Service, found: Container) -> bool:
    """Whether a container is ready: its health path answers 200, else its own health check passes.

    Where it has neither, its port connects, or it runs.
    """
    if not docker_client.runs(found) or docker_client.state_of(found)["Paused"]:
        return False
    place = docker_client.reachable(found, service.port) if service.port is not None else None
    if service.health is not None and place is not None:
        return http_status(f"http://{_host(place[0])}:{place[1]}{service.health}", _HEALTH_S) == 200
    if (check := _own_check(found)) is not None:
        return check == "healthy"
    if place is None:
        return True
    try:
        socket.create_connection(place, _HEALTH_S).close()
    except OSError:
        return False
    return True


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _own_check(found: Container) -> str | None:
    """What a container's own health check says; None without one."""
    status = (docker_client.state_of(found).get("Health") or {}).get("Status")
    return None if status in (None, "", "none") else str(status)


PLATFORM = Docker
