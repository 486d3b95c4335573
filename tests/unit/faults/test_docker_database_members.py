"""Which container is which member: by host name, compose service, name, or address, and never by a guess."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from faultload.faults.database.docker import _container_of
from faultload.platforms.databases.patroni import Member


def container(name: str, host: str, service: str = "", address: str = "", aliases: tuple[str, ...] = ()) -> Any:
    network = {"IPAddress": address, "GlobalIPv6Address": "", "Aliases": list(aliases) or None}
    attrs = {"Config": {"Hostname": host}, "NetworkSettings": {"Networks": {"own": network}}}
    return SimpleNamespace(name=name, labels={"com.docker.compose.service": service}, attrs=attrs)


def member(name: str, host: str = "10.0.0.9") -> Member:
    return Member(name, "leader", "running", host, 5432, 1, f"http://{host}:8008/patroni")


@pytest.mark.parametrize(
    "mine",
    [
        container("x", host="pg1"),
        container("x", host="0a1b2c3d4e5f", service="pg1"),
        container("pg1", host="0a1b2c3d4e5f"),
        container("x", host="0a1b2c3d4e5f", address="10.0.0.9"),
        container("x", host="0a1b2c3d4e5f", aliases=("10.0.0.9",)),
    ],
    ids=["host name", "compose service", "name", "address", "alias"],
)
def test_a_members_container_is_found(mine: Any) -> None:
    other = container("y", host="f5e4d3c2b1a0", service="pg2", address="10.0.0.8")
    assert _container_of(member("pg1"), [other, mine]) is mine


def test_containers_of_one_service_are_told_apart_by_their_addresses() -> None:
    pair = [container(f"db-{n}", host=f"{n}" * 12, service="db", address=f"10.0.0.{n}") for n in (1, 2)]
    assert _container_of(member("db", "10.0.0.2"), pair) is pair[1]


def test_no_container_is_better_than_a_guess() -> None:
    pair = [container(f"db-{n}", host=f"{n}" * 12, service="db") for n in (1, 2)]
    assert _container_of(member("db", "10.0.0.2"), pair) is None
