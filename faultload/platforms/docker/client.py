"""The Docker engine for faults: one client per process, a service's containers, and where they answer.

Every call has a time-out, and what goes wrong is a TargetError in plain words.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil

from faultload.errors import TargetError
from faultload.host.addresses import leads_here
from faultload.platforms.base import Instance, library
from faultload.spec.target import TargetFile

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

TIMEOUT_S = 30
_PRINTED_TRIES = 5
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"
FAULT_LABEL = "faultload.fault"
"""On everything that a fault makes in an engine; its value is the fault's id."""
INSTANCE_LABEL = "faultload.instance"
"""Beside FAULT_LABEL on a container that a fault added to a service: it is an instance, helpers are not."""
_ENVIRONMENT = ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


def client() -> DockerClient:
    """The client of this process for the engine that the environment names.

    Raises TargetError, with what to do, when none answers or it may not be asked.
    """
    return _client(os.getpid(), engine_url(), *(os.environ.get(name, "") for name in _ENVIRONMENT))


@cache
def _client(*_: object) -> DockerClient:
    with asking("find its version"):
        import docker

        return docker.from_env(timeout=TIMEOUT_S)


def engine_url() -> str:
    """Where the engine is that `client` asks: DOCKER_HOST, else what the context of Docker's own client names."""
    return os.environ.get("DOCKER_HOST") or _of_context() or "unix:///var/run/docker.sock"


def _of_context() -> str | None:
    """The address of the current context, where this version of docker-py goes by it (from 7.2 on)."""
    context = library("docker.context", extra="docker").ContextAPI
    asked = getattr(context, "kwargs_from_context", None)
    if asked is None:
        return None
    with asking("find its context"):
        return cast("str | None", asked(environment=os.environ).get("base_url"))


def engine_is_here() -> bool:
    """Whether the engine is on this machine, as far as its address says."""
    return leads_here(engine_url())


def process_is_here(found: Container) -> bool:
    """Whether a running container's first process is one of this machine, in the control group of its id."""
    try:
        groups = Path(f"/proc/{state_of(found)['Pid']}/cgroup").read_text()
    except OSError:
        return False
    return str(found.id) in groups


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn an engine's or a connection's error into a TargetError that says what was being done."""
    from requests.exceptions import RequestException

    errors = library("docker.errors", extra="docker")
    try:
        yield
    except errors.APIError as error:
        raise TargetError(f"the Docker engine could not {what}: {error.explanation or error}") from None
    except (errors.DockerException, RequestException, OSError) as error:
        raise TargetError(_no_engine(error)) from None


def printed_in(found: Container, argv: Sequence[str]) -> str:
    """What a command in a container prints, one that always prints something and may be run again.

    At times the engine loses what a command prints that ends at once (github.com/moby/moby/issues/27289). Raises
    TargetError when nothing comes of several tries.
    """
    for _ in range(_PRINTED_TRIES):
        with asking(f"run a command in {found.name}"):
            output = cast(bytes, found.exec_run(list(argv)).output)
        if text := output.decode(errors="replace").strip():
            return text
    raise TargetError(f"{found.name}: a command printed nothing, {_PRINTED_TRIES} times")


def _no_engine(error: BaseException) -> str:
    where, text = engine_url(), str(error)
    if "Permission denied" in text:
        return (
            f"the Docker engine at {where} may not be asked by this user: add the user to the group docker "
            "(`usermod -aG docker NAME`, then log in again), or set DOCKER_HOST to an engine that it may use"
        )
    if "timed out" in text.lower():
        return f"the Docker engine at {where} did not answer in time"
    return f"no Docker engine answers at {where}: start it, or set DOCKER_HOST to one that runs ({_cause(error)})"


def _cause(error: BaseException | None) -> str:
    """The system's own word for what went wrong, from the first error of a chain."""
    said = str(error)
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            said = error.strerror
        error = error.__cause__ or error.__context__
    return " ".join(said.split())


def containers_of(target: TargetFile, service: str, *, stopped: bool = False) -> list[Container]:
    """The running containers of a declared service, paused ones too, in order of their numbers and names.

    Only those with every label that the target file declares for it; neither one-off containers of
    `docker compose run` nor helpers of faults. `stopped`: those that do not run as well.
    """
    wanted = labels_of(target, service)
    with asking(f"list the containers of service '{service}'"):
        filters: dict[str, Any] = {"label": [f"{name}={value}" for name, value in wanted.items()]}
        found = client().containers.list(all=stopped, filters=filters, ignore_removed=True)
    mine = [one for one in found if _is_instance(one.labels) and (stopped or runs(one))]
    return sorted(mine, key=lambda one: (_number(one.labels), str(one.name)))


def labels_of(target: TargetFile, service: str) -> dict[str, str]:
    """The labels that make a container one of a declared service. Raises TargetError when none are declared."""
    declared = target.services[service]
    wanted = dict(declared.labels or {})
    if declared.compose is not None and target.project is not None:
        wanted |= {PROJECT: target.project, SERVICE: declared.compose}
    if not wanted:
        raise TargetError(f"service '{service}' declares neither compose (with a project) nor labels")
    return wanted


def _is_instance(labels: dict[str, str]) -> bool:
    one_off = labels.get(ONE_OFF, "").lower() == "true"
    return not one_off and (FAULT_LABEL not in labels or INSTANCE_LABEL in labels)


def _number(labels: dict[str, str]) -> int:
    number = labels.get(NUMBER, "")
    return int(number) if number.isdigit() else 0


def container(id_: str) -> Container | None:
    """A container as it is now, by its id; None when there is none."""
    from docker.errors import NotFound

    with asking(f"look at container {id_[:12]}"):
        try:
            return client().containers.get(id_)
        except NotFound:
            return None


def container_of(instance: Instance) -> Container | None:
    """The container of an instance as long as it runs since the very same start; None otherwise."""
    found = container(instance.id)
    return found if found is not None and runs(found) and started_at(found) == instance.started else None


def state_of(found: Container) -> dict[str, Any]:
    """A container's state as the engine told it when it was last asked."""
    state: dict[str, Any] = found.attrs["State"]
    return state


def runs(found: Container) -> bool:
    """Whether a container has a process: running or paused, and not waiting to be started again."""
    state = state_of(found)
    return bool(state["Running"]) and not state.get("Restarting") and bool(state.get("Pid", 1))


def started_at(found: Container) -> float:
    """When a container was last started, in seconds since the epoch; 0 when it never was."""
    return epoch_s(str(state_of(found)["StartedAt"]))


def epoch_s(text: str) -> float:
    """A moment as the engine writes it, in seconds since the epoch; 0 for one that never was."""
    if text.startswith("0001-"):
        return 0.0
    # nanoseconds, which datetime does not read
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()


def instance_of(service: str, found: Container, port: int | None) -> Instance:
    """A container as an instance of a service."""
    return Instance(service, str(found.id), started_at(found), str(found.name), port)


def _interfaces(found: Container) -> dict[str, ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    """A container's addresses with their networks' prefixes, by the names of the networks."""
    networks: dict[str, Any] = found.attrs["NetworkSettings"].get("Networks") or {}
    return {
        name: ipaddress.ip_interface(f"{one['IPAddress']}/{one.get('IPPrefixLen') or 32}")
        for name, one in sorted(networks.items())
        if one.get("IPAddress")
    }


def reachable(found: Container, port: int) -> tuple[str, int] | None:
    """Where a container's port answers from here: on its own address, or where it is published; None: nowhere.

    Its own address can be reached where this machine has an address on the same network, which is so for
    the bridges of an engine that runs on this machine, but not in a virtual machine or a user namespace.
    """
    if not engine_is_here():
        return None
    if found.attrs["HostConfig"].get("NetworkMode") == "host":
        return "127.0.0.1", port
    mine = _own_addresses()
    for interface in _interfaces(found).values():
        if any(address in interface.network for address in mine):
            return str(interface.ip), port
    for published in (found.attrs["NetworkSettings"].get("Ports") or {}).get(f"{port}/tcp") or []:
        host = published["HostIp"]
        return ("127.0.0.1" if host in ("", "0.0.0.0", "::") else host), int(published["HostPort"])
    return None


def machine_of(found: Container) -> list[str]:
    """The addresses at which a container finds the machine that its engine runs on, as far as they are known."""
    networks: dict[str, Any] = found.attrs["NetworkSettings"].get("Networks") or {}
    gateways = [str(one[key]) for one in networks.values() for key in ("Gateway", "IPv6Gateway") if one.get(key)]
    here = [str(address) for address in _own_addresses()] if engine_is_here() else []
    return list(dict.fromkeys([*gateways, *here]))


def _own_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found = []
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            try:
                address = ipaddress.ip_address(one.address.partition("%")[0])
            except ValueError:
                continue  # a hardware address
            if not address.is_loopback:
                found.append(address)
    return found
