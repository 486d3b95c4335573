"""A Patroni cluster through its REST API: who leads, on which timeline, and how to hand over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from faultload.errors import TargetError
from faultload.host.addresses import is_this_machine, resolved
from faultload.host.listeners import listeners
from faultload.host.processes import ProcessId
from faultload.host.regular import head_of
from faultload.platforms.base import Instance

_direct = build_opener(ProxyHandler({}))
_ways: dict[str, OpenerDirector] = {}


def ask_by(prefix: str, opener: OpenerDirector) -> None:
    """Ask URLs that begin so by an opener of their own: one with the credentials of a server in between."""
    _ways[prefix] = opener


def _opener(url: str) -> OpenerDirector:
    return next((opener for prefix, opener in _ways.items() if url.startswith(f"{prefix}/")), _direct)


_MOST_OF_A_PIDFILE = 4096
_LEADING = ("leader", "master", "primary", "standby_leader")


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
    barred: bool = False
    """Tagged `nofailover`: it never leads."""

    @property
    def leads(self) -> bool:
        return self.role in _LEADING and self.state == "running"


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


@dataclass(frozen=True, slots=True)
class Node:
    """What one member's own Patroni says of itself, asked at a declared URL."""

    name: str
    url: str
    running: bool
    """PostgreSQL answered a query of Patroni right now; what /cluster says can be as old as `loop_wait`."""
    leads: bool
    timeline: int
    paused: bool
    postmaster_started: float | None
    """Seconds since the epoch: together with the cluster it tells one PostgreSQL server from all others."""


def call(
    url: str, body: Mapping[str, Any] | None = None, timeout_s: float = 3.0, method: str | None = None
) -> tuple[int, str]:
    """GET, or POST (or another method) with a JSON body: status and text. Raises TargetError for no answer."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with _opener(url).open(request, timeout=timeout_s) as response:
            return response.status, response.read().decode(errors="replace")
    except HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        raise TargetError(f"Patroni at {url} does not answer: {getattr(error, 'reason', error)}") from None


def cluster(urls: Sequence[str], timeout_s: float = 3.0) -> ClusterState:
    """The cluster as the first member that answers sees it. Raises TargetError when none does."""
    problem = "no Patroni URL is declared"
    for url in urls:
        try:
            status, text = call(f"{url.rstrip('/')}/cluster", timeout_s=timeout_s)
        except TargetError as error:
            problem = str(error)
            continue
        if status != 200:
            problem = f"{url}/cluster answers {status}"
            continue
        try:
            value = json.loads(text)
            return ClusterState(tuple(map(_member, value["members"])), bool(value.get("pause")))
        except (AttributeError, KeyError, TypeError, ValueError):
            problem = f"{url}/cluster does not answer as Patroni does: {text[:80]!r}"
    raise TargetError(problem)


def _member(value: Mapping[str, Any]) -> Member:
    return Member(
        name=value["name"],
        role=str(value.get("role", "")),
        state="running" if value.get("state") in ("running", "streaming") else str(value.get("state")),
        host=str(value.get("host", "")),
        port=int(value.get("port", 0)),
        timeline=int(value["timeline"]) if str(value.get("timeline", "")).isdigit() else 0,
        api_url=str(value.get("api_url", "")),
        barred=bool((value.get("tags") or {}).get("nofailover")),
    )


def nodes(urls: Sequence[str], timeout_s: float = 3.0) -> dict[str, Node]:
    """The members whose Patroni answers at its declared URL, by name."""
    found = {}
    for url in urls:
        try:
            value = json.loads(call(f"{url.rstrip('/')}/patroni", timeout_s=timeout_s)[1])
            name, started = str(value["patroni"]["name"]), value.get("postmaster_start_time")
            started_s = datetime.fromisoformat(started).timestamp() if started else None
        except (TargetError, ValueError, KeyError, TypeError):
            continue
        timeline = str(value.get("timeline", ""))
        found[name] = Node(
            name=name,
            url=url.rstrip("/"),
            running=value.get("state") == "running" and started_s is not None,
            leads=value.get("role") in _LEADING,
            timeline=int(timeline) if timeline.isdigit() else 0,
            paused=bool(value.get("pause")),
            postmaster_started=started_s,
        )
    return found


def cluster_problems(service: str, urls: Sequence[str]) -> list[str]:
    """Why a cluster is not ready for a fault, in plain words; empty when it is."""
    try:
        state = cluster(urls)
    except TargetError as error:
        return [f"{service}: {error}"]
    problems = []
    if state.leader is None:
        problems.append(f"{service}: there is no leader")
    if len(state.members) > 1 and state.sync_standby is None and configuration(urls).get("synchronous_mode"):
        problems.append(f"{service}: no standby is sync_standby: a failover could lose writes or find no successor")
    problems += [f"{service}: {m.name} is {m.state}" for m in state.members if m.state != "running"]
    missing = len(urls) - len(state.members)
    if missing > 0:
        problems.append(f"{service}: {missing} of {len(urls)} members are not in the cluster")
    return problems


def configuration(urls: Sequence[str]) -> dict[str, Any]:
    """The cluster's own configuration, as the first member that answers has it; empty when none does."""
    for url in urls:
        try:
            status, text = call(f"{url.rstrip('/')}/config")
            if status == 200:
                return dict(json.loads(text))
        except (TargetError, TypeError, ValueError):
            continue
    return {}


def configure(urls: Sequence[str], change: Mapping[str, Any]) -> None:
    """Patch the cluster's configuration and wake every member to it; None takes a key away.

    Each member is asked, because the one that is asked looks at the configuration at once, and the others only
    after `loop_wait`. Raises TargetError when none of them accepts.
    """
    problem = "no Patroni URL is declared"
    accepted = False
    for url in urls:
        try:
            status, text = call(f"{url.rstrip('/')}/config", change, timeout_s=10.0, method="PATCH")
        except TargetError as error:
            problem = str(error)
            continue
        accepted = accepted or status == 200
        if status != 200:
            problem = f"Patroni at {url} refuses a change of the configuration ({status}): {text.strip()}"
    if not accepted:
        raise TargetError(problem)


def slowest_failover_s(urls: Sequence[str]) -> float:
    """How long the cluster may take to replace a leader that died with its Patroni: `ttl` + `loop_wait`.

    Patroni's defaults where the configuration does not say (Patroni documentation, "Dynamic Configuration").
    """
    settings = configuration(urls)
    return max(20.0, float(settings.get("ttl") or 30)) + float(settings.get("loop_wait") or 10)


def unfit(state: ClusterState, candidate: str, *, synchronous: bool) -> str | None:
    """Why a member cannot take over from the leader, in plain words; None when it can."""
    member = next((one for one in state.members if one.name == candidate), None)
    if member is None:
        return f"there is no member '{candidate}' (there are: {', '.join(one.name for one in state.members)})"
    if member.leads:
        return f"'{candidate}' leads already"
    if member.state != "running":
        return f"'{candidate}' is {member.state}"
    if member.barred:
        return f"'{candidate}' is tagged nofailover"
    if synchronous and member.role not in ("sync_standby", "quorum_standby"):
        return f"'{candidate}' is no synchronous standby, and the cluster is in synchronous_mode"
    return None


def members_of(service: str, urls: Sequence[str]) -> list[Instance]:
    """The local postmasters of a cluster as instances, named like Patroni names the members.

    A member on another machine is none of them, whatever listens on its port number here.
    """
    try:
        state = cluster(urls)
    except TargetError:
        return []
    return [
        Instance(service, str(process.pid), process.started, member.name, member.port)
        for member in state.members
        if (process := postmaster_of(member)) is not None
    ]


def postmaster_of(member: Member) -> ProcessId | None:
    """The PostgreSQL server of a member on this machine; None when it lives elsewhere, or does not run."""
    process = process_at(member.host, member.port)
    return process if process is not None and _is_postmaster(process, member.port) else None


def process_at(host: str, port: int) -> ProcessId | None:
    """The process of this machine that answers at a member's address; None when that is another machine's.

    A process of this machine that has the same port number is none of a remote cluster's.
    """
    return listeners({port}, resolved(host)).get(port) if is_this_machine(host) else None


def elsewhere(service: str, urls: Sequence[str]) -> list[str]:
    """The members that are not on this machine, in plain words. Raises TargetError when none answers."""
    members = cluster(urls).members
    return [f"{one.name} of {service} is at {one.host}" for one in members if not is_this_machine(one.host)]


def _is_postmaster(process: ProcessId, port: int) -> bool:
    """Whether a process is the PostgreSQL server of a data directory, on this port.

    By the lock file in its working directory: the first line is its pid, the fourth its port (PostgreSQL's source,
    src/include/utils/pidfile.h).
    """
    head = head_of(f"/proc/{process.pid}/cwd/postmaster.pid", _MOST_OF_A_PIDFILE) or b""
    lines = head.decode(errors="replace").splitlines()
    return len(lines) > 3 and lines[0].strip() == str(process.pid) and lines[3].strip() == str(port)


def api_place(member: Member) -> tuple[str, int]:
    """Host and port of a member's REST API."""
    parts = urlsplit(member.api_url)
    return parts.hostname or "", parts.port or 0
