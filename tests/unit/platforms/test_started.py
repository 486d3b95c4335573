"""What undo started again is remembered; whose address counts as taken; and no root keeps another one dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from faultload.chaos.journal import OpenFault
from faultload.errors import Refused, TargetError
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest
from faultload.faults.database import local as database
from faultload.faults.process import local
from faultload.host.listeners import Listener
from faultload.host.processes import ProcessId, identify
from faultload.host.state import started_file
from faultload.platforms.base import Instance
from faultload.platforms.local import restart
from faultload.platforms.local.started import GRACE_S, Start, now_s, starts_of
from faultload.spec.target import Service, TargetFile

GONE = 1 << 22
"""No process has such a number."""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def child() -> Iterator[ProcessId]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    found = identify(process.pid)
    assert found is not None
    yield found
    process.kill()
    process.wait()


# -- what was started


def test_a_start_is_known_to_the_next_undo_as_long_as_it_runs(child: ProcessId) -> None:
    with starts_of("kill#1@x") as starts:
        starts.keep("4711", Start(now_s(), (child,), child.pid, grace=False))
        starts.keep("4712", Start(now_s()))
        starts.keep("4712", None)
    with starts_of("kill#1@x") as starts:
        assert starts.running("4711") == [child] and list(starts.starts) == ["4711"]
        child.signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert starts.running("4711") == [] and not starts.may_appear("4711")
    with starts_of("kill#2@x") as starts:
        assert starts.starts == {}, "another fault's"


def test_what_a_starter_left_in_its_session_is_known_though_it_has_ended(child: ProcessId) -> None:
    starter = subprocess.Popen(
        ["sh", "-c", "sleep 60 > /dev/null & echo $!"], stdout=subprocess.PIPE, start_new_session=True
    )
    said, _ = starter.communicate()
    left = identify(int(said))
    assert left is not None
    assert Start(now_s(), (ProcessId(starter.pid, 1.0),), starter.pid).running() == [left]
    assert Start(now_s(), (ProcessId(GONE, 1.0),), child.pid).running() == [], "another process's number by now"
    left.signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("ago_s", "grace", "waits"),
    [(0.0, True, True), (GRACE_S + 1, True, False), (0.0, False, False), (-1000.0, True, False)],
)
def test_a_starter_that_ended_well_has_a_time_of_grace_which_no_reboot_prolongs(
    ago_s: float, grace: bool, waits: bool
) -> None:
    with starts_of("kill#1@x") as starts:
        starts.keep("4711", Start(now_s() - ago_s, grace=grace))
    with starts_of("kill#1@x") as starts:
        assert starts.may_appear("4711") is waits and starts.running("4711") == []


def test_a_damaged_note_or_a_full_disk_keeps_nothing_from_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with starts_of("kill#1@x") as starts:
        starts.keep("4711", Start(now_s()))
    started_file("kill#1@x").write_text("{")
    with starts_of("kill#1@x") as starts:
        assert starts.starts == {}
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    with starts_of("kill#1@x") as starts:
        starts.keep("4711", Start(now_s()))
        assert starts.may_appear("4711")


def test_the_note_goes_with_the_entry_of_the_fault(tmp_path: Path) -> None:
    with starts_of("kill#1@x") as starts:
        starts.keep("4711", Start(now_s()))
    assert started_file("kill#1@x").exists()
    OpenFault(tmp_path / "entry.json", {"request": {"fault_id": "kill#1@x"}})._close()
    assert not started_file("kill#1@x").exists()


# -- whose address is taken


@pytest.mark.parametrize(
    ("ours", "theirs", "taken"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "::1", False),
        ("::1", "0.0.0.0", False),
        ("::", "127.0.0.1", True),
        ("127.0.0.1", "::", True),
    ],
)
def test_an_address_is_taken_within_its_family_or_by_a_socket_for_both(
    monkeypatch: pytest.MonkeyPatch, ours: str, theirs: str, taken: bool
) -> None:
    monkeypatch.setattr(restart, "listening", lambda ports: [Listener(theirs, 80, 7, 0)])
    monkeypatch.setattr(restart, "holders", lambda inodes: {7: {4711}})
    said = restart._taken([[ours, 80]], [])
    assert said == (f"{theirs}:80 is taken by pid 4711" if taken else None)
    assert restart._taken([[ours, 80]], [7]) is None, "it listened there before the fault"


# -- several roots


def killed(*ports: int | None) -> tuple[Any, list[Instance], dict[str, Any]]:
    """A kill of instances that are gone, and its plan."""
    target = TargetFile.model_validate(
        {"id": "one", "name": "one", "platform": "local", "services": {"web": {"command": ["app"]}}}
    )
    handler = fault_for(target, FaultRequest("kill#1@x", "kill", {"service": "web"}))
    instances = [Instance("web", str(GONE + at), 1.0, f"web:{port}", port) for at, port in enumerate(ports)]
    restores = [
        {"id": one.id, "port": one.port, "how": restart.COPY, "seen_s": 2.0, "listens": []} for one in instances
    ]
    private: dict[str, Any] = {one.id: {} for one in instances}
    known = [one.to_json() for one in instances]
    plan = {"expected": len(ports), "known": known, "restores": restores, "private": private, "stopped": []}
    return handler, instances, plan


def test_one_root_that_cannot_be_started_keeps_no_other_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, instances, plan = killed(81, 82, 83)
    tried = []

    def start_again(order: Mapping[str, Any], fault_id: str, name: str, known: object) -> bool:
        tried.append(name)
        if order["port"] == 82:
            raise TargetError("its port is taken")
        return True

    monkeypatch.setattr(local, "instances_of", lambda target, name: [])
    monkeypatch.setattr(local, "start_again", start_again)
    with pytest.raises(TargetError, match=r"^web:82.*: its port is taken$"):
        handler.undo(instances, plan)
    assert tried == [one.id for one in instances]


def test_a_neighbour_without_a_port_is_not_blamed_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, _, plan = killed(None)
    beside = Instance("web", "5", 1.0, "web:5", None)
    again = Instance("web", "6", 3.0, "web:6", None)
    plan |= {"known": [beside.to_json()], "expected": 2}
    monkeypatch.setattr(local, "instances_of", lambda target, name: [beside, again])
    monkeypatch.setattr(local, "answers", lambda target, instance: True)
    open_now = {"5": ["127.0.0.1:9000"], "6": []}
    monkeypatch.setattr(local, "opened_wrongly", lambda restore, roots: open_now[str(roots[0].pid)])
    assert handler.gone([], plan).seen
    open_now["6"] = ["0.0.0.0:80"]
    assert handler.gone([], plan).what.endswith("web:6 (pid 6) listens on 0.0.0.0:80, which was not open")


# -- a member's Patroni


def test_a_patroni_of_another_user_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def readlink(self: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(database.Path, "readlink", readlink)
    service = Service.model_validate({"patroni": ["http://127.0.0.1:8008"]})
    with pytest.raises(
        Refused, match=r"patroni \(pid 4711\) is not this user's .*say in the target file who starts"
    ):
        database._as_started(service, ProcessId(4711, 1.0), 5432)


def test_the_port_of_a_members_unit_is_its_postgresqls(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def restart_plan(service: Service, process: ProcessId, port: int | None, **options: object) -> dict[str, Any]:
        asked.append((process.pid, port))
        return {"how": restart.SYSTEMD, "private": {}}

    monkeypatch.setattr(database.FailoverFault, "undo_plan", lambda self, instances: {})
    monkeypatch.setattr(database, "restart_plan", restart_plan)
    service = {"patroni": ["http://127.0.0.1:8008"], "systemd": "patroni@{port}"}
    target = TargetFile.model_validate(
        {"id": "one", "name": "one", "platform": "local", "services": {"db": service}}
    )
    request = FaultRequest("f#1@x", "failover_database", {"service": "db", "mode": "member"})
    me = os.getpid()
    instances = [Instance("db", str(me), 1.0, "a patroni", 8008), Instance("db", "5", 1.0, "a", 5432)]
    fault_for(target, request).undo_plan(instances)
    assert asked == [(me, 5432)]
