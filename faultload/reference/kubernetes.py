"""A reference system on Kubernetes: a namespace of its own, made, watched and removed from any process."""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from faultload import state
from faultload.errors import InvalidInput, Mistake, Refused, TargetError
from faultload.processes import ProcessId, end
from faultload.reference import catalogue, kubernetes_ways
from faultload.reference.kubernetes_manifests import Placement
from faultload.reference.kubernetes_namespace import Namespace
from faultload.reference.lifecycle import Status

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
        found = state.read_json(self.folder / "started.json")
        if found is None:
            raise TargetError(f"{self.name} was stopped while it started")
        place = Placement(
            name=self.name,
            namespace=self.namespace,
            image=self._image(),
            start_id=found["start"],
            password=secrets.token_hex(16),
            settings={"MEMORY_DEFECTS": ",".join(found["defects"]), **found["env"]},
        )
        namespace.make(place)
        if not self.folder.exists():  # `stop` came before the namespace
            namespace.remove(place.start_id, REMOVED_WITHIN_S)
        system = importlib.import_module(f"faultload.reference.{self.name}.on_kubernetes")
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
        self._write(target)
        return self.target_file

    def _image(self) -> str:
        named = os.environ.get(IMAGE_ENV)
        if named:
            return named
        from faultload.platforms import helper_image, kubernetes_helper
        from faultload.reference import docker_image

        with (self.logs / "image.log").open("a") as log, _engine() as engine:
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
            started = state.read_json(self.folder / "started.json") or {}
            state.write_json(self.folder / "started.json", {**started, "forwarder": process.to_json()})
        return found

    def _until(self, deadline: float, namespace: Namespace, problem: Callable[[], str | None]) -> None:
        """Wait until there is no problem any more."""
        while (text := problem()) is not None:
            if time.monotonic() >= deadline:
                raise TargetError(f"{self.name} is not ready: {text}\n{namespace.last_lines()}".rstrip())
            if not self.folder.exists():
                raise TargetError(f"{self.name} was stopped while it started")
            time.sleep(0.25)

    def _write(self, target: Mapping[str, Any]) -> None:
        """The target file holds the database's password: only its owner reads it, and it is there as a whole."""
        draft = self.folder / "target.yaml.new"
        draft.touch(mode=0o600)
        draft.write_text(yaml.safe_dump(dict(target), sort_keys=False))
        draft.rename(self.target_file)


def check() -> None:
    """Raise InvalidInput when it cannot be started here: no cluster answers, or no image can be had."""
    try:
        Namespace("default", _current_context()).reach()
    except TargetError as error:
        raise InvalidInput(Mistake(str(error), hint="`kubectl get nodes` must answer")) from None
    if os.environ.get(IMAGE_ENV):
        return
    from faultload.reference import docker_image

    try:
        with _engine() as engine:
            docker_image.check(engine, "memory")
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
    folder = state.target_dir(catalogue.target_id(name, "kubernetes"))
    found = status(name)
    if found is not None and found.running:
        raise Refused(
            f"{name} is up already since {found.started}; "
            f"`faultload target down {name} --platform kubernetes` stops it"
        )
    if found is not None and (left := stop(name)):
        raise Refused(f"{name} was left behind, and does not go: {', '.join(left)}")
    namespace = os.environ.get(NAMESPACE_ENV) or f"faultload-{name}"
    context = _current_context()
    if Namespace(namespace, context).read() is not None:
        raise Refused(
            f"there is a namespace '{namespace}' that was not started from here: remove it, or name another one by "
            f"{NAMESPACE_ENV}"
        )
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise Refused(
            f"{name} is being started by another process; `faultload target down {name} --platform kubernetes` "
            "stops it"
        ) from None
    logs = (logs or folder / "logs").absolute()
    logs.mkdir(parents=True, exist_ok=True)
    state.write_json(
        folder / "started.json",
        {
            "start": secrets.token_hex(8),
            "namespace": namespace,
            "context": context,
            "owner": None if owner is None else owner.to_json(),
            "defects": list(defects),
            "env": dict(extra_env or {}),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "logs": str(logs),
            "forwarder": None,
        },
    )
    return KubernetesStarted(name, folder, logs, namespace, context)


def stop(name: str) -> list[str]:
    """Remove the namespace, and what was started for it here; returns what would not go, in words.

    Works from any process, and when it is not up, too. Only the namespace that this start made is removed.
    """
    folder = state.target_dir(catalogue.target_id(name, "kubernetes"))
    found = state.read_json(folder / "started.json")
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
    if found.get("forwarder") is not None:
        left += [f"process {process.pid}" for process in end([ProcessId.from_json(found["forwarder"])])]
        with suppress(ChildProcessError, OSError):
            os.waitpid(int(found["forwarder"]["id"]), os.WNOHANG)
    if not left:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            left.append(f"folder {folder}")
    return left


def status(name: str) -> Status | None:
    """What is known of a reference system, or None when it is not up."""
    target_id = catalogue.target_id(name, "kubernetes")
    folder = state.target_dir(target_id)
    found = state.read_json(folder / "started.json")
    if found is None:
        return None
    forwarder = None if found.get("forwarder") is None else ProcessId.from_json(found["forwarder"])
    running = forwarder is None or forwarder.alive()
    with suppress(TargetError):
        running = running and Namespace(found["namespace"], found["context"]).is_of(found["start"])
    owner = None if found["owner"] is None else ProcessId.from_json(found["owner"])
    target_file = folder / "target.yaml"
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
        pids={} if forwarder is None else {"forwarder": forwarder},
        owner=owner,
        owner_alive=None if owner is None else owner.alive(),
        started=found["started"],
        logs=Path(found["logs"]),
    )


def _current_context() -> str | None:
    """The context that every later process goes to, whatever becomes current by then; None within a pod."""
    from kubernetes import config

    try:
        contexts: Any = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
        return str(contexts[1]["name"])
    except config.ConfigException:
        return None


@contextmanager
def _engine() -> Iterator[Any]:
    """The Docker engine that builds the image. Raises TargetError when none answers."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except (DockerException, OSError) as error:
        raise TargetError(f"no Docker engine answers ({error})") from None
    try:
        yield client
    finally:
        client.close()
