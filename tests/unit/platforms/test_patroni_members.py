"""A local process is a member's only where the member's address is this machine's: never by its port number."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from faultload.host.processes import myself
from faultload.platforms.databases import patroni
from faultload.platforms.databases.patroni import ClusterState, Member, members_of, process_at


def cluster_at(monkeypatch: pytest.MonkeyPatch, host: str, port: int) -> None:
    member = Member("db1", "leader", "running", host, port, 1, f"http://{host}:8008")
    monkeypatch.setattr(patroni, "cluster", lambda urls: ClusterState((member,), False))


@pytest.mark.parametrize("host", ["203.0.113.9", "db1.example.com", "10.0.0.7", "127.0.0.2", "::1", ""])
def test_a_process_with_the_same_port_number_is_none_of_a_cluster_elsewhere(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        cluster_at(monkeypatch, host, port)
        assert members_of("db", ["http://127.0.0.1:8008"]) == []
        assert process_at(host, port) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_member_of_this_machine_is_the_process_that_listens_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        cluster_at(monkeypatch, host, port)
        assert members_of("db", ["http://127.0.0.1:8008"]) == [], "it is no PostgreSQL server"
        Path("postmaster.pid").write_text(f"{myself().pid}\n{tmp_path}\n0\n{port}\n")
        [found] = members_of("db", ["http://127.0.0.1:8008"])
        assert (found.name, int(found.id)) == ("db1", myself().pid)
