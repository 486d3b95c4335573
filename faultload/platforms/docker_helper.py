"""Helper containers: they carry the label of their fault, and end by themselves.

One that lasts removes itself when it ends, so that nothing stays where every process of faultload died. One
that does a single thing is waited for and removed by who started it, or by undo.
"""

from __future__ import annotations

import select
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from faultload.errors import TargetError
from faultload.platforms import docker_client, helper_image

if TYPE_CHECKING:
    from docker.models.containers import Container

HELPER_LABEL = "faultload.helper"
READY = "ready"
_START_S = 30.0
_OPTIONS: dict[str, Any] = {
    "network_mode": "none",
    "cap_drop": ["ALL"],
    "userns_mode": "host",
    # the profile of ordinary containers forbids looking into others
    "security_opt": ["apparmor=unconfined", "label=disable"],
}


def create(argv: Sequence[str], fault_id: str, *, sees_machine: bool = False, **options: Any) -> Container:
    """A helper that is not started yet. It has the capabilities named by `cap_add` alone, and no network.

    `sees_machine`: with the processes of the engine's machine in sight. Other options are those of
    `containers.create` of the Docker SDK. Raises TargetError.
    """
    client = docker_client.client()
    image = helper_image.ensure(client)
    with docker_client.asking("make a helper container"):
        return client.containers.create(
            image,
            list(argv),
            name=f"faultload-helper-{uuid.uuid4().hex[:12]}",
            labels={docker_client.FAULT_LABEL: fault_id, HELPER_LABEL: "container"},
            **{**_OPTIONS, **({"pid_mode": "host"} if sees_machine else {}), **options},
        )


def run(argv: Sequence[str], fault_id: str, timeout_s: float, **options: Any) -> str:
    """Run a helper to its end and remove it; what it printed. Raises TargetError when it failed."""
    helper = create(argv, fault_id, **options)
    try:
        with docker_client.asking("run a helper container"):
            helper.start()
            code = int(helper.wait(timeout=timeout_s)["StatusCode"])
            said = helper.logs().decode(errors="replace").strip()
    finally:
        remove_container(helper)
    if code != 0:
        raise TargetError(f"the helper container failed ({code}): {said or 'it said nothing'}")
    return said


def start(argv: Sequence[str], fault_id: str, **options: Any) -> Container:
    """Start a helper that lasts, and wait until it prints `ready`. Raises TargetError with what it said instead."""
    helper = create(argv, fault_id, auto_remove=True, **options)
    try:
        with docker_client.asking("start a helper container"):
            output = helper.attach_socket(params={"stdout": 1, "stderr": 1, "stream": 1})
            helper.start()
        said = _read_until_ready(output)
    except BaseException:
        remove_container(helper)
        raise
    if READY not in said.split():
        remove_container(helper)
        raise TargetError(f"the helper container did not start its work: {said.strip() or 'it said nothing'}")
    return helper


def _read_until_ready(output: Any) -> str:
    """What a helper prints until it is ready, ends, or takes too long.

    Each part of the stream has a header of 8 bytes, the last four of which are its length.
    """
    from docker.utils.socket import read

    deadline = time.monotonic() + _START_S
    raw, said = b"", ""
    try:
        while READY not in said.split() and (left_s := deadline - time.monotonic()) > 0:
            if not select.select([output], [], [], left_s)[0] or not (part := read(output, 4096)):
                break
            raw += part
            while len(raw) >= 8 and len(raw) >= (end := 8 + int.from_bytes(raw[4:8], "big")):
                said += raw[8:end].decode(errors="replace")
                raw = raw[end:]
    finally:
        output.close()
    return said


def helpers_of(fault_id: str) -> list[Container]:
    """The helpers of a fault that are there, whatever state they are in."""
    return [one for one in made_by(fault_id) if docker_client.INSTANCE_LABEL not in one.labels]


def made_by(fault_id: str) -> list[Container]:
    """Every container that a fault made: helpers, and instances that it added."""
    with docker_client.asking("list the containers of a fault"):
        return docker_client.client().containers.list(
            all=True, filters={"label": f"{docker_client.FAULT_LABEL}={fault_id}"}, ignore_removed=True
        )


def remove(fault_id: str) -> int:
    """Remove the helpers of a fault, at once; how many there were."""
    found = helpers_of(fault_id)
    for helper in found:
        remove_container(helper)
    return len(found)


def remove_container(helper: Container, timeout_s: float = 10.0) -> None:
    """Remove a container, also one that is removing itself just now, and see that it is gone."""
    from docker.errors import APIError, NotFound

    deadline = time.monotonic() + timeout_s
    with docker_client.asking(f"remove {helper.name}"):
        while True:
            try:
                helper.remove(force=True, v=True)
            except NotFound:
                return
            except APIError as error:
                # 409: its removal is in progress
                if error.status_code != 409 or time.monotonic() >= deadline:
                    raise
            time.sleep(0.05)
