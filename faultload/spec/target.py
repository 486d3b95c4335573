"""The target file: the system under test, its services and links, and what faults may do to them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from faultload.errors import InvalidInput, Mistake
from faultload.host.addresses import address_of
from faultload.host.processes import identify
from faultload.spec import units
from faultload.spec.mistakes import MistakeAt, mistakes_of
from faultload.spec.yamlfile import Document, load

Port = Annotated[int, Field(ge=1, le=65535)]


def _one_host(url: str) -> str:
    address_of(url)
    return url


Url = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_one_host)]
"""An HTTP URL that all programs read in the same way."""
TARGET_ENV = "FAULTLOAD_TARGET"
"""The environment variable that names the target file, for experiments and verifiers."""
PROTECTED_BY_DEFAULT = ("kube-system", "prod*")


class Model(BaseModel):
    """A part of a target file: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _share(value: object) -> float:
    found = units.share(value)
    if not 0 < found <= 1:
        raise ValueError(f"{value!r} is not a share such as 50%")
    return found


Share = Annotated[float, BeforeValidator(_share), WithJsonSchema({"type": "string", "examples": ["50%"]})]


class Pid(Model):
    """A process by its pid and its start time in seconds since boot, which tells it from a later one."""

    pid: Annotated[int, Field(ge=1)]
    started: float | None = None
    """None: it did not run when the file was read."""


def _as_it_runs(value: object) -> object:
    """A plain pid with the start time of the process that has it now."""
    if isinstance(value, bool) or not isinstance(value, int | Mapping | Pid):
        raise ValueError("must be a pid, or its pid and start: {pid: 4711, started: 812.3}")
    if not isinstance(value, int):
        return value
    known = identify(value)
    return {"pid": value, "started": None if known is None else known.started}


PidNow = Annotated[
    Pid,
    BeforeValidator(_as_it_runs),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, Pid.model_json_schema()]}),
]


def _folder(value: object) -> object:
    if isinstance(value, str) and not value.startswith("/"):
        raise ValueError(f"{value!r} does not begin with /")
    return value


def _address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address such as 127.0.0.1") from None


class Service(Model):
    """How to find a service's instances on each platform, and how to tell that one is ready.

    local: `command` (exact argv; `{port}` stands for the instance's port), `port` and `count` or `ports`,
    `pids`, or `patroni` URLs for a database; `address`, `cwd` and `user` tell its processes from others; `start`,
    `systemd` or `supervisor` says how one comes back after it was killed. docker:
    `compose` (a service of the target's `project`) or `labels`. kubernetes: `selector`, in `namespace` or the
    target's; `container` if a pod has several. On docker and kubernetes, `port` is the port inside the container.
    `health` is a path that returns 200 when the instance is ready; without it, the container's own health check
    or the pod's readiness counts.
    """

    command: list[str] | None = None
    port: Port | None = None
    ports: list[Port] | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    pids: list[PidNow] | None = None
    address: Annotated[str, BeforeValidator(_address)] | None = None
    cwd: Annotated[str, BeforeValidator(_folder)] | None = None
    user: str | int | None = None
    start: Annotated[list[str], Field(min_length=1)] | None = None
    """local: the command that starts an instance again."""
    systemd: Annotated[str, Field(pattern=r"^[^\s/-][^\s/]*$")] | None = None
    """local: the systemd unit that an instance is; `{port}` stands for its port, or its PostgreSQL's."""
    supervisor: Literal["external"] | None = None
    """local: somebody else starts an instance again, and faultload only waits for that."""
    patroni: list[Url] | None = None
    dsn: str | None = None
    health: str | None = None
    min_ready: Annotated[int, Field(ge=0)] | None = None
    compose: str | None = None
    labels: dict[str, str] | None = None
    namespace: str | None = None
    selector: str | None = None
    container: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Service:
        if self.port is not None and self.ports is not None:
            raise MistakeAt(("ports",), "give port and count, or ports, not both")
        if self.ports is not None and self.count not in (None, len(self.ports)):
            raise MistakeAt(("count",), f"count is {self.count}, but there are {len(self.ports)} ports")
        if self.pids is not None and self.command is not None:
            raise MistakeAt(("pids",), "give command or pids, not both")
        ways = self.ways_back
        if len(ways) > 1:
            raise MistakeAt((ways[1],), f"give {' or '.join(ways)}, not both: one of them starts it again")
        if ways and self.pids is not None:
            raise MistakeAt((ways[0],), "what comes back has another pid: give command, port or ports, not pids")
        if self.start is not None and self.patroni is not None:
            raise MistakeAt(("start",), "one command cannot start every member: give systemd or supervisor")
        return self

    @property
    def ways_back(self) -> list[str]:
        """Which of `start`, `systemd` and `supervisor` are given."""
        given = {"start": self.start, "systemd": self.systemd, "supervisor": self.supervisor}
        return [name for name, value in given.items() if value is not None]

    @property
    def declared(self) -> int:
        """How many instances there should be."""
        if self.pids is not None:
            return len(self.pids)
        if self.patroni is not None:
            return len(self.patroni)
        return self.count or len(self.ports or [0])

    @property
    def instance_ports(self) -> list[int | None]:
        """The port of each declared instance, None where none is declared."""
        if self.ports is not None:
            return list(self.ports)
        if self.port is not None:
            return [self.port + index for index in range(self.declared)]
        return [None] * self.declared


class Link(Model):
    """A link between two services.

    local: the control URL of a link proxy, and the `token` of its configuration. docker and kubernetes: the
    server's `port` inside its containers (by default the service's), and the `protocol` for probes to use.
    """

    proxy: Url | None = None
    token: str | None = None
    port: Port | None = None
    protocol: Literal["http", "postgres", "tcp"] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Link:
        if self.token is not None and self.proxy is None:
            raise MistakeAt(("token",), "a token is for a link proxy: give proxy too")
        return self


class Guard(Model):
    """How many instances of a service faults may touch at once."""

    max_instances: Annotated[int, Field(ge=1)] | None = None
    max_share: Share | None = None


class TargetFile(Model):
    """A target file; see `read_target`.

    A docker or kubernetes target without an `id` gets the engine's or cluster's when it is used.
    """

    id: str = ""
    name: str
    platform: Literal["local", "docker", "kubernetes", "external"]
    url: Url | None = None
    project: str | None = None
    """docker: the compose project."""
    context: str | None = None
    """kubernetes: the kubeconfig context; by default the current one."""
    namespace: str | None = None
    """kubernetes: the namespace of services that name none."""
    helper_namespace: str | None = None
    """kubernetes: where privileged helper pods may run; by default the service's namespace."""
    network: Literal["helper", "policy"] = "helper"
    """kubernetes: partition with a helper in the pod's network, or with a NetworkPolicy the cluster enforces."""
    services: dict[str, Service] = {}
    links: dict[str, Link] = {}
    allow: list[str] = []
    protected: list[str] = []
    guard: Guard = Guard()

    @model_validator(mode="after")
    def _whole(self) -> TargetFile:
        if not self.id and self.platform in ("local", "external"):
            if self.url is None:
                raise MistakeAt(("id",), "a target without a url needs an id")
            object.__setattr__(self, "id", id_of_url(self.url))
        for name in self.links:
            ends = name.split(" -> ")
            if len(ends) != 2:
                raise MistakeAt(("links", name), "a link is written as 'client -> server'")
            missing = [end for end in ends if end not in self.services]
            if missing:
                raise MistakeAt(("links", name), f"there is no service '{missing[0]}' in this file")
        return self

    def namespace_of(self, service: str) -> str | None:
        """The Kubernetes namespace of a service."""
        return self.services[service].namespace or self.namespace

    def is_protected(self, name: str) -> bool:
        """Whether a service or namespace must never be touched."""
        return any(fnmatch(name, pattern) for pattern in (*PROTECTED_BY_DEFAULT, *self.protected))

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True, exclude={"guard"}) | {
            "guard": {
                key: value if key != "max_share" else f"{value * 100!r}%"
                for key, value in self.guard.model_dump(exclude_none=True).items()
            }
        }


def id_of_url(url: str) -> str:
    """The target id of a plain URL: scheme, host and port."""
    found = address_of(url)
    port = found.port or {"http": 80, "https": 443}[found.scheme]
    return f"{found.scheme}://{found.host}:{port}"


def read_target(file: Path) -> TargetFile:
    """Read a target file. Raises InvalidInput with every mistake."""
    document = load(file)
    target = mistakes_of(TargetFile, document)
    mistakes = list(_platform_mistakes(target, document))
    if mistakes:
        raise InvalidInput(mistakes)
    return target


def _platform_mistakes(target: TargetFile, document: Document) -> list[Mistake]:
    mistakes = []
    for name, service in target.services.items():
        path = ("services", name)
        ways = (service.command, service.pids, service.patroni, service.port, service.ports)
        if target.platform == "local" and all(way is None for way in ways):
            hint = "give command, port, ports, pids or patroni"
            mistakes.append(document.mistake(path, "nothing says which processes are this service", hint))
        texts = {"command": service.command, "start": service.start, "systemd": [service.systemd or ""]}
        if service.patroni is not None:
            del texts["systemd"]  # there `{port}` is what Patroni says of each member
        for key, parts in texts.items():
            if any("{port}" in part for part in parts or []) and service.port is None and service.ports is None:
                hint = "add port: the first instance's port"
                mistakes.append(document.mistake((*path, key), "{port} stands for a port, but none is given", hint))
        if target.platform != "local":
            hint = "take it out: the engine or the cluster starts them again"
            what = f"is for processes on platform local, not for {target.platform}"
            mistakes += [document.mistake((*path, way), what, hint) for way in service.ways_back]
        if target.platform == "docker" and service.compose is None and service.labels is None:
            hint = "give compose (with the target's project) or labels"
            mistakes.append(document.mistake(path, "nothing says which containers are this service", hint))
        if target.platform == "docker" and service.compose is not None and target.project is None:
            hint = "add project: the compose project, as `docker compose ls` shows it"
            mistakes.append(document.mistake((*path, "compose"), "a compose service needs a project", hint))
        if target.platform == "kubernetes" and service.selector is None:
            hint = "give selector, such as app=api"
            mistakes.append(document.mistake(path, "nothing says which pods are this service", hint))
        if target.platform == "kubernetes" and target.namespace_of(name) is None:
            hint = "add namespace, here or for the whole target"
            mistakes.append(document.mistake(path, "this service has no namespace", hint))
    for name, link in target.links.items():
        if target.platform == "local" and link.proxy is None:
            hint = "proxy: http://127.0.0.1:PORT"
            mistakes.append(document.mistake(("links", name), "a local link needs a link proxy", hint))
    return mistakes


def target_from_json(value: Mapping[str, Any]) -> TargetFile:
    """A target as `TargetFile.to_json` wrote it."""
    return TargetFile.model_validate(value)


def external(url: str) -> TargetFile:
    """A target of which only the URL is known: it can be loaded, but no fault can touch it."""
    return TargetFile(id=id_of_url(url), name=address_of(url).host, platform="external", url=url)
