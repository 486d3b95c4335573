"""What all faults on containers share: choosing them, recognising them again, and telling when all is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from faultload.errors import Refused, TargetError
from faultload.faults.base import PlatformFault, WitnessReport, choose
from faultload.faults.network.local import EXPIRY_MARGIN_S
from faultload.platforms.base import Instance, names
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker import helper as docker_helper
from faultload.platforms.docker.platform import Docker, answers

if TYPE_CHECKING:
    from docker.models.containers import Container

T = TypeVar("T")
R = TypeVar("R")
HELPER_S = 5.0
"""How long a helper container may take to start on a machine that is busy."""
_SOCKET = "/var/run/docker.sock"


class OnContainers(PlatformFault):
    """A fault on some containers of a service."""

    gone_within_s = 30.0
    look_every_s = 2.0
    needs_helper: ClassVar[bool] = False
    """Whether it runs in a helper container: preflight then looks whether its image can be had."""

    @property
    def service(self) -> str:
        return str(self.request.arguments["service"])

    @property
    def expires_s(self) -> float:
        """When the fault ends by itself on the engine's side, seconds after its injection."""
        return self.request.duration_s + EXPIRY_MARGIN_S

    def resolve(self) -> list[Instance]:
        return choose(self.request, self.service, Docker(self.target).instances(self.service))

    def release(self) -> None:
        docker_helper.remove(self.request.fault_id)

    def the_very(self, instances: Sequence[Instance]) -> list[Container]:
        """The containers that were chosen, as they are now. Raises TargetError when one is not the same."""
        found = []
        for instance in instances:
            one = docker_client.container_of(instance)
            if one is None:
                raise TargetError(f"{instance.label} ended or restarted before the fault, so nothing was touched")
            if docker_client.state_of(one)["Paused"]:
                raise TargetError(f"{instance.label} was paused before the fault: nothing was touched")
            found.append(one)
        return found

    def same_life(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those of the instances that run since the very same start."""
        return [instance for instance in instances if docker_client.container_of(instance) is not None]

    def back(self, instances: Sequence[Instance]) -> WitnessReport:
        """Whether those of the instances that still run since the same start answer."""
        declared = self.target.services[self.service]
        alive = [(one, found) for one in instances if (found := docker_client.container_of(one)) is not None]
        silent = [one for one, found in alive if not answers(declared, found)]
        if silent:
            return WitnessReport(False, f"do not answer yet: {names(silent)}")
        here = names([one for one, _ in alive])
        return WitnessReport(True, f"run and answer: {here}" if alive else "the containers ended meanwhile")


def at_once(action: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do something with several things at the same time; all are tried before the first error is raised."""
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(action, one) for one in items]
    return [future.result() for future in futures]


def each(action: Callable[[Container], object], containers: Sequence[Container], what: str) -> None:
    """Do something with several containers at once, but for one that was removed meanwhile. Raises TargetError."""
    from docker.errors import NotFound

    def do(one: Container) -> None:
        with docker_client.asking(f"{what} {one.name}"), suppress(NotFound):
            action(one)

    at_once(do, containers)


def need_removable(one: Container, kind: str) -> None:
    """Raise Refused for a container that its engine removes when it ends."""
    if one.attrs["HostConfig"].get("AutoRemove"):
        raise Refused(f"{one.name} was started with --rm: after {kind} nothing could bring it back")


def started_text(one: Container) -> str:
    """When a container was started, as the engine writes it."""
    return str(docker_client.state_of(one)["StartedAt"])


def take_back_later(what: str, containers: Sequence[Container], fault_id: str, after_s: float) -> None:
    """Start a helper beside the engine that takes a fault back when its time is over; see `engine_timer`.

    Its time begins when it sees the fault, so it may be started before. It has the engine's own socket, so it works
    where every process of faultload died. Raises TargetError.
    """
    marks = [f"{one.id}@{started_text(one)}" for one in containers]
    argv = ["python3", "-m", "faultload.agents.container.engine_timer", f"{after_s:.1f}", what, *marks]
    docker_helper.start(argv, fault_id, mounts=[_socket_mount()])


def _socket_mount() -> Mapping[str, Any]:
    from docker.types import Mount

    url = docker_client.engine_url()
    source = url.removeprefix("unix://") if url.startswith("unix://") else _SOCKET
    return Mount(target="/run/engine.sock", source=source, type="bind")
