"""What faults on a PostgreSQL cluster under Patroni share on every platform."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.platforms.base import Instance
from faultload.platforms.databases.patroni import (
    Member,
    call,
    cluster,
    cluster_problems,
    configuration,
    nodes,
    slowest_failover_s,
    unfit,
)
from faultload.platforms.local.processes import wait_until
from faultload.spec.target import TargetFile

_ASKED_AGAIN_S = 10.0


class ClusterFault(PlatformFault):
    """A fault on a declared cluster, which is gone when a leader runs again."""

    gone_within_s = 30.0
    needs = "`patroni` URLs in the target file"

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.service = str(request.argument("service", "db"))
        service = target.services.get(self.service)
        if service is None or service.patroni is None:
            raise Refused(f"service '{self.service}' declares no `patroni` URLs, so its leader is unknown")
        self.urls = service.patroni

    def gate(self) -> list[str]:
        return cluster_problems(self.service, self.urls)

    def _leading(self) -> str | None:
        """Who leads, as PostgreSQL itself says right now: what /cluster says can be as old as `loop_wait`."""
        return next((node.name for node in nodes(self.urls).values() if node.running and node.leads), None)

    def _leader(self) -> Member:
        leader = cluster(self.urls).leader
        if leader is None:
            raise Refused(f"service '{self.service}' has no leader: nothing to {self.request.kind}")
        return leader

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """A leader runs again, as PostgreSQL itself says right now; the standby may still be catching up."""
        before = int(plan["timeline"])
        for node in nodes(self.urls).values():
            # a server that has not been started since is the one that is meant to die
            same = node.name == plan["member"] and node.postmaster_started != plan.get("started")
            if node.running and node.leads and (node.timeline > before or same):
                return WitnessReport(True, f"{node.name} leads on timeline {node.timeline} (before: {before})")
        return WitnessReport(False, "no member leads")


class FailoverFault(ClusterFault):
    """The leader dies: its postmaster alone, or the whole member."""

    @property
    def mode(self) -> str:
        return str(self.request.argument("mode", "postmaster"))

    def gate(self) -> list[str]:
        """A member that is brought back before the cluster could replace it was never failed over."""
        found = super().gate()
        if self.mode == "member" and not found and not cluster(self.urls).paused:
            slowest = slowest_failover_s(self.urls)
            if self.request.longest_s < slowest:
                found.append(
                    f"{self.service}: a leader that dies with its Patroni is replaced within {slowest:g} s "
                    f"(ttl + loop_wait), and this fault would be undone after {self.request.longest_s:g} s: give "
                    f"it a duration_s of at least {slowest:g}"
                )
        return found

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        state = cluster(self.urls)
        leader = state.leader
        known = nodes(self.urls).get(leader.name) if leader is not None else None
        return {
            "timeline": state.timeline,
            "member": leader.name if leader else None,
            "started": known.postmaster_started if known is not None else None,
            "api": known.url if known is not None else None,
        }

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """A leader runs again and, where the whole member died, its Patroni does too."""
        sight = super().gone(instances, plan)
        if sight.seen and self.mode == "member" and plan["member"] not in nodes(self.urls):
            return WitnessReport(False, f"{sight.what}, but the Patroni of {plan['member']} does not answer yet")
        return sight

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Where the member did not come back by itself: the member, then its PostgreSQL."""
        if self.mode == "member":
            self._bring_back(instances, plan)
        if self._leading() is None and plan.get("api"):
            # paused, or without a standby fit to lead: the old leader has to start again where it was
            api = str(plan["api"])
            wait_until(lambda: self._leading() is not None or _restarted(api), 15.0, 1.0)

    @abstractmethod
    def _bring_back(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Start the member where it does not run."""


class SwitchoverFault(ClusterFault):
    """The leader hands over through Patroni's own API."""

    made_by = "Patroni: `POST /switchover`"
    witnessed_by = "another member leads, according to the members"
    undone_by = "nothing to undo: any leader is a healthy state"

    @abstractmethod
    def _instance(self, leader: Member) -> Instance:
        """The instance that is the leader. Raises Refused when it is not found."""

    def resolve(self) -> list[Instance]:
        leader = self._leader()
        state = cluster(self.urls)
        synchronous = configuration(self.urls).get("synchronous_mode") not in (None, False, "off", "quorum")
        wanted = self.request.argument("candidate")
        names = [wanted] if wanted else [one.name for one in state.members if one.name != leader.name]
        problems = [unfit(state, name, synchronous=synchronous) for name in names]
        if not names or all(problems):
            why = "; ".join(problem for problem in problems if problem) or "there is no other member"
            raise Refused(f"service '{self.service}' cannot switch over: {why}")
        if state.paused and not wanted:
            raise Refused(f"service '{self.service}' is in maintenance mode: name the candidate of the switchover")
        return [self._instance(leader)]

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        leader = self._leader()
        return {"timeline": cluster(self.urls).timeline, "member": leader.name}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        member = self._before = str(plan["member"])
        body = {"leader": member}
        if self.request.argument("candidate"):
            body["candidate"] = self.request.argument("candidate")
        deadline, doubtful = time.monotonic() + _ASKED_AGAIN_S, False
        while True:
            status, text = self._ask(body)
            if status in (200, 202):
                return
            # 503: its store did not take the request just now, or took it and nothing is known of it
            doubtful = doubtful or status == 503
            if doubtful and self._leading() not in (None, member):
                return
            if status != 503 or time.monotonic() >= deadline:
                raise TargetError(f"Patroni refused the switchover ({status}): {text.strip()}")
            time.sleep(1.0)

    def _ask(self, body: Mapping[str, Any]) -> tuple[int, str]:
        """What the first member that answers says to the switchover: status and text."""
        problem = ""
        for url in self._asked(str(body["leader"])):
            try:
                return call(f"{url}/switchover", body, timeout_s=30.0)
            except TargetError as error:
                problem = str(error)
        raise TargetError(problem)

    def _asked(self, leader: str) -> list[str]:
        """The declared URLs, that of the leader first: any member can be asked."""
        known = nodes(self.urls)
        first = [known[leader].url] if leader in known else []
        return first + [node.url for node in known.values() if node.name != leader]

    _before = ""

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        moved = wait_until(lambda: self._leading() not in (None, self._before), 15.0, 0.2)
        text = f"{self._leading() or 'nobody'} leads now, {self._before} led before"
        return WitnessReport(moved and bool(self._before), text)

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """Nothing to restore: who leads is not part of a healthy state."""


def _restarted(base_url: str) -> bool:
    """Ask a member to start its PostgreSQL; False when it did not."""
    try:
        status, _ = call(f"{base_url}/restart", {}, timeout_s=10.0)
    except TargetError:
        return False
    return status == 200
