"""Helper containers: they carry their fault's label, exit on their own, and remove themselves.

So nothing stays of them where every process of faultload died.
"""

from __future__ import annotations

import select
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from faultload.agents.when_told import PREPARED
from faultload.errors import TargetError
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker import image as helper_image

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

HELPER_LABEL = "faultload.helper"
READY = "ready"
_DONE = "helper-is-done"
_START_S = 30.0
_FORGOTTEN_AFTER = timedelta(minutes=5)
"""A helper is started as soon as it is made."""
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
        made = client.containers.create(
            image,
            list(argv),
            name=f"faultload-helper-{uuid.uuid4().hex[:12]}",
            labels={docker_client.FAULT_LABEL: fault_id, HELPER_LABEL: "container"},
            **{**_OPTIONS, **({"pid_mode": "host"} if sees_machine else {}), **options},
        )
    with suppress(TargetError):  # what is left of others keeps nobody from a helper, least of all an undo
        for forgotten in _forgotten(client, made):
            remove_container(forgotten)
    return made


def _forgotten(client: DockerClient, made: Container) -> list[Container]:
    """Helpers that nobody started within minutes before this one was made: who asked for them was killed."""
    with docker_client.asking("list helpers that were never started"):
        waiting = client.containers.list(
            all=True, filters={"label": HELPER_LABEL, "status": "created"}, ignore_removed=True
        )
    until = _made_at(made) - _FORGOTTEN_AFTER
    return [one for one in waiting if one.id != made.id and _made_at(one) < until]


def _made_at(container: Container) -> datetime:
    """When a container was made, by its engine's clock."""
    return datetime.fromisoformat(container.attrs["Created"])


def run(argv: Sequence[str], fault_id: str, timeout_s: float, **options: Any) -> str:
    """Run a helper to its end; what it printed. Raises TargetError when it failed or took too long."""
    # it removes itself, so how it ended is told by itself
    told = ["sh", "-c", f'"$@" && echo {_DONE}', "sh", *argv]
    helper, said = _start(told, fault_id, _DONE, timeout_s, **options)
    remove_container(helper)
    if _DONE not in said.split():
        raise TargetError(f"the helper container failed: {said.strip() or 'it said nothing'}")
    return said.strip().removesuffix(_DONE).strip()


def start(argv: Sequence[str], fault_id: str, *, says: str = READY, **options: Any) -> Container:
    """Start a helper that lasts, and wait until it says a word. Raises TargetError with what it said instead."""
    helper, said = _start(argv, fault_id, says, _START_S, **options)
    if says not in said.split():
        remove_container(helper)
        raise TargetError(f"the helper container did not start its work: {said.strip() or 'it said nothing'}")
    return helper


def tell(helper: Container, word: str, timeout_s: float = _START_S) -> None:
    """Tell a prepared helper to begin, and wait until it says a word. Raises TargetError with what it says else."""
    with docker_client.asking(f"tell helper container {helper.name} to begin"):
        output = helper.attach_socket(params={"stdout": 1, "stderr": 1, "stream": 1, "logs": 1})
        try:
            helper.kill(signal="SIGUSR1")
            said = _listen(output, word, timeout_s)
        finally:
            output.close()
    if word not in said.split():
        remove_container(helper)
        rest = said.replace(PREPARED, "").strip()
        raise TargetError(f"the helper container failed: {rest or 'it said nothing'}")


def _start(
    argv: Sequence[str], fault_id: str, word: str, timeout_s: float, **options: Any
) -> tuple[Container, str]:
    """Start a helper that removes itself, and listen to it until it says a word, ends, or takes too long."""
    helper = create(argv, fault_id, auto_remove=True, **options)
    try:
        with docker_client.asking("start a helper container"):
            output = helper.attach_socket(params={"stdout": 1, "stderr": 1, "stream": 1})
            try:
                helper.start()
                return helper, _listen(output, word, timeout_s)
            finally:
                output.close()
    except BaseException:
        remove_container(helper)
        raise


def _listen(output: Any, word: str, timeout_s: float) -> str:
    """What a helper prints. Each part of the stream has a header of 8 bytes; the last four are its length."""
    from docker.utils.socket import read

    deadline = time.monotonic() + timeout_s
    raw, said = b"", ""
    while word not in said.split() and (left_s := deadline - time.monotonic()) > 0:
        if not select.select([output], [], [], left_s)[0] or not (part := read(output, 4096)):
            break
        raw += part
        while len(raw) >= 8 and len(raw) >= (end := 8 + int.from_bytes(raw[4:8], "big")):
            said += raw[8:end].decode(errors="replace")
            raw = raw[end:]
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
