"""The Docker platform: instances are containers of a compose project, or containers with labels."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from faultload.errors import TargetError
from faultload.platforms import docker_client
from faultload.platforms.base import Instance, Platform
from faultload.platforms.local_processes import http_status

if TYPE_CHECKING:
    from docker.models.containers import Container

_ANSWER_S = 2.0


def instance_of(service: str, one: Container, port: int | None) -> Instance:
    """A container as an instance."""
    return Instance(service, str(one.id), docker_client.started_at(one), str(one.name), port)


class Docker(Platform):
    """Containers found by compose project and service, or by labels."""

    def identity(self) -> str:
        """The engine's own id, and the compose project or the labels."""
        with docker_client.engine() as docker:
            engine = str(docker.info()["ID"])
        parts = {str(self.target.project)} if self.target.project else set()
        for service in self.target.services.values():
            parts |= {f"{key}={value}" for key, value in (service.labels or {}).items()}
        return f"docker:{engine}:{','.join(sorted(parts))}"

    @property
    def here(self) -> bool:
        """A socket of this machine, or an address of its loopback."""
        parts = urlsplit(docker_client.client().api.base_url)
        if parts.scheme in ("http+docker", "http+unix", "unix"):
            return True
        host = parts.hostname or ""
        try:
            return host in ("localhost", "localunixsocket") or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def instances(self, service: str) -> list[Instance]:
        port = self.target.services[service].port
        return [instance_of(service, one, port) for one in docker_client.containers_of(self.target, service)]

    def ready(self, service: str) -> list[Instance]:
        """The instances that are ready now."""
        port = self.target.services[service].port
        found = docker_client.containers_of(self.target, service)
        return [instance_of(service, one, port) for one in found if self._answers(service, one)]

    def not_ready(self, service: str) -> list[str]:
        declared = self.target.services[service]
        if declared.patroni is not None:
            from faultload.platforms.patroni import cluster_problems

            return cluster_problems(service, declared.patroni)
        floor = declared.declared if declared.min_ready is None else declared.min_ready
        ready = len(self.ready(service))
        if ready >= floor:
            return []
        return [f"{service}: {ready} of {declared.declared} containers are ready, {floor} must be"]

    def _answers(self, service: str, one: Container) -> bool:
        """Running, not paused, and: its health path answers 200, or its own health check says so, or none is."""
        state = one.attrs["State"]
        if not state.get("Running") or state.get("Paused") or state.get("Restarting"):
            return False
        declared = self.target.services[service]
        address = docker_client.address_of(one)
        if declared.port is not None and address is not None and self.here:
            if declared.health is not None:
                return http_status(f"http://{address}:{declared.port}{declared.health}", _ANSWER_S) == 200
            try:
                socket.create_connection((address, declared.port), _ANSWER_S).close()
            except OSError:
                return False
            return True
        own = (state.get("Health") or {}).get("Status")
        return own in (None, "healthy")

    def preflight(self, kinds: Collection[str]) -> list[str]:
        """Whether the engine answers."""
        try:
            with docker_client.engine() as docker:
                docker.ping()
        except TargetError as error:
            return [str(error)]
        return []


PLATFORM = Docker
