"""Failover and switchover of a local PostgreSQL cluster under Patroni."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from faultload.errors import Refused
from faultload.faults import makes
from faultload.faults.base import WitnessReport
from faultload.faults.database.cluster_fault import FailoverFault, SwitchoverFault
from faultload.faults.process.local import sight_of_death
from faultload.host.processes import ProcessId
from faultload.platforms.base import Instance
from faultload.platforms.databases.patroni import Member, api_place, members_of, postmaster_of, process_at
from faultload.platforms.local.processes import process_of
from faultload.platforms.local.restart import COPY, HINT, restart_plan, start_again
from faultload.spec.target import Service, TargetFile

_PATRONI = "patroni"


def members(target: TargetFile, service: str) -> dict[str, Instance]:
    """The postmasters of a declared cluster by the names of its members."""
    return {instance.name: instance for instance in members_of(service, target.services[service].patroni or [])}


@makes("failover_database", "local")
class Failover(FailoverFault):
    """SIGKILL for the leader's postmaster, with its Patroni when the mode is `member`."""

    made_by = "SIGKILL to the leader's postmaster; with mode `member`, to its Patroni first"
    needs = "`patroni` URLs in the target file; the same user as the database, or root"
    witnessed_by = "those processes are gone"
    undone_by = "starts whatever no supervisor brought back; if there is no leader, the old one leads again"

    def resolve(self) -> list[Instance]:
        leader = self._leader()
        found = [(leader.name, leader.port, postmaster_of(leader))]
        if self.mode == "member":
            # the one that would start the other again goes first
            host, port = api_place(leader)
            found.insert(0, (f"{leader.name} {_PATRONI}", port, process_at(host, port)))
        missing = [f"{name} (port {port})" for name, port, process in found if process is None]
        if missing:
            raise Refused(f"no process on this machine was found for {', '.join(missing)}")
        return [
            Instance(self.service, str(process.pid), process.started, name, port)
            for name, port, process in found
            if process is not None
        ]

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        plan = super().undo_plan(instances)
        for instance in instances:
            if instance.name.endswith(_PATRONI):
                port = next((one.port for one in instances if one is not instance), None)
                plan["restore"] = _as_started(self.target.services[self.service], process_of(instance), port)
                plan["private"] = plan["restore"].pop("private")
        return plan

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        for instance in instances:  # PostgreSQL's own processes end when they miss their postmaster
            process_of(instance).signal(signal.SIGKILL)

    def witness(self, instances: Sequence[Instance]) -> WitnessReport:
        return sight_of_death(instances, "the leader is gone")

    def _bring_back(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        port = next(one.port for one in instances if one.name.endswith(_PATRONI) and one.port is not None)
        if process_at(urlsplit(str(plan["api"])).hostname or "", port) is None:
            start_again({**plan["restore"], "private": plan["private"]}, self.request.fault_id, _PATRONI)


@makes("switchover_database", "local")
class Switchover(SwitchoverFault):
    """The leader hands over through Patroni's own API."""

    def _instance(self, leader: Member) -> Instance:
        found = postmaster_of(leader)
        if found is None:
            raise Refused(f"no process on this machine was found for {leader.name} (port {leader.port})")
        return Instance(self.service, str(found.pid), found.started, leader.name, leader.port)


def _as_started(service: Service, process: ProcessId, port: int | None) -> dict[str, Any]:
    """A restart plan that also makes the user namespace again in which a process of ours runs unprivileged.

    PostgreSQL refuses to run as root, and root can give it such a namespace instead of another user
    (user_namespaces(7)). The namespace ends with its last process. `port`: where the member's PostgreSQL listens.
    """
    try:
        own_users = Path(f"/proc/{process.pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink()
    except PermissionError as error:
        # of another user's process this cannot be seen, and systemd or a supervisor needs it not
        if service.systemd is None and service.supervisor is None:
            raise Refused(f"{_PATRONI} (pid {process.pid}) is not this user's ({error.filename}): {HINT}") from None
        own_users = False
    except FileNotFoundError:
        raise Refused(f"process {process.pid} has ended meanwhile") from None
    plan = restart_plan(service, process, port, own_users=own_users)
    if not own_users or plan["how"] != COPY:
        return plan
    users = Path(f"/proc/{process.pid}/uid_map").read_text().split()
    groups = Path(f"/proc/{process.pid}/gid_map").read_text().split()
    unshare = shutil.which("unshare")
    if len(users) != 3 or len(groups) != 3 or int(users[1]) != os.geteuid() or unshare is None:
        raise Refused(f"process {process.pid} is in a user namespace that undo could not recreate")
    prefix = [unshare, "--user", f"--map-user={users[0]}", f"--map-group={groups[0]}"]
    argv = [*prefix, plan["executable"], *plan["argv"][1:]]
    return {**plan, "argv": argv, "executable": unshare, "program": None}
