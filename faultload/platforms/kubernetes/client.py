"""The Kubernetes API for faults: one client per activity, a service's pods, and commands in containers.

Every call has a time-out, and what goes wrong is a TargetError in plain words.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from faultload.errors import TargetError
from faultload.platforms.base import library
from faultload.spec.target import TargetFile

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

TIMEOUT_S = 15.0
MANAGED_BY = "app.kubernetes.io/managed-by"
OURS = {MANAGED_BY: "faultload"}
"""The label of everything that faultload itself makes in a cluster; never an instance of a service."""
_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"


def api_client(target: TargetFile) -> ApiClient:
    """A client of its own for the target's context: of the kubeconfig, or of the pod that this runs in.

    `KUBECONFIG` may name several files, separated by colons. Nothing is shared between two clients: a
    client that runs a command in a container replaces its own transport meanwhile. Raises TargetError when
    nothing says where the cluster is.
    """
    config: Any = library("kubernetes.config", extra="kubernetes")
    configuration = library("kubernetes.client", extra="kubernetes").Configuration()
    with _configured() as files:
        if files:
            config.load_kube_config(files, context=target.context, client_configuration=configuration)
        else:
            config.load_incluster_config(client_configuration=configuration)
    return _client_class()(configuration)


@contextmanager
def _configured() -> Iterator[str]:
    """The kubeconfig's files, separated as `KUBECONFIG` has them; empty in a pod. Raises TargetError."""
    config: Any = library("kubernetes.config", extra="kubernetes")
    named = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    files = [part for part in named.split(os.pathsep) if part and Path(part).expanduser().is_file()]
    if not files and not os.environ.get(_IN_CLUSTER):
        raise TargetError(
            f"no cluster is configured: {named} does not exist; set KUBECONFIG, or run in a pod of the cluster"
        )
    try:
        yield os.pathsep.join(files)
    except config.ConfigException as error:
        raise TargetError(f"the kubeconfig {named} cannot be used: {error}") from None


def server_url(target: TargetFile) -> str:
    """Where the API server of the target's context is. Connects to nothing, and runs no credential plugin.

    Raises TargetError when nothing says where the cluster is.
    """
    config: Any = library("kubernetes.config", extra="kubernetes")
    with _configured() as files:
        if not files:
            return f"https://{os.environ[_IN_CLUSTER]}"
        contexts, active = config.list_kube_config_contexts(files)
        context = active if target.context is None else _named(contexts, target.context, "context")
        parts = [yaml.safe_load(Path(file).expanduser().read_text()) or {} for file in files.split(os.pathsep)]
        clusters = [one for part in parts for one in part.get("clusters") or []]
        return str(_named(clusters, context["context"]["cluster"], "cluster")["cluster"]["server"])


def _named(entries: Sequence[Mapping[str, Any]], name: str, kind: str) -> Mapping[str, Any]:
    """The first entry of this name, as kubectl takes it. Raises TargetError."""
    found = next((one for one in entries if one["name"] == name), None)
    if found is None:
        raise TargetError(f"the kubeconfig has no {kind} '{name}'")
    return found


def current_context() -> str | None:
    """The kubeconfig's current context by its name; None where there is no kubeconfig, as within a pod."""
    config = library("kubernetes.config", extra="kubernetes")
    try:
        contexts = config.list_kube_config_contexts()
        return str(contexts[1]["name"])
    except config.ConfigException:
        return None


def server_version(target: TargetFile) -> str:
    """The version of the cluster's API server. Raises TargetError when it does not answer."""
    with asking("reach the cluster"):
        from kubernetes.client import VersionApi

        return str(VersionApi(api_client(target)).get_code().git_version)


@cache
def _client_class() -> type[ApiClient]:
    from kubernetes import client

    class Client(client.ApiClient):  # type: ignore[misc, unused-ignore]
        """An API client that never waits for ever."""

        def call_api(self, *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("_request_timeout") is None and len(args) < 6:
                kwargs["_request_timeout"] = TIMEOUT_S
            return super().call_api(*args, **kwargs)

    return Client


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn an API's or a connection's error into a TargetError that says what was being done."""
    from urllib3.exceptions import HTTPError

    exceptions = library("kubernetes.client.exceptions", extra="kubernetes")
    try:
        yield
    except exceptions.ApiException as error:
        raise TargetError(f"could not {what}: {said(error)}") from None
    except (HTTPError, OSError) as error:
        raise TargetError(f"could not {what}: the cluster does not answer ({_cause(error)})") from None


def said(error: Any) -> str:
    """What the API said, in one line."""
    try:
        message = str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        message = str(error.reason or error.body or error)
    return f"{' '.join(message.split())} ({error.status})"


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason if isinstance(reason, BaseException) else error)
    return text.rpartition(": ")[2] or type(error).__name__


def is_gone(error: Any) -> bool:
    """Whether an API error says that the object is not there."""
    return getattr(error, "status", None) == 404


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod: its id in the runtime, how often it was started again, and since when it runs."""

    name: str
    id: str
    restarts: int
    started: float | None
    """When it started, as epoch seconds; None when it does not run."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as it is now."""

    namespace: str
    name: str
    uid: str
    node: str
    ip: str
    phase: str
    ready: bool
    """Its Ready condition holds and it is not being deleted; a pod that merely runs is not ready."""
    deleting: bool
    restarts_always: bool
    labels: Mapping[str, str]
    owner: tuple[str, str, str] | None
    """Kind, name and UID of the controller that keeps it."""
    declared: tuple[str, ...]
    """The names of its containers, in the order of its manifest."""
    containers: Mapping[str, Container]
    """Those that were made."""

    @property
    def leaving(self) -> bool:
        """Being deleted, or ended."""
        return self.deleting or self.phase in ("Succeeded", "Failed")

    @property
    def ours(self) -> bool:
        """Whether faultload made it."""
        return self.labels.get(MANAGED_BY) == OURS[MANAGED_BY]


def pod_from(answer: Any) -> Pod:
    """A pod of the API client as ours."""
    meta, spec, status = answer.metadata, answer.spec, answer.status
    deleting = meta.deletion_timestamp is not None
    owners = [owner for owner in meta.owner_references or [] if owner.controller]
    return Pod(
        namespace=str(meta.namespace),
        name=str(meta.name),
        uid=str(meta.uid),
        node=str(spec.node_name or ""),
        ip=str(status.pod_ip or ""),
        phase=str(status.phase or ""),
        ready=not deleting and any(one.type == "Ready" and one.status == "True" for one in status.conditions or []),
        deleting=deleting,
        restarts_always=spec.restart_policy in (None, "Always"),
        labels=dict(meta.labels or {}),
        owner=(str(owners[0].kind), str(owners[0].name), str(owners[0].uid)) if owners else None,
        declared=tuple(str(one.name) for one in spec.containers),
        containers={str(one.name): _container(one) for one in status.container_statuses or []},
    )


def _container(status: Any) -> Container:
    running = status.state.running if status.state is not None else None
    started = running.started_at.timestamp() if running is not None and running.started_at is not None else None
    id_ = str(status.container_id or "").rpartition("://")[2]
    return Container(str(status.name), id_, int(status.restart_count or 0), started)


def namespace_of(target: TargetFile, service: str) -> str:
    """The namespace of a declared service. Raises TargetError for a service without one."""
    namespace = target.namespace_of(service)
    if namespace is None:
        raise TargetError(f"service '{service}' has no namespace in the target file")
    return namespace


def namespaces(target: TargetFile) -> list[str]:
    """Every namespace that the target's services are in."""
    return sorted({namespace_of(target, service) for service in target.services})


def core(target: TargetFile) -> Any:
    """The core API, by a client of its own."""
    from kubernetes.client import CoreV1Api

    return CoreV1Api(api_client(target))


def pods_in(target: TargetFile, namespace: str, selector: str = "") -> list[Pod]:
    """The pods of a namespace that a label selector finds, in order of their names, faultload's own too."""
    with asking(f"list the pods of namespace '{namespace}'"):
        found = core(target).list_namespaced_pod(namespace, label_selector=selector)
    return sorted((pod_from(one) for one in found.items), key=lambda pod: pod.name)


def pods_of(target: TargetFile, service: str) -> list[Pod]:
    """The pods of a declared service in order of their names, whatever state they are in.

    Only those that the declared selector finds in the declared namespace, and none that faultload made.
    """
    selector = target.services[service].selector
    if not selector:
        raise TargetError(f"service '{service}' has no selector in the target file")
    return [pod for pod in pods_in(target, namespace_of(target, service), selector) if not pod.ours]


def pod(target: TargetFile, namespace: str, uid: str) -> Pod | None:
    """The pod with a UID, or None when it is gone: a pod of the same name is another one."""
    return next((one for one in pods_in(target, namespace) if one.uid == uid), None)


def container_of(target: TargetFile, service: str, pod: Pod) -> str:
    """The name of a service's container in its pod: the declared one, or the first."""
    declared = target.services[service].container
    if declared is None:
        return pod.declared[0]
    if declared not in pod.declared:
        has = ", ".join(pod.declared)
        raise TargetError(f"pod {pod.name} of service '{service}' has no container '{declared}' (it has: {has})")
    return declared


def running_container(target: TargetFile, service: str, pod: Pod) -> Container | None:
    """A service's container in its pod; None when it does not run."""
    found = pod.containers.get(container_of(target, service, pod))
    return found if found is not None and found.started is not None else None


@dataclass(frozen=True, slots=True)
class Executed:
    """What became of a command in a container; `code` None when it did not end in time."""

    code: int | None
    out: str
    err: str


def execute(
    target: TargetFile, namespace: str, pod_name: str, container: str, argv: Sequence[str], timeout_s: float = 10.0
) -> Executed:
    """Run a command in a named container and wait for its end. Raises TargetError when it cannot be run."""
    from kubernetes.stream import ws_client

    channel = open_exec(target, namespace, pod_name, container, argv)
    out, err = "", ""
    try:
        with asking(f"run a command in {pod_name}"):
            channel.run_forever(timeout=timeout_s)
            out = channel.read_channel(ws_client.STDOUT_CHANNEL)
            err = channel.read_channel(ws_client.STDERR_CHANNEL)
            if channel.is_open():
                return Executed(None, out, err)
            status = json.loads(channel.read_channel(ws_client.ERROR_CHANNEL) or "{}")
    finally:
        channel.close()
    if status.get("status") == "Success":
        return Executed(0, out, err)
    causes = (status.get("details") or {}).get("causes") or []
    codes = [cause["message"] for cause in causes if cause.get("reason") == "ExitCode"]
    if not codes:
        raise TargetError(f"could not run {argv[0]} in {pod_name}: {status.get('message', 'the stream broke off')}")
    return Executed(int(codes[0]), out, err)


def open_exec(
    target: TargetFile, namespace: str, pod_name: str, container: str, argv: Sequence[str], *, stdin: bool = False
) -> Any:
    """Start a command in a named container; gives its channels, to be closed by the caller."""
    from kubernetes.stream import stream
    from websocket import WebSocketException

    try:
        with asking(f"run a command in {pod_name}"):
            return stream(
                core(target).connect_get_namespaced_pod_exec,
                pod_name,
                namespace,
                container=container,
                command=list(argv),
                stdin=stdin,
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
            )
    except WebSocketException as error:
        raise TargetError(f"could not run a command in {pod_name}: {error}") from None
