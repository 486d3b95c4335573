"""A reference system on Kubernetes, in its own namespace; any process can start, watch and stop it."""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import InvalidInput, Mistake, Refused, TargetError
from faultload.host import state
from faultload.host.private import make_folder, open_file
from faultload.host.processes import ProcessId, end
from faultload.platforms.kubernetes.client import current_context
from faultload.reference import catalogue
from faultload.reference.host import kubernetes_ways, startrecord
from faultload.reference.host.kubernetes_manifests import Placement
from faultload.reference.host.kubernetes_namespace import Namespace
from faultload.reference.host.lifecycle import Status
from faultload.reference.host.targetfile import write_target

PLATFORM = "kubernetes"
NAMESPACE_ENV = "FAULTLOAD_NAMESPACE"
IMAGE_ENV = "FAULTLOAD_REFERENCE_IMAGE"
"""An image that the nodes can pull; without it this machine's Docker engine builds one, for a cluster on it."""
REMOVED_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class KubernetesStarted:
    """A reference system on its way up."""

    name: str
    folder: Path
    logs: Path
    namespace: str
    context: str | None

    @property
    def target_file(self) -> Path:
        return self.folder / "target.yaml"

    def wait_ready(self, timeout_s: float = 180) -> Path:
        """Make the objects, and give the target file once the whole system is ready.

        Raises TargetError with what the pods wait for and their last log lines, at the latest at the time-out.
        """
        deadline = time.monotonic() + timeout_s
        namespace = Namespace(self.namespace, self.context)
        found = state.read_json(_record(self.folder))
        if found is None:
            raise TargetError(f"{self.name} was stopped while starting")
        system = importlib.import_module(f"faultload.reference.systems.{self.name}.on_kubernetes")
        place = Placement(
            name=self.name,
            namespace=self.namespace,
            image=self._image(),
            start_id=found["start"],
            password=secrets.token_hex(16),
            settings={system.DEFECTS_ENV: ",".join(found["defects"]), **found["env"]},
        )
        namespace.make(place)
        if not self.folder.exists():  # `stop` came before the namespace
            namespace.remove(place.start_id, REMOVED_WITHIN_S)
        ports = self._ways(namespace, system.NODE_PORTS, deadline)
        target = system.target(self.namespace, ports, place.password)
        defects = tuple(found["defects"])
        self._until(
            deadline, namespace, lambda: namespace.not_ready() or asyncio.run(system.not_ready(target, defects))
        )
        asyncio.run(system.when_ready(target, defects))
        target = {"id": catalogue.target_id(self.name, "kubernetes"), "name": self.name, **target}
        if self.context is not None:
            target["context"] = self.context
        write_target(self.target_file, target)
        return self.target_file

    def _image(self) -> str:
        named = os.environ.get(IMAGE_ENV)
        if named:
            return named
        from faultload.platforms.docker import image as helper_image
        from faultload.platforms.kubernetes import helper as kubernetes_helper
        from faultload.reference.host import docker_image, docker_project

        with open_file(self.logs / "image.log", "a") as log, docker_project.engine(timeout_s=600) as engine:
            if kubernetes_helper.IMAGE_ENV not in os.environ:
                helper_image.ensure(engine)  # faults will want it on the same node
            return docker_image.ensure(engine, self.name, lambda line: print(line, file=log, flush=True))

    def _ways(self, namespace: Namespace, wanted: Mapping[str, tuple[str, int]], deadline: float) -> dict[str, int]:
        """A loopback port for each NodePort; a forwarder's process is recorded before anything else is done."""
        self._until(deadline, namespace, namespace.not_ready)  # a NodePort answers once a ready pod is behind it
        ports = {name: namespace.node_port(*service) for name, service in wanted.items()}
        node = namespace.a_node()
        found = kubernetes_ways.direct(node, ports)
        if found is None:
            found, process = kubernetes_ways.forwarded(node, ports, self.logs / "forwarder.log")
            started = state.read_json(_record(self.folder)) or {}
            state.write_json(_record(self.folder), {**started, "forwarder": process.to_json()})
        return found

    def _until(self, deadline: float, namespace: Namespace, problem: Callable[[], str | None]) -> None:
        """Wait until there is no problem any more."""
        while (text := problem()) is not None:
            if time.monotonic() >= deadline:
                raise TargetError(f"{self.name} is not ready: {text}\n{namespace.last_lines()}".rstrip())
            if not self.folder.exists():
                raise TargetError(f"{self.name} was stopped while starting")
            time.sleep(0.25)


def check(name: str) -> None:
    """Raise InvalidInput when it cannot be started here: no cluster answers, or no image can be had."""
    try:
        Namespace("default", current_context()).reach()
    except TargetError as error:
        raise InvalidInput(Mistake(str(error), hint="`kubectl get nodes` must answer")) from None
    if os.environ.get(IMAGE_ENV):
        return
    from faultload.reference.host import docker_image, docker_project

    try:
        with docker_project.engine(timeout_s=600) as engine:
            docker_image.check(engine, name)
    except TargetError as error:
        hint = f"{IMAGE_ENV} names an image that the cluster's nodes can pull"
        raise InvalidInput(Mistake(f"the reference image cannot be built: {error}", hint=hint)) from None


def start(
    name: str,
    *,
    defects: tuple[str, ...] = (),
    logs: Path | None = None,
    owner: ProcessId | None = None,
    extra_env: Mapping[str, str] | None = None,
) -> KubernetesStarted:
    """Claim its namespace and return at once; it lives until `stop`, whatever becomes of the caller.

    Raises Refused when one is up already, here or in the namespace.
    """
    found = status(name)
    startrecord.refuse_second(found)
    if found is not None and (left := stop(name)):
        raise Refused(f"{name} was left behind and could not be removed: {', '.join(left)}")
    namespace = os.environ.get(NAMESPACE_ENV) or f"faultload-{name}"
    context = current_context()
    if Namespace(namespace, context).read() is not None:
        raise Refused(
            f"there is a namespace '{namespace}' that was not started from here: remove it, or name another one by "
            f"{NAMESPACE_ENV}"
        )
    folder = startrecord.claim(name, PLATFORM)
    logs = (logs or folder / "logs").absolute()
    make_folder(logs)
    known = startrecord.entry(defects, logs, owner) | {
        "start": secrets.token_hex(8),
        "namespace": namespace,
        "context": context,
        "env": dict(extra_env or {}),
        "forwarder": None,
    }
    state.write_json(_record(folder), known)
    return KubernetesStarted(name, folder, logs, namespace, context)


def stop(name: str) -> list[str]:
    """Remove the namespace, and what was started for it here; returns what would not go, in words.

    Works from any process, and when it is not up, too. Only the namespace that this start made is removed.
    """
    folder = startrecord.folder_of(name, PLATFORM)
    found = state.read_json(_record(folder))
    if found is None:
        shutil.rmtree(folder, ignore_errors=True)
        return []
    namespace = Namespace(found["namespace"], found["context"])
    left = []
    try:
        if not Path(found["logs"]).is_relative_to(folder):
            namespace.keep_logs(found["start"], Path(found["logs"]))
        left += namespace.remove(found["start"], REMOVED_WITHIN_S)
    except TargetError as error:
        left.append(f"namespace {namespace.name}: {error}")
    forwarder = startrecord.process_in(found, "forwarder")
    if forwarder is not None:
        left += [f"process {process.pid}" for process in end([forwarder])]
        startrecord.reap(forwarder)
    return left or startrecord.forget(folder)


def status(name: str) -> Status | None:
    """What is known of a reference system, or None when it is not up."""
    found = state.read_json(_record(startrecord.folder_of(name, PLATFORM)))
    if found is None:
        return None
    forwarder = startrecord.process_in(found, "forwarder")
    running = forwarder is None or forwarder.alive()
    with suppress(TargetError):
        running = running and Namespace(found["namespace"], found["context"]).is_of(found["start"])
    pids = {} if forwarder is None else {"forwarder": forwarder}
    return startrecord.status_of(name, PLATFORM, found, running=running, pids=pids)


def _record(folder: Path) -> Path:
    return folder / "started.json"
