"""The memory service on the cluster of KUBECONFIG, in a namespace of a test module's own."""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import no_cluster

from faultload import reference
from faultload.faults.base import FaultRequest
from faultload.host.processes import identify
from faultload.platforms.databases import patroni
from faultload.platforms.kubernetes.client import pods_of
from faultload.reference.host.kubernetes import NAMESPACE_ENV
from faultload.spec.target import TargetFile, read_target

NAME = "memory"
READY_S = 240.0
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Up:
    """It, once it is ready."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.target: TargetFile = read_target(file)
        self.db = self.target.services["db"]

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of the gateway's answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", "idempotency-key": secrets.token_hex(8)}
        request = urllib.request.Request(f"{self.target.url}{path}", data, headers, method=method)
        try:
            with _direct.open(request, timeout=10) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def sql(self, statement: str) -> Any:
        """One value from whichever member takes writes; nothing of faultload's is asked."""
        assert self.db.dsn is not None
        with psycopg.connect(self.db.dsn, autocommit=True, connect_timeout=5) as connection:
            row = connection.execute(statement).fetchone()  # type: ignore[call-overload]
        return None if row is None else row[0]

    def leader(self) -> str | None:
        leader = patroni.cluster(self.db.patroni or []).leader
        return None if leader is None else leader.name

    def whole(self) -> bool:
        """Whether both members run and the standby is synchronous again."""
        state = patroni.cluster(self.db.patroni or [])
        return sorted(member.role for member in state.members) == ["leader", "sync_standby"]

    def members(self) -> dict[str, tuple[str, int]]:
        """UID and restart count of each member's pod by its name."""
        return {
            pod.name: (pod.uid, pod.containers["postgres"].restarts)
            for pod in pods_of(self.target, "db")
            if "postgres" in pod.containers
        }

    def request(self, kind: str, **arguments: Any) -> FaultRequest:
        return FaultRequest(f"{kind}#1@test-{secrets.token_hex(4)}", kind, arguments, 10.0)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Up for all tests of a module; owned by this process, so that a killed one leaves a known orphan."""
    if (reason := no_cluster()) is not None:
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv(NAMESPACE_ENV, f"faultload-test-{secrets.token_hex(4)}")
        try:
            started = reference.start(NAME, "kubernetes", owner=identify(os.getpid()))
            yield Up(started.wait_ready(READY_S))
        finally:
            assert reference.stop(NAME, "kubernetes") == []
