"""Faults on a local PostgreSQL cluster under Patroni: failover and switchover."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.platforms.base import FaultRequest, Instance, PlatformFault, Sight
from faultload.platforms.local_processes import (
    kill_all,
    listeners,
    process_of,
    restart_plan,
    sight_of_death,
    start_again,
    wait_until,
)
from faultload.platforms.patroni import (
    ClusterState,
    api_port,
    call,
    cluster,
    cluster_problems,
    timeline_of,
)
from faultload.target import TargetFile

_PATRONI = "patroni"


class _OnCluster(PlatformFault):
    gone_within_s = 30.0

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.service = str(request.argument("service", "db"))
        service = target.services.get(self.service)
        if service is None or service.patroni is None:
            raise Refused(f"service '{self.service}' declares no `patroni` URLs: its leader cannot be known")
        self.urls = service.patroni

    def gate(self) -> list[str]:
        return cluster_problems(self.service, self.urls)

    def _state(self) -> ClusterState | None:
        try:
            return cluster(self.urls)
        except TargetError:
            return None

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> Sight:
        """A leader runs again; the standby may still be catching up."""
        state = self._state()
        if state is None or state.leader is None:
            return Sight(False, "the cluster has no running leader")
        before, now = int(plan["timeline"]), timeline_of(state.leader) or state.timeline
        text = f"{state.leader.name} leads on timeline {now} (before: {before})"
        return Sight(now > before or state.leader.name == plan["member"], text)


@makes("failover_database", "local")
class Failover(_OnCluster):
    """SIGKILL for the leader's postmaster, with its Patroni when the mode is `member`."""

    @property
    def mode(self) -> str:
        return str(self.request.argument("mode", "postmaster"))

    def resolve(self) -> list[Instance]:
        leader = cluster(self.urls).leader
        if leader is None:
            raise Refused(f"service '{self.service}' has no leader: nothing to fail over")
        ports = {leader.port: leader.name}
        if self.mode == "member":
            ports[api_port(leader)] = f"{leader.name} {_PATRONI}"
        found = listeners(set(ports))
        missing = [f"{name} (port {port})" for port, name in ports.items() if port not in found]
        if missing:
            raise Refused(f"no process of this machine was found for {', '.join(missing)}")
        # the one that would start the other again goes first
        order = sorted(ports, key=lambda port: port == leader.port)
        return [
            Instance(self.service, str(found[port].pid), found[port].started, ports[port], port) for port in order
        ]

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        state = cluster(self.urls)
        leader = state.leader
        plan: dict[str, Any] = {
            "timeline": state.timeline,
            "member": leader.name if leader else None,
            "api_url": leader.api_url if leader else None,
        }
        for instance in instances:
            if instance.name.endswith(_PATRONI):
                plan["restore"] = restart_plan(process_of(instance))
                plan["private"] = plan["restore"].pop("private")
        return plan

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        kill_all(instances)

    def witness(self, instances: Sequence[Instance]) -> Sight:
        return sight_of_death(instances, "the leader is gone")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Where the member did not come back by itself: its Patroni, then its PostgreSQL."""
        restore = plan.get("restore")
        if restore is not None and not listeners({_port_of(instances, _PATRONI)}):
            start_again({**restore, "private": plan["private"]})
        state = self._state()
        if state is not None and state.leader is None and plan.get("api_url"):
            # paused, or without a standby fit to lead: the old leader has to start again where it was
            base = str(plan["api_url"]).rsplit("/", 1)[0]
            wait_until(lambda: _restarted(base), 15.0, 1.0)


@makes("switchover_database", "local")
class Switchover(_OnCluster):
    """The leader hands over through Patroni's own API; works against any Patroni cluster by URL."""

    def resolve(self) -> list[Instance]:
        state = cluster(self.urls)
        if state.leader is None:
            raise Refused(f"service '{self.service}' has no leader: nothing to switch over")
        return [Instance(self.service, state.leader.name, 0.0, state.leader.name, state.leader.port)]

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {"timeline": cluster(self.urls).timeline, "member": instances[0].name}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        body = {"leader": instances[0].id}
        if self.request.argument("candidate"):
            body["candidate"] = self.request.argument("candidate")
        leader = next(member for member in cluster(self.urls).members if member.name == instances[0].id)
        base = leader.api_url.rsplit("/", 1)[0]
        status, text = call(f"{base}/switchover", body, timeout_s=30.0)
        if status not in (200, 202):
            raise TargetError(f"Patroni refused the switchover ({status}): {text.strip()}")

    def witness(self, instances: Sequence[Instance]) -> Sight:
        def moved() -> bool:
            state = self._state()
            return state is not None and state.leader is not None and state.leader.name != instances[0].id

        ok = wait_until(moved, 15.0, 0.2)
        state = self._state()
        leader = state.leader.name if state is not None and state.leader is not None else "nobody"
        return Sight(ok, f"{leader} leads now, {instances[0].id} led before")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Nothing to restore: who leads is not part of a healthy state."""


def _port_of(instances: Sequence[Instance], ending: str) -> int:
    return next(i.port for i in instances if i.name.endswith(ending) and i.port is not None)


def _restarted(base_url: str) -> bool:
    try:
        status, _ = call(f"{base_url}/restart", {}, timeout_s=10.0)
    except TargetError:
        return False
    if status == 200:
        return True
    time.sleep(0.2)
    return False
