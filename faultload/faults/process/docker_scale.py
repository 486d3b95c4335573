"""`scale` on Docker: removes containers of a service, or adds copies of a running one."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.containers import HELPER_S, OnContainers, each, need_removable, take_back_later
from faultload.faults.process.docker import stop_timeout_s
from faultload.platforms.base import Instance, names
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker import helper as docker_helper
from faultload.platforms.docker.client import FAULT_LABEL, INSTANCE_LABEL, NUMBER
from faultload.platforms.docker.platform import Docker
from faultload.platforms.local.processes import wait_until

if TYPE_CHECKING:
    from docker.models.containers import Container

_NOTICED_S = 5.0
_READY_S = 30.0
_NOT_OF_THE_NEW = ("PortBindings", "PublishAllPorts", "ContainerIDFile", "AutoRemove", "Links")


@makes("scale", "docker")
class Scale(OnContainers):
    """The surplus stopped, or more made from the configuration of one that runs.

    An added container shares networks, aliases and volumes with the one it is made like, and publishes no port.
    """

    needs_helper = True
    preparation_s = HELPER_S
    made_by = (
        "the engine stops surplus containers, or creates more with the configuration of a running one, without "
        "its ports"
    )
    needs = "a helper container with the engine's socket, which reverts it if nothing else does"
    witnessed_by = "the requested number of containers runs, and the added ones are ready"
    undone_by = (
        "starts the stopped containers and removes the added ones; the helper does so too, 5 s after the fault's "
        "duration"
    )

    @property
    def to(self) -> int:
        return int(self.request.arguments["to"])

    def resolve(self) -> list[Instance]:
        """Those that would be stopped, chosen by seed; the one that more would be made like."""
        running = Docker(self.target).instances(self.service)
        if not running:
            raise Refused(f"service '{self.service}' has no running container: nothing to scale")
        if len(running) == self.to:
            raise Refused(f"service '{self.service}' has {self.to} running containers already")
        if self.to > len(running):
            self._need_copyable(running)
            return running[:1]
        chosen = random.Random(f"{self.request.seed}:{self.request.fault_id.split('@')[0]}").sample(
            running, len(running) - self.to
        )
        return sorted(chosen, key=lambda one: (one.name, one.id))

    def _need_copyable(self, running: Sequence[Instance]) -> None:
        """Raise Refused where a second container could damage what the first one writes."""
        if self.target.services[self.service].patroni is not None:
            raise Refused(f"service '{self.service}' is a database: a copy of a member would share its data")
        written = [_written(docker_client.container(one.id)) for one in running]
        alone = sorted(written[0].difference(*written[1:])) if len(written) > 1 else sorted(written[0])
        if alone:
            raise Refused(
                f"{running[0].name} is the only one of service '{self.service}' that writes to {', '.join(alone)}: "
                "another container beside it could damage what is there"
            )

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        running = Docker(self.target).instances(self.service)
        found = self.the_very(instances)
        if self.to > len(running):
            return {"running": len(running), "make": self.to - len(running), "stop": []}
        for one in found:
            need_removable(one, "scale")
        return {"running": len(running), "make": 0, "stop": [one.id for one in found]}

    def prepare(self, instances: Sequence[Instance]) -> None:
        """The helper that starts what is going to be stopped; one that removes needs to know what was made."""
        if self.to < len(Docker(self.target).instances(self.service)):
            take_back_later("start", self.the_very(instances), self.request.fault_id, self.expires_s)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        found, fault_id = self.the_very(instances), self.request.fault_id
        if plan["stop"]:
            each(lambda one: one.stop(timeout=stop_timeout_s(one)), found, "stop")
            return
        taken = docker_client.containers_of(self.target, self.service, stopped=True)
        made = [_copy(found[0], taken, number, fault_id) for number in range(int(plan["make"]))]
        take_back_later("remove", made, fault_id, self.expires_s)
        each(lambda one: one.start(), made, "start")

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        platform = Docker(self.target)
        wait_until(lambda: len(platform.instances(self.service)) == self.to, _NOTICED_S)
        running = platform.instances(self.service)
        what = f"{len(running)} containers run: {names(running) or 'none'}"
        if len(running) != self.to:
            return WitnessReport(False, f"{what}; {self.to} were asked for")
        added = {str(one.id) for one in self._made()}
        wait_until(lambda: added <= {one.id for one in platform.ready(self.service)}, _READY_S, 0.2)
        late = added - {one.id for one in platform.ready(self.service)}
        return WitnessReport(not late, f"{what}; {len(added)} were added, {len(late)} of them are not ready")

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """As many run as were asked for; of a stopped surplus none came back, of the added ones none is gone."""
        running = {one.id for one in Docker(self.target).instances(self.service)}
        back = [one.name for one in instances if plan["stop"] and one.id in running]
        gone = [str(one.name) for one in self._made() if str(one.id) not in running]
        over = [*(f"{name} runs again" for name in back), *(f"{name} ended" for name in gone)]
        if not over and len(self._made()) < int(plan["make"]):
            over = ["an added container was removed"]
        return WitnessReport(not over, "; ".join(over) or f"{len(running)} containers run")

    def _made(self) -> list[Container]:
        return [one for one in docker_helper.made_by(self.request.fault_id) if INSTANCE_LABEL in one.labels]

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        stopped = [one for id_ in plan["stop"] if (one := docker_client.container(str(id_))) is not None]
        each(lambda one: one.start(), [one for one in stopped if not docker_client.runs(one)], "start")
        for one in self._made():
            docker_helper.remove_container(one)
        docker_helper.remove(self.request.fault_id)

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Those that were stopped are ready again, and none that was made is left."""
        left = docker_helper.made_by(self.request.fault_id)
        if left:
            return WitnessReport(False, f"still there: {', '.join(str(one.name) for one in left)}")
        stopped = {str(id_) for id_ in plan["stop"]}
        back = [one for one in Docker(self.target).ready(self.service) if one.id in stopped]
        what = f"{len(back)} of {len(stopped)} that were stopped are ready" if stopped else "what was added is gone"
        return WitnessReport(len(back) >= len(stopped), what)


def _written(one: Container | None) -> set[str]:
    """Volumes and folders that a container may write to, and that a copy of it would share."""
    if one is None:
        raise TargetError("a container ended meanwhile")
    shared = set()
    for mount in one.attrs["Mounts"]:
        own = mount["Type"] == "volume" and re.fullmatch(r"[0-9a-f]{64}", mount.get("Name") or "")
        if mount["RW"] and mount["Type"] in ("volume", "bind") and not own:
            shared.add(str(mount.get("Name") or mount["Source"]))
    return shared


def _copy(like: Container, taken: Sequence[Container], index: int, fault_id: str) -> Container:
    """Make, and do not start, a container like another one: with the next number, and without published ports."""
    numbers = [int(one.labels[NUMBER]) for one in taken if one.labels.get(NUMBER, "").isdigit()]
    number = max(numbers, default=len(taken)) + 1 + index
    attrs, short = like.attrs, str(like.id)[:12]
    config = {key: value for key, value in attrs["Config"].items() if key not in ("Hostname", "MacAddress")}
    if attrs["Config"].get("Hostname") not in (None, "", short):
        config["Hostname"] = attrs["Config"]["Hostname"]
    config["Image"] = attrs["Image"]
    config["Labels"] = {**like.labels, NUMBER: str(number), FAULT_LABEL: fault_id, INSTANCE_LABEL: str(like.id)}
    config["HostConfig"] = {key: value for key, value in attrs["HostConfig"].items() if key not in _NOT_OF_THE_NEW}
    endpoints = {
        name: {"Aliases": [one for one in endpoint.get("Aliases") or [] if one not in (short, like.name)]}
        for name, endpoint in (attrs["NetworkSettings"].get("Networks") or {}).items()
    }
    first = _own_network(attrs, endpoints)
    if first is not None:
        config["NetworkingConfig"] = {"EndpointsConfig": {first: endpoints[first]}}
    stem = re.sub(r"([-_])\d+$", "", str(like.name))
    client = docker_client.client()
    with docker_client.asking(f"make a container like {like.name}"):
        # a name of its own: the next number is what compose would take
        api: Any = client.api
        made = api.create_container_from_config(config, f"{stem}-{number}-faultload")
        # an engine before 25 connects a new container to one network only
        for name, endpoint in endpoints.items():
            if name != first:
                client.networks.get(attrs["NetworkSettings"]["Networks"][name]["NetworkID"]).connect(
                    made["Id"], aliases=endpoint["Aliases"]
                )
    found = docker_client.container(made["Id"])
    if found is None:
        raise TargetError(f"the container created from {like.name} is gone again")
    return found


def _own_network(attrs: Mapping[str, Any], endpoints: Mapping[str, Any]) -> str | None:
    """The network that a container is made with; its name may be written as an id, or as `default`."""
    mode = attrs["HostConfig"].get("NetworkMode") or ""
    if mode == "host" or mode == "none" or mode.startswith("container:"):
        return None
    for name, endpoint in attrs["NetworkSettings"]["Networks"].items():
        if mode in (name, endpoint.get("NetworkID")):
            return str(name)
    return next(iter(endpoints), None)
