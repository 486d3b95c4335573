"""Privileged helper pods: they see a node's processes, and end on their own.

A helper carries the labels of its fault and nothing else, so no service's selector finds it, and any process
can find and remove it. Its `activeDeadlineSeconds` ends it on the cluster's side when nobody else does.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.agents import container
from faultload.errors import TargetError
from faultload.platforms.kubernetes.client import OURS, Executed, Pod, asking, core, execute, is_gone, pods_in, said
from faultload.spec.target import TargetFile

FAULT_LABEL = "faultload.io/fault"
FAULT_ID = "faultload.io/fault-id"
CONTAINER = "helper"
IMAGE_ENV = "FAULTLOAD_HELPER_IMAGE"
_START_S = 60.0
_ASK_S = 40.0
"""A helper asks for no processor of its node, so that a full one lets it in; a busy one lets it wait."""
_PID_FILE = "/tmp/helper.pid"
"""A helper sees the node's processes, so its own number is not 1."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper pod that was started."""

    namespace: str
    name: str
    uid: str
    node: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a helper ended: exit code, and the last of its output where it failed."""

    code: int
    message: str


def fault_label(fault_id: str) -> str:
    """A fault's id as a label value; ids hold characters that labels may not."""
    return hashlib.sha256(fault_id.encode()).hexdigest()[:16]


def labels_of(fault_id: str) -> dict[str, str]:
    """The labels of everything that a fault makes in a cluster."""
    return {**OURS, FAULT_LABEL: fault_label(fault_id)}


def helper_namespace(target: TargetFile, beside: str) -> str:
    """Where helpers for pods of a namespace run: beside them, unless the target file names another."""
    return target.helper_namespace or beside


def image() -> str:
    """The image that helpers run, as the nodes know it."""
    named = os.environ.get(IMAGE_ENV)
    if named:
        return named
    from faultload.platforms.docker.image import name

    return name()


def source(module: str) -> str:
    """The text of a module of `faultload/agents/container`, to be run in a helper by `python3 -c`."""
    return (Path(container.__file__).parent / f"{module}.py").read_text()


def manifest(
    node: str,
    argv: Sequence[str],
    fault_id: str,
    deadline_s: float,
    *,
    grace_s: float = 2.0,
    capabilities: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    node_folders: Sequence[str] = (),
) -> dict[str, Any]:
    """The helper pod: on one node, with that node's processes in sight, for at most `deadline_s`.

    `node_folders` are folders of the node that it sees under `/node`.

    Root with these capabilities alone, such as KILL or NET_ADMIN: less than a privileged container, which a
    node may be unable to start.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "faultload-helper-",
            "labels": {**(labels or {}), **labels_of(fault_id)},
            "annotations": {FAULT_ID: fault_id},
        },
        "spec": {
            "nodeName": node,
            "hostPID": True,
            "restartPolicy": "Never",
            # counted from a start that is kept in whole seconds: up to one too early
            "activeDeadlineSeconds": math.ceil(deadline_s) + 1,
            "terminationGracePeriodSeconds": math.ceil(grace_s),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image(),
                    "imagePullPolicy": "IfNotPresent",
                    "command": [literally(one) for one in argv],
                    "securityContext": {
                        "runAsUser": 0,
                        "runAsNonRoot": False,
                        "capabilities": {"drop": ["ALL"], "add": list(capabilities)},
                    },
                    "env": [
                        {"name": name, "value": literally(value)} for name, value in (environment or {}).items()
                    ],
                    "volumeMounts": [
                        {"name": f"node-{index}", "mountPath": f"/node{folder}"}
                        for index, folder in enumerate(node_folders)
                    ],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }
            ],
            "volumes": [
                {"name": f"node-{index}", "hostPath": {"path": folder}} for index, folder in enumerate(node_folders)
            ],
        },
    }


def literally(text: str) -> str:
    """A text that arrives in a container as it is: Kubernetes makes `$` of `$$`, and values of `$(NAME)`."""
    return text.replace("$", "$$")


def start(
    target: TargetFile,
    namespace: str,
    node: str,
    argv: Sequence[str],
    fault_id: str,
    deadline_s: float,
    *,
    grace_s: float = 2.0,
    capabilities: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    node_folders: Sequence[str] = (),
) -> Helper:
    """Start a helper on a node; returns when the API has taken it."""
    body = manifest(
        node,
        argv,
        fault_id,
        deadline_s,
        grace_s=grace_s,
        capabilities=capabilities,
        environment=environment,
        labels=labels,
        node_folders=node_folders,
    )
    with asking(f"start a helper pod in namespace '{namespace}'"):
        pod = core(target).create_namespaced_pod(namespace, body)
    return Helper(namespace, str(pod.metadata.name), str(pod.metadata.uid), node)


def waiting(argv: Sequence[str]) -> list[str]:
    """The command line of a helper that will be told to begin (`faultload.agents.when_told`)."""
    return ["sh", "-c", f'echo $$ > {_PID_FILE}; exec "$@"', "sh", *argv]


def tell_to_begin(target: TargetFile, helpers: Iterable[Helper]) -> None:
    """Let helpers do what they wait with. Raises TargetError."""
    for helper in helpers:
        told = execute_in(target, helper, ["sh", "-c", f"kill -USR1 $(cat {_PID_FILE})"], _ASK_S)
        if told.code != 0:
            raise TargetError(f"helper pod {helper.name} could not be told to begin: {told.err.strip()}")


def wait_until_it_says(target: TargetFile, helper: Helper, word: str, timeout_s: float = _START_S) -> None:
    """Wait for a line of a helper's output. Raises TargetError when it ended instead, or is late."""
    deadline = time.monotonic() + timeout_s
    wait_running(target, helper, timeout_s)
    while word not in _log(target, helper).splitlines():
        if time.monotonic() >= deadline:
            raise TargetError(f"helper pod {helper.name} is not {word} within {timeout_s:g} s")
        wait_running(target, helper, timeout_s)
        time.sleep(0.1)


def _log(target: TargetFile, helper: Helper) -> str:
    with asking(f"read the log of helper pod {helper.name}"):
        return str(core(target).read_namespaced_pod_log(helper.name, helper.namespace) or "")


def refused(target: TargetFile, namespace: str) -> str | None:
    """Why a namespace would not let a privileged helper in, as its admission answers; touches nothing."""
    from kubernetes.client.exceptions import ApiException

    body = manifest("", ["true"], "preflight", 1.0, capabilities=("SYS_ADMIN",))
    del body["spec"]["nodeName"]
    with asking(f"ask whether namespace '{namespace}' lets a privileged pod in"):
        try:
            core(target).create_namespaced_pod(namespace, body, dry_run="All")
        except ApiException as error:
            if error.status in (400, 403, 404, 422):
                return said(error)
            raise
    return None


def _read(target: TargetFile, helper: Helper) -> Any:
    with asking(f"look at helper pod {helper.name}"):
        return core(target).read_namespaced_pod(helper.name, helper.namespace)


def wait_running(target: TargetFile, helper: Helper, timeout_s: float = _START_S) -> None:
    """Wait until a helper runs. Raises TargetError when it ended instead, or cannot start."""
    deadline = time.monotonic() + timeout_s
    while True:
        pod = _read(target, helper)
        if pod.status.phase == "Running":
            return
        if pod.status.phase in ("Succeeded", "Failed"):
            ended = _ended(pod)
            raise TargetError(f"helper pod {helper.name} ended at once ({ended.code}): {ended.message}")
        _cannot_start(helper, pod, late=time.monotonic() >= deadline)
        time.sleep(0.1)


def wait_ended(target: TargetFile, helper: Helper, timeout_s: float = _START_S) -> Ended:
    """Wait for a helper's end. Raises TargetError when it cannot start or does not end in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        pod = _read(target, helper)
        if pod.status.phase in ("Succeeded", "Failed"):
            return _ended(pod)
        late = time.monotonic() >= deadline
        _cannot_start(helper, pod, late=late)
        if late:
            raise TargetError(f"helper pod {helper.name} did not end within {timeout_s:g} s")
        time.sleep(0.1)


def _cannot_start(helper: Helper, pod: Any, *, late: bool) -> None:
    """Raise TargetError for a container that waits for what will not come."""
    statuses = pod.status.container_statuses or []
    waiting = statuses[0].state.waiting if statuses and statuses[0].state is not None else None
    reason = waiting.reason if waiting is not None else None
    hopeless = reason in ("ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")
    if hopeless or (late and pod.status.phase == "Pending"):
        raise TargetError(
            f"helper pod {helper.name} does not start on node {helper.node}: {reason or 'it stays Pending'} "
            f"(image {image()}; {IMAGE_ENV} names another)"
        )


def _ended(pod: Any) -> Ended:
    statuses = pod.status.container_statuses or []
    state = statuses[0].state.terminated if statuses and statuses[0].state is not None else None
    if state is None:
        return Ended(-1, str(pod.status.message or pod.status.reason or "no reason given"))
    return Ended(int(state.exit_code), str(state.message or state.reason or "").strip())


def execute_in(target: TargetFile, helper: Helper, argv: Sequence[str], timeout_s: float = _ASK_S) -> Executed:
    """Run a command in a running helper."""
    return execute(target, helper.namespace, helper.name, CONTAINER, argv, timeout_s)


def helpers_of(target: TargetFile, namespace: str, fault_id: str) -> list[Pod]:
    """The helper pods of a fault that are there, whatever state they are in."""
    selector = ",".join(f"{key}={value}" for key, value in labels_of(fault_id).items())
    return pods_in(target, namespace, selector)


def remove(
    target: TargetFile, namespace: str, fault_id: str, *, grace_s: float | None = 0.0, wait_s: float = 30.0
) -> int:
    """Remove the helpers of a fault and wait until they are gone; how many there were.

    `grace_s` None leaves them the time that they were started with, for a helper that undoes at SIGTERM.
    """
    from kubernetes.client import V1DeleteOptions, V1Preconditions
    from kubernetes.client.exceptions import ApiException

    pods = helpers_of(target, namespace, fault_id)
    for pod in pods:
        body = V1DeleteOptions(
            preconditions=V1Preconditions(uid=pod.uid),
            grace_period_seconds=None if grace_s is None else int(grace_s),
        )
        with asking(f"remove helper pod {pod.name}"):
            try:
                core(target).delete_namespaced_pod(pod.name, namespace, body=body)
            except ApiException as error:
                if not is_gone(error):
                    raise
    deadline = time.monotonic() + wait_s
    while pods and (left := helpers_of(target, namespace, fault_id)):
        if time.monotonic() >= deadline:
            names = ", ".join(pod.name for pod in left)
            raise TargetError(f"helper pods did not end within {wait_s:g} s: {names}")
        time.sleep(0.1)
    return len(pods)
