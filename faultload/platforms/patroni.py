"""A Patroni cluster by its REST API: who leads, on which timeline, and what it takes to hand over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from faultload.errors import TargetError
from faultload.platforms.base import Instance
from faultload.platforms.local_processes import listeners

_direct = build_opener(ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Member:
    """A member as Patroni's /cluster reports it."""

    name: str
    role: str
    state: str
    host: str
    port: int
    timeline: int
    api_url: str

    @property
    def leads(self) -> bool:
        return self.role in ("leader", "master", "primary", "standby_leader") and self.state == "running"


@dataclass(frozen=True, slots=True)
class ClusterState:
    """The members of a cluster, and whether Patroni is paused."""

    members: tuple[Member, ...]
    paused: bool

    @property
    def leader(self) -> Member | None:
        return next((member for member in self.members if member.leads), None)

    @property
    def sync_standby(self) -> Member | None:
        wanted = ("sync_standby", "quorum_standby")
        return next((member for member in self.members if member.role in wanted), None)

    @property
    def timeline(self) -> int:
        """The highest timeline that a running member is on; 0 when none is."""
        return max((member.timeline for member in self.members if member.timeline), default=0)


def call(url: str, body: Mapping[str, Any] | None = None, timeout_s: float = 3.0) -> tuple[int, str]:
    """GET, or POST with a JSON body: status and text. Raises TargetError when nothing answers."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"content-type": "application/json"})
    try:
        with _direct.open(request, timeout=timeout_s) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (URLError, OSError) as error:
        raise TargetError(f"Patroni at {url} does not answer: {getattr(error, 'reason', error)}") from None


def cluster(urls: Sequence[str], timeout_s: float = 3.0) -> ClusterState:
    """The cluster as the first member that answers sees it. Raises TargetError when none does."""
    problem = "no Patroni URL is declared"
    for url in urls:
        try:
            status, text = call(f"{url.rstrip('/')}/cluster", timeout_s=timeout_s)
            value = json.loads(text)
        except (TargetError, ValueError) as error:
            problem = str(error)
            continue
        if status != 200 or "members" not in value:
            problem = f"{url}/cluster answers {status}"
            continue
        members = tuple(
            Member(
                name=member["name"],
                role=str(member.get("role", "")),
                state="running" if member.get("state") in ("running", "streaming") else str(member.get("state")),
                host=str(member.get("host", "")),
                port=int(member.get("port", 0)),
                timeline=int(member["timeline"]) if str(member.get("timeline", "")).isdigit() else 0,
                api_url=str(member.get("api_url", "")),
            )
            for member in value["members"]
        )
        return ClusterState(members, bool(value.get("pause")))
    raise TargetError(problem)


def cluster_problems(service: str, urls: Sequence[str]) -> list[str]:
    """Why a cluster is not ready for a fault, in plain words; empty when it is."""
    try:
        state = cluster(urls)
    except TargetError as error:
        return [f"{service}: {error}"]
    problems = []
    if state.leader is None:
        problems.append(f"{service}: there is no leader")
    if len(state.members) > 1 and state.sync_standby is None and _synchronous(urls):
        problems.append(f"{service}: no standby is sync_standby: a failover could lose writes or find no successor")
    problems += [f"{service}: {m.name} is {m.state}" for m in state.members if m.state != "running"]
    missing = len(urls) - len(state.members)
    if missing > 0:
        problems.append(f"{service}: {missing} of {len(urls)} members are not in the cluster")
    return problems


def _synchronous(urls: Sequence[str]) -> bool:
    """Whether the cluster's configuration asks for synchronous replication."""
    for url in urls:
        try:
            status, text = call(f"{url.rstrip('/')}/config")
            if status == 200:
                return bool(json.loads(text).get("synchronous_mode"))
        except (TargetError, ValueError):
            continue
    return False


def members_of(service: str, urls: Sequence[str]) -> list[Instance]:
    """The local postmasters of a cluster as instances, named like Patroni names the members."""
    try:
        state = cluster(urls)
    except TargetError:
        return []
    found = listeners({member.port for member in state.members})
    return [
        Instance(service, str(process.pid), process.started, member.name, member.port)
        for member in state.members
        if (process := found.get(member.port)) is not None
    ]


def timeline_of(member: Member) -> int:
    """The timeline that a member's own PostgreSQL is on right now; 0 when it does not say."""
    try:
        status, text = call(member.api_url)
        return int(json.loads(text).get("timeline", 0)) if status == 200 else 0
    except (TargetError, ValueError):
        return 0


def api_port(member: Member) -> int:
    """The port of a member's REST API."""
    return urlsplit(member.api_url).port or 0
