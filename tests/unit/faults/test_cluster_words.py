"""What is said of a PostgreSQL cluster without asking it: fitness of a candidate, names, addresses, refusals."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from faultload.errors import Refused, TargetError
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest
from faultload.platforms.databases import patroni
from faultload.platforms.databases.patroni import ClusterState, Member, slowest_failover_s, unfit
from faultload.platforms.databases.postgres import addresses, application_name, need_client, too_many
from faultload.spec.target import Service, TargetFile


def member(name: str, role: str = "replica", state: str = "running", barred: bool = False) -> Member:
    return Member(name, role, state, "127.0.0.1", 5432, 1, "http://127.0.0.1:8008/patroni", barred)


STATE = ClusterState(
    (
        member("a", "leader"),
        member("b", "sync_standby"),
        member("c"),
        member("d", state="starting"),
        member("e", barred=True),
    ),
    paused=False,
)


@pytest.mark.parametrize(
    ("candidate", "synchronous", "why"),
    [
        ("b", True, None),
        ("c", False, None),
        ("c", True, "no synchronous standby"),
        ("a", False, "leads already"),
        ("d", False, "is starting"),
        ("e", False, "nofailover"),
        ("z", False, "there is no member 'z'"),
    ],
)
def test_who_may_take_over(candidate: str, synchronous: bool, why: str | None) -> None:
    found = unfit(STATE, candidate, synchronous=synchronous)
    assert found is None if why is None else why in (found or "")


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, 40), ({"ttl": 20, "loop_wait": 1}, 21), ({"ttl": 5, "loop_wait": 1}, 21), ({"ttl": 60}, 70)],
)
def test_an_unplanned_failover_takes_ttl_and_loop_wait_at_most(
    settings: dict[str, Any], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patroni, "configuration", lambda urls: settings)
    assert slowest_failover_s(["http://127.0.0.1:8008"]) == seconds


def test_an_application_name_is_never_cut_off_and_stays_its_faults_own() -> None:
    long = "a-fault-with-a-very-long-name-indeed#12@database-failover-20260101-120000"
    assert application_name("x#1@run") == "faultload x#1@run"
    assert len(application_name(long)) <= 63
    assert application_name(long) != application_name(long.replace("#12", "#13"))
    assert application_name("ä\n").isascii()


def test_every_address_of_a_dsn_is_known() -> None:
    assert addresses("postgresql://u:p@a:1,b:2/x?target_session_attrs=read-write") == [("a", 1), ("b", 2)]
    assert addresses("host=a,b port=7") == [("a", 7), ("b", 7)]
    assert addresses("host=a") == [("a", 5432)]
    with pytest.raises(TargetError) as error:
        addresses("postgresql://u:secret@[")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "words",
    [
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'FATAL:  too many connections for role "app"',
    ],
)
def test_a_refusal_for_too_many_connections_is_told_from_others(words: str) -> None:
    assert too_many(Exception(words))
    assert not too_many(Exception("Connection refused"))


def test_without_a_client_library_the_fault_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"faultload\[postgres\]"):
        need_client()


@pytest.mark.parametrize("kind", ["pause_replication", "exhaust_connections"])
def test_a_database_without_a_dsn_is_refused(kind: str) -> None:
    service = Service(patroni=["http://127.0.0.1:8008"])
    target = TargetFile(id="x", name="x", platform="local", services={"db": service})
    with pytest.raises(Refused, match="declares no `dsn`"):
        fault_for(target, FaultRequest("x#1@y", kind))
