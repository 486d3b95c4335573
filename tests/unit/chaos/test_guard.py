"""The guard: what a fault may touch at most; every rule refuses before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faultload.chaos.guard import KILL_SWITCH_ENV, check_fault, check_target, kill_switch
from faultload.errors import Refused
from faultload.faults.base import FaultRequest, choose
from faultload.platforms.base import Instance
from faultload.platforms.local import platform as local_platform
from faultload.record.directory import RunDirectory
from faultload.spec.target import TargetFile

SERVICES = {"web": {"port": 80, "count": 3}, "prod-db": {"port": 90}}
TARGET = TargetFile.model_validate({"id": "shop", "name": "shop", "platform": "local", "services": SERVICES})


def request(kind: str = "pause", **arguments: Any) -> FaultRequest:
    return FaultRequest("cut#1@run", kind, {"service": "web", **arguments})


def web(count: int) -> list[Instance]:
    return [Instance("web", str(number), 1.0, f"web:{number}") for number in range(count)]


def target(**changes: Any) -> TargetFile:
    return TargetFile.model_validate({**TARGET.model_dump(exclude={"guard"}), **changes})


class Running:
    """The instances that the platform finds, and which of them are ready."""

    def __init__(self, count: int) -> None:
        self.all = web(count)
        self.ready = list(self.all)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    running = Running(4)
    monkeypatch.setattr(local_platform.Local, "instances", lambda self, name: running.all)
    monkeypatch.setattr(local_platform.Local, "ready", lambda self, name: running.ready)
    return running


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({}, 2),
        ({"max_share": "25%"}, 1),
        ({"max_share": "10%"}, 1),
        ({"max_share": "100%"}, 4),
        ({"max_instances": 3}, 3),
        ({"max_instances": 3, "max_share": "50%"}, 2),
        ({"max_instances": 3, "max_share": "10%"}, 1),
        ({"max_instances": 9}, 4),
    ],
)
def test_the_guard_limits_how_much_is_touched(running: Running, limits: dict[str, Any], allowed: int) -> None:
    of = target(guard=limits)
    for count in range(1, 5):
        if count <= allowed:
            check_fault(of, request(), running.all[:count])
        else:
            with pytest.raises(Refused, match=f"would touch {count} of 4 instances of 'web', at most {allowed}"):
                check_fault(of, request(), running.all[:count])


def test_the_only_instance_may_be_touched(running: Running) -> None:
    running.all = running.ready = web(1)
    check_fault(target(), request(), web(1))


def test_what_other_open_faults_touch_counts(running: Running) -> None:
    first, second, third, _ = running.all
    check_fault(target(), request(), [second], touched=[first])
    check_fault(target(), request(), [first, second], touched=[first, second])
    with pytest.raises(Refused, match=r"touch 3 of 4 instances of 'web' \(2 by other open faults\), at most 2"):
        check_fault(target(), request(), [third], touched=[first, second])
    gone = Instance("web", "99", 1.0)
    elsewhere = Instance("store", second.id, second.started)
    check_fault(target(), request(), [third], touched=[first, gone, elsewhere])


def test_the_floor_counts_those_that_stay_ready(running: Running) -> None:
    of = target(services={"web": {"port": 80, "count": 4, "min_ready": 3}})
    check_fault(of, request(), running.all[:1])
    with pytest.raises(Refused, match="would leave 2 ready instances of 'web', 3 must stay ready"):
        check_fault(of, request(), running.all[:2])
    running.ready = running.all[:3]  # one runs, and is not ready
    check_fault(of, request(), running.all[3:])
    with pytest.raises(Refused, match="would leave 2 ready instances"):
        check_fault(of, request(), running.all[:1])


def test_the_floor_counts_what_other_open_faults_touch(running: Running) -> None:
    of = target(services={"web": {"port": 80, "count": 4, "min_ready": 3}})
    with pytest.raises(Refused, match="would leave 2 ready instances"):
        check_fault(of, request(), running.all[:1], touched=running.all[1:2])


def test_scaling_down_counts_as_touching(running: Running) -> None:
    of = target(services={"web": {"port": 80, "count": 4, "min_ready": 2}}, guard={"max_share": "75%"})
    check_fault(of, request("scale", to=2), running.all)
    check_fault(of, request("scale", to=9), running.all)
    with pytest.raises(Refused, match="scale would leave 1 ready instances"):
        check_fault(of, request("scale", to=1), running.all)
    with pytest.raises(Refused, match="scale would touch 4 of 4 instances"):
        check_fault(of, request("scale", to=0), running.all)


def test_scaling_up_takes_nothing_away_from_the_floor(running: Running) -> None:
    of = target(services={"web": {"port": 80, "count": 4, "min_ready": 4}})
    for to in (4, 5, 9):
        check_fault(of, request("scale", to=to), running.all)
    with pytest.raises(Refused, match="scale would leave 3 ready instances"):
        check_fault(of, request("scale", to=3), running.all)


def test_a_failover_keeps_the_floor(running: Running) -> None:
    running.all = running.ready = [Instance("db", "7", 1.0, "pg1"), Instance("db", "8", 1.0, "pg2")]
    leader = [running.all[0], Instance("db", "70", 1.0, "pg1 patroni")]
    for floor, allowed in ((1, True), (2, False)):
        of = target(services={"db": {"patroni": ["http://127.0.0.1:1"], "min_ready": floor}})
        one = FaultRequest("cut#1@run", "failover_database", {"service": "db"})
        if allowed:
            check_fault(of, one, leader)
        else:
            with pytest.raises(Refused, match="would leave 1 ready instances of 'db', 2 must stay ready"):
                check_fault(of, one, leader)


def test_the_guard_keeps_protected_names(running: Running) -> None:
    with pytest.raises(Refused, match="'prod-db' is protected"):
        check_fault(target(), request(), [Instance("prod-db", "1", 1.0)])
    with pytest.raises(Refused, match="'web' is protected"):
        check_fault(target(protected=["w*"]), request(), running.all[:1])
    with pytest.raises(Refused, match="'production-web-1' is protected"):
        check_fault(target(), request(), [Instance("web", "1", 1.0, "production-web-1")])
    cut = FaultRequest("cut#1@run", "partition", {"link": "web -> prod-db"})
    with pytest.raises(Refused, match="'prod-db' is protected"):
        check_fault(target(), cut, [])
    check_fault(target(), FaultRequest("cut#1@run", "partition", {"link": "web -> store"}), [])


@pytest.mark.parametrize("where", ["service", "target"])
@pytest.mark.parametrize("namespace", ["kube-system", "prod", "production-eu"])
def test_the_guard_keeps_protected_namespaces(where: str, namespace: str) -> None:
    spec: dict[str, Any] = {"selector": "app=web"}
    whole: dict[str, Any] = {"platform": "kubernetes"}
    (spec if where == "service" else whole)["namespace"] = namespace
    of = target(services={"web": spec}, **whole)
    with pytest.raises(Refused, match=f"'{namespace}' is protected"):
        check_fault(of, request(), web(1))


@pytest.mark.parametrize("key", ["project", "context", "namespace"])
def test_a_whole_target_with_a_protected_name_is_never_touched(key: str) -> None:
    with pytest.raises(Refused, match="'prod-eu' is protected"):
        check_target(target(**{key: "prod-eu"}), ["shop"], ["shop"])


@pytest.mark.parametrize(
    ("changes", "approved", "allowed", "refused"),
    [
        ({}, [], [], None),
        ({"url": "http://127.0.0.1:80"}, [], [], None),
        ({"url": "http://localhost"}, [], [], None),
        ({"url": "http://[::1]:80"}, [], [], None),
        ({"url": "http://10.0.0.1"}, [], [], "list it under `allow`"),
        ({"url": "http://10.0.0.1"}, ["shop"], [], "list it under `allow`"),
        ({"url": "http://10.0.0.1"}, ["shop"], ["other"], "list it under `allow`"),
        ({"url": "http://10.0.0.1"}, [], ["shop"], "confirm it with --approve shop"),
        ({"url": "http://10.0.0.1", "allow": ["shop"]}, ["other", ""], [], "confirm it with --approve shop"),
        ({"url": "http://10.0.0.1"}, ["shop"], ["shop"], None),
        ({"url": "http://10.0.0.1", "allow": ["shop"]}, ["shop"], [], None),
        ({"platform": "external", "url": "http://127.0.0.1"}, ["shop"], ["shop"], "known only by its URL"),
    ],
)
def test_the_guard_is_closed_for_other_machines(
    changes: dict[str, Any], approved: list[str], allowed: list[str], refused: str | None
) -> None:
    if refused is None:
        check_target(target(**changes), approved, allowed)
    else:
        with pytest.raises(Refused, match=refused):
            check_target(target(**changes), approved, allowed)


def test_the_kill_switch(run: RunDirectory, state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert kill_switch(run) is None
    (run.path / "stop").touch()
    assert kill_switch(run) == run.path / "stop"
    assert kill_switch() is None
    state.mkdir(parents=True)
    (state / "stop").touch()
    assert kill_switch() == state / "stop"
    monkeypatch.setenv(KILL_SWITCH_ENV, str(tmp_path / "named"))
    (tmp_path / "named").touch()
    assert kill_switch() == tmp_path / "named"


def test_trap_the_same_seed_chooses_the_same_instances() -> None:
    instances = web(10)

    def chosen(seed: int, run: str = "a", **arguments: Any) -> list[str]:
        one = FaultRequest(f"kill#1@{run}", "kill", {"service": "web", **arguments}, seed=seed)
        return [instance.id for instance in choose(one, "web", list(reversed(instances)))]

    assert chosen(7, count=4) == chosen(7, run="b", count=4)
    assert len(set(chosen(7, count=10))) == 10, "none twice"
    assert len({tuple(chosen(seed)) for seed in range(40)}) > 5
    assert (len(chosen(1)), len(chosen(1, share=0.35)), len(chosen(1, share=0.01))) == (1, 3, 1)
    with pytest.raises(Refused, match="has 10 running instances, 11 were asked for"):
        chosen(1, count=11)
    with pytest.raises(Refused, match="no running instance"):
        choose(request(), "web", [])
