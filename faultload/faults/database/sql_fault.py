"""What faults made with SQL share: the servers of a target's declared DSN, and their instances."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults.base import FaultRequest, PlatformFault
from faultload.platforms import platform_of
from faultload.platforms.base import Instance
from faultload.platforms.databases.patroni import cluster_problems, nodes
from faultload.platforms.databases.postgres import Server, leader_of, need_client, servers
from faultload.spec.target import TargetFile
from faultload.spec.yamlfile import expand_secrets

_SAME_START_S = 0.01


class SqlFault(PlatformFault):
    """A fault on a database service that declares a `dsn` with all its hosts, and `patroni` where it has one."""

    needs = "`dsn` with every host in the target file, and `patroni` if the database has it; psycopg"

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.service = str(request.argument("service", "db"))
        service = target.services.get(self.service)
        if service is None or service.dsn is None:
            raise Refused(f"service '{self.service}' declares no `dsn`, so faultload cannot talk to its database")
        self._declared = service.dsn
        self._kept: str | None = None
        self.urls = service.patroni or []

    @property
    def dsn(self) -> str:
        """The DSN with its secrets, which come from the environment, or in another process from the plan."""
        if self._kept is None:
            self._kept = str(expand_secrets(self._declared))
        return self._kept

    def private(self) -> dict[str, str]:
        """For the part of the plan that is kept out of the record: undo has no environment to rely on."""
        return {"dsn": self.dsn}

    def know(self, plan: Mapping[str, Any]) -> None:
        """Take the DSN from a plan."""
        self._kept = str(plan["private"]["dsn"])

    def gate(self) -> list[str]:
        return cluster_problems(self.service, self.urls) if self.urls else []

    def _servers(self) -> tuple[Server, list[Server]]:
        """The leader and all others. Raises Refused without a leader or a client library."""
        need_client()
        found = servers(self.dsn)
        leader = leader_of(found)
        if leader is None:
            raise Refused(f"service '{self.service}' has no leader: nothing to {self.request.kind}")
        return leader, [server for server in found if server is not leader]

    def _instances(self, found: Sequence[Server]) -> list[Instance]:
        """The instances that servers are. Raises Refused for a server that is none of the declared ones."""
        by_name = _members(self.target, self.service) if self.urls else {}
        by_port = {one.port: one for one in by_name.values() or platform_of(self.target).instances(self.service)}
        instances = []
        for server in found:
            name = member_name(self.urls, server.started)
            instance = by_name.get(name or "") or (by_port.get(server.port) if not by_name else None)
            if instance is None:
                what = f"{name or 'PostgreSQL'} at {server.host}:{server.port}"
                raise Refused(f"{what} is no running instance of service '{self.service}' as it is declared")
            instances.append(instance)
        return instances


def member_name(urls: Sequence[str], started: float) -> str | None:
    """The member whose Patroni runs the server that started at this moment, or None."""
    for node in nodes(urls).values():
        if node.postmaster_started is not None and abs(node.postmaster_started - started) < _SAME_START_S:
            return node.name
    return None


def _members(target: TargetFile, service: str) -> dict[str, Instance]:
    """The instances of a cluster by the names that Patroni knows them by."""
    name = f"faultload.faults.database.{target.platform}"
    try:
        found = importlib.import_module(name).members
    except (ModuleNotFoundError, AttributeError):
        # a pod's name is its member's, as Patroni's own manifests have it
        return {instance.name: instance for instance in platform_of(target).instances(service)}
    members: dict[str, Instance] = found(target, service)
    if not members:
        raise TargetError(f"service '{service}' has no running member")
    return members
