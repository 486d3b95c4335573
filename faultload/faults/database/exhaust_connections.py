"""exhaust_connections: takes a share of the free connections of a PostgreSQL cluster's leader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.database.postgres_holder import connections_to, holders, start
from faultload.faults.database.sql_fault import SqlFault
from faultload.faults.network.local import EXPIRY_MARGIN_S
from faultload.host.processes import end
from faultload.platforms.base import Instance
from faultload.platforms.databases.postgres import (
    Slots,
    admitted,
    application_name,
    end_sessions,
    servers,
    session,
    slots,
    too_many,
)
from faultload.platforms.local.processes import wait_until

_WITNESS_S = 3.0


@makes("exhaust_connections", "local", "docker", "kubernetes")
class ExhaustConnections(SqlFault):
    """A process of its own opens connections to the leader and keeps them.

    Free means free for ordinary users: what `superuser_reserved_connections` and `reserved_connections` keep
    back stays free, so that Patroni and undo get in. With a share of 1 every connection that becomes free
    meanwhile is taken too. The witness needs the reserved ones for a moment when the DSN is a superuser's:
    only such a one can see that all others are gone. A pooler between the DSN and PostgreSQL counts its own
    connections, so the DSN has to name PostgreSQL itself.
    """

    made_by = "a process opens connections to the leader and keeps them open; reserved ones stay free"
    witnessed_by = "opens connections until the server refuses one (SQLSTATE 53300), and counts them"
    undone_by = (
        "ends the process, then every session with the fault's `application_name`; ends on its own 5 s after the "
        "duration"
    )

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.share = float(self.request.argument("share", 1.0))
        self.name = application_name(self.request.fault_id)
        self._wanted = 0
        self._leader = ("", 0)

    def resolve(self) -> list[Instance]:
        leader, _ = self._servers()
        return self._instances([leader])

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        leader, _ = self._servers()
        free = self._slots(leader.address).free
        take = int(self.share * free)
        if take < 1:
            raise Refused(f"service '{self.service}' has {free} free connections: {self.share:g} of them is none")
        return {
            "host": leader.host,
            "port": leader.port,
            "name": self.name,
            "take": take,
            "all": self.share == 1.0,
            "private": self.private(),
        }

    def _slots(self, address: tuple[str, int]) -> Slots:
        with session(self.dsn, address) as sql:
            return slots(sql, self.name)

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self._wanted = int(plan["take"])
        self._leader = (str(plan["host"]), int(plan["port"]))
        lasts_s = self.request.duration_s + EXPIRY_MARGIN_S
        start("connections", self.request.fault_id, self.dsn, plan, lasts_s)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        """As many as there should be are missing: counted by opening what the server still admits.

        Others come and go meanwhile, so the look is repeated for a few seconds.
        """
        import psycopg

        sight = WitnessReport(False, "the leader does not answer")

        def seen() -> bool:
            nonlocal sight
            try:
                sight = self._look(self._leader)
            except psycopg.Error as error:
                if not too_many(error):
                    raise
                # an ordinary user's DSN is refused altogether
                sight = WitnessReport(self.share == 1.0, f"a new connection is refused: {str(error).strip()}")
            return sight.seen

        wait_until(seen, _WITNESS_S, 0.2)
        return sight

    def _look(self, address: tuple[str, int]) -> WitnessReport:
        with session(self.dsn, address) as sql:
            now = slots(sql, self.name)
            # one is the session that asks
            total = now.limit + (now.reserved if now.superuser else 0) - 1
            still = admitted(self.dsn, address, total)
        without_us = total - now.others
        missing = without_us - still
        free = max(0, still - (now.reserved - 1 if now.superuser else 0))
        what = f"{still} new connections are admitted and then refused, {missing} fewer than without the fault"
        if self.share == 1.0:
            return WitnessReport(free == 0 and missing > 0, f"{what}; none of them is an ordinary user's")
        return WitnessReport(missing >= self._wanted, what)

    def lasts(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """Whether the holder runs and holds them; where they go through a Unix socket, whether it runs."""
        keeping = holders(self.request.fault_id)
        if not keeping:
            return WitnessReport(False, "the process that held the connections ended")
        if str(plan["host"]).startswith("/"):
            return WitnessReport(True, "the process that holds the connections runs")
        held = sum(connections_to(process, int(plan["port"])) for process in keeping)
        # with a share of 1, one that somebody ended is taken again as soon as it is free
        least = 1 if plan["all"] else int(plan["take"])
        return WitnessReport(held >= least, f"{held} of {plan['take']} connections are held")

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        """The process first: its end alone gives the connections back, and without them nobody gets in."""
        import psycopg

        self.know(plan)
        left = end(holders(self.request.fault_id))
        if left:
            raise TargetError(f"the process that holds the connections does not end: {left[0].pid}")
        for server in servers(self.dsn):
            try:
                end_sessions(self.dsn, server.address, str(plan["name"]))
            except psycopg.Error as error:
                raise TargetError(f"PostgreSQL at {server.host}:{server.port}: {error}") from None

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        """A new connection is admitted, and no server has a session of ours any more."""
        import psycopg

        self.know(plan)
        try:
            found = servers(self.dsn)
            ours = sum(self._slots(server.address).ours for server in found)
        except (psycopg.Error, TargetError) as error:
            return WitnessReport(False, str(error))
        return WitnessReport(
            ours == 0, f"{len(found)} servers admit a new connection; {ours} sessions are left of the fault"
        )
