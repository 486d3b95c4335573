"""pause_replication: the standbys of a PostgreSQL cluster still receive, but no longer replay."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.database.postgres_holder import holders, start
from faultload.faults.database.replay import MARK, restore
from faultload.faults.database.sql_fault import SqlFault, member_name
from faultload.faults.network.local import EXPIRY_MARGIN_S
from faultload.host.processes import end
from faultload.platforms.base import Instance
from faultload.platforms.databases.patroni import cluster, configuration, configure, nodes
from faultload.platforms.databases.postgres import (
    Server,
    leader_of,
    pause_replay,
    received_and_replayed,
    replay_paused,
    servers,
    session,
    written,
)
from faultload.platforms.local.processes import wait_until

_RESUMED_BY_PATRONI = 140000
_SETTLED_S = 0.3
_FOLLOW_S = 5.0
_LOOK_S = 1.5


@makes("pause_replication", "local", "docker", "kubernetes")
class PauseReplication(SqlFault):
    """pg_wal_replay_pause() on every standby that is not paused already.

    What users see: reads from a standby go stale. Writes go on, also with synchronous replication, because a
    standby still receives and flushes; with `synchronous_commit = remote_apply` they wait until the undo. From
    PostgreSQL 14 on Patroni resumes every replay that it finds paused (patroni/patroni#1926), unless the cluster
    is in maintenance mode. So it is put there for as long as the fault lasts: meanwhile nobody takes over from a
    leader that dies.
    """

    gone_within_s = 30.0
    look_every_s = 3.0
    made_by = (
        "`pg_wal_replay_pause()` on every standby; from PostgreSQL 14 on, Patroni is put into maintenance mode "
        "because it would resume replay (so there is no failover during the fault)"
    )
    witnessed_by = "the leader writes WAL, a standby receives it, and the standby's replay position does not move"
    undone_by = (
        "`pg_wal_replay_resume()` on servers that have not restarted since; leaves maintenance mode if we entered "
        "it; a process of its own does this 5 s after the duration"
    )

    def gate(self) -> list[str]:
        found = super().gate()
        mark = configuration(self.urls).get(MARK) if self.urls else None
        return found + ([f"{self.service}: the cluster still carries the mark of fault {mark}"] if mark else [])

    def resolve(self) -> list[Instance]:
        return self._instances(self._replaying())

    def _replaying(self) -> list[Server]:
        """The standbys that replay now. Raises Refused for none."""
        _, standbys = self._servers()
        found = []
        for standby in standbys:
            with session(self.dsn, standby.address) as sql:
                if not replay_paused(sql):
                    found.append(standby)
        if not found:
            why = "every standby is paused already" if standbys else "there is no standby"
            raise Refused(f"service '{self.service}': {why}: nothing to pause")
        return found

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        standbys = self._replaying()
        resumed = any(standby.version >= _RESUMED_BY_PATRONI for standby in standbys)
        return {
            "standbys": [{"host": one.host, "port": one.port, "started": one.started} for one in standbys],
            "patroni": self.urls,
            "maintenance": bool(self.urls) and resumed and not cluster(self.urls).paused,
            "private": self.private(),
        }

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Every standby follows now: what the witness compares with."""
        behind = _behind(self.dsn, self._replaying(), _FOLLOW_S)
        if behind:
            raise TargetError(f"before the fault already {'; '.join(behind)}")

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        fault = self.request.fault_id
        start("resume", fault, self.dsn, plan, self.request.duration_s + EXPIRY_MARGIN_S)
        if self.urls:
            configure(self.urls, {MARK: fault} | ({"pause": True} if plan["maintenance"] else {}))
        if plan["maintenance"]:
            _wait_for_maintenance(self.urls, plan)
        with ExitStack() as stack:
            sessions = [stack.enter_context(session(self.dsn, _address(one))) for one in plan["standbys"]]
            for look in range(3):
                # a Patroni that was in the middle of its loop may still resume it, once
                time.sleep(_SETTLED_S if look else 0)
                for sql in sessions:
                    pause_replay(sql)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        leader, standbys = self._servers()
        names = {one.id for one in instances}
        standbys = [one for one in standbys if self._instances([one])[0].id in names]
        seen = []
        with session(self.dsn, leader.address) as writer:
            for standby in standbys:
                with session(self.dsn, standby.address) as reader:
                    before = received_and_replayed(reader)[1]
                    position = written(writer)
                    arrived = wait_until(lambda: received_and_replayed(reader)[0] >= position, 3.0)  # noqa: B023
                    time.sleep(_SETTLED_S)
                    after = received_and_replayed(reader)[1]
                name = f"{standby.host}:{standby.port}"
                if after != before:
                    return WitnessReport(False, f"{name} still replays: {after - before} bytes more")
                if position <= after:
                    return WitnessReport(False, f"{name} has replayed all that the leader wrote")
                if not arrived:
                    return WitnessReport(False, f"{name} receives nothing either: that is no pause of its replay")
                seen.append(f"{name} has received and not replayed {position - after} bytes")
        return WitnessReport(bool(seen), "; ".join(seen) or "no standby answers")

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Whether replay is still paused on every standby; one that was started again replays."""
        resumed = []
        for one in plan["standbys"]:
            with session(self.dsn, _address(one)) as sql:
                if not replay_paused(sql):
                    resumed.append(f"{one['host']}:{one['port']}")
        what = f"replay goes on at {', '.join(resumed)}" if resumed else "replay is paused on every standby"
        return WitnessReport(not resumed, what)

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self.know(plan)
        left = restore(self.dsn, self.request.fault_id, plan)
        if left:
            raise TargetError("; ".join(left))
        end(holders(self.request.fault_id))

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Every standby that is there replays what the leader writes now."""
        import psycopg

        self.know(plan)
        known = {_address(one) for one in plan["standbys"]}
        try:
            standbys = [one for one in servers(self.dsn) if not one.leads and one.address in known]
            behind = _behind(self.dsn, standbys, _LOOK_S)
        except (psycopg.Error, TargetError) as error:
            return WitnessReport(False, str(error))
        if not behind and plan["patroni"] and configuration(plan["patroni"]).get(MARK) == self.request.fault_id:
            behind = ["the cluster's configuration still carries the mark of the fault"]
        what = "; ".join(behind) or f"{len(standbys)} standbys replay what the leader writes"
        return WitnessReport(not behind, what)


def _wait_for_maintenance(urls: Sequence[str], plan: Mapping[str, Any]) -> None:
    """Until every standby's own Patroni knows of the maintenance mode: from then on it resumes nothing."""
    started = {one["started"] for one in plan["standbys"]}
    mine = [node.name for one in started if (node := nodes(urls).get(member_name(urls, one) or "")) is not None]

    def known() -> bool:
        now = nodes(urls)
        return all(name in now and now[name].paused for name in mine)

    if not wait_until(known, 15.0, 0.1):
        raise TargetError("Patroni does not enter maintenance mode, so it would resume replay at once")


def _behind(dsn: str, standbys: Sequence[Server], within_s: float) -> list[str]:
    """Which standbys have not replayed within a time what the leader writes now."""
    leader = leader_of(servers(dsn))
    if leader is None:
        return ["nobody leads, so nothing can be replayed"]
    behind = []
    with session(dsn, leader.address) as writer:
        position = written(writer)
    for standby in standbys:
        with session(dsn, standby.address) as reader:
            if not wait_until(lambda: received_and_replayed(reader)[1] >= position, within_s):
                missing = position - received_and_replayed(reader)[1]
                behind.append(f"{standby.host}:{standby.port} is {missing} bytes behind")
    return behind


def _address(standby: Mapping[str, Any]) -> tuple[str, int]:
    return str(standby["host"]), int(standby["port"])
