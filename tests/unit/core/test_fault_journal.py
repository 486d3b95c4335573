"""The fault journal: what is open is found and undone by any process: once, in order, and again after a failure."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from faultload.chaos import journal
from faultload.chaos.guard import KILL_SWITCH_ENV, check_fault, check_target, kill_switch
from faultload.chaos.journal import OpenFault, open_faults, plan_fault
from faultload.chaos.undo import undo, undo_all
from faultload.errors import ExitCode, InvalidInput, Refused, TargetError
from faultload.leftovers import undo_leftovers
from faultload.platforms import local_processes
from faultload.platforms.base import FaultRequest, Instance, PlatformFault, Sight, choose
from faultload.record import RunDirectory, read_lines
from faultload.state import file_name
from faultload.target import TargetFile

SERVICES = {"web": {"port": 80, "count": 3}, "prod-db": {"port": 90}}
TARGET = TargetFile.model_validate({"id": "shop", "name": "shop", "platform": "local", "services": SERVICES})


class World:
    """What the fake fault disturbs: names of faults that are there; `stuck` ones do not go away."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.stuck: set[str] = set()
        self.undone: list[str] = []
        self.error: Exception | None = None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Fake(PlatformFault):
        gone_within_s = 0.0

        def resolve(self) -> list[Instance]:
            return [Instance("web", "1", 2.0)]

        def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
            world.there.add(self.request.fault_id)

        def witness(self, instances: Sequence[Instance]) -> Sight:
            return Sight(self.request.fault_id in world.there, "looked")

        def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
            assert instances == [Instance("web", "1", 2.0)]
            assert plan["private"] == "dsn"
            world.undone.append(self.request.fault_id.partition("#")[0])
            if world.error is not None:
                raise world.error
            world.there -= {self.request.fault_id} - world.stuck

        def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> Sight:
            return Sight(self.request.fault_id not in world.there, "looked")

    monkeypatch.setattr(journal, "fault_for", Fake)
    return world


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "run")
    run.begin({})
    return run


def plan(
    run: RunDirectory, name: str = "cut", *, one_shot: bool = False, max_duration_s: float = 60.0
) -> OpenFault:
    request = FaultRequest(f"{name}#1@{run.path.name}", "pause", {"service": "web"})
    instances = [Instance("web", "1", 2.0)]
    undo_plan = {"was": "running", "private": "dsn"}
    return plan_fault(
        run,
        TARGET,
        request,
        instances,
        undo_plan,
        fault=name,
        k=1,
        one_shot=one_shot,
        max_duration_s=max_duration_s,
    )


def inject(world: World, run: RunDirectory, name: str = "cut", **settings: Any) -> OpenFault:
    fault = plan(run, name, **settings).mark("INJECTING", "chaos")
    world.there.add(fault.fault_id)
    return fault.mark("ACTIVE", "chaos")


def states(run: RunDirectory, name: str = "cut") -> list[str]:
    return [line["state"] for line in run.faults() if line["fault"] == name]


def test_the_journal_is_written_ahead(run: RunDirectory, state: Path) -> None:
    fault = plan(run)
    assert states(run) == ["PLANNED"]
    assert [one.entry for one in open_faults()] == [fault.entry]
    assert fault.path == state / "open" / "shop" / f"{file_name('cut#1@run')}.json"
    assert fault.path.stat().st_mode & 0o777 == 0o600, "an entry may hold what nobody else may read"
    line = run.faults()[0]
    assert line["undo"] == {"was": "running"}, "what is private stays out of the record"
    assert fault.plan["private"] == "dsn"
    assert (line["fault"], line["k"], line["kind"], line["target_id"]) == ("cut", 1, "pause", "shop")


def test_a_fault_is_undone_and_witnessed_gone(world: World, run: RunDirectory, state: Path) -> None:
    assert undo(inject(world, run), "warden")
    assert states(run) == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"]
    assert run.faults()[-1]["by"] == "warden"
    assert open_faults() == []
    assert world.there == set()
    assert list((state / "locks").iterdir()) == []
    gone = run.events("witness")[0]
    assert (gone["of"], gone["seen"], gone["by"], gone["fault"], gone["k"]) == ("gone", True, "warden", "cut", 1)


def test_a_fault_is_undone_once(world: World, run: RunDirectory) -> None:
    fault = inject(world, run)
    assert undo(fault, "chaos")
    assert undo(fault, "warden")
    assert world.undone == ["cut"]
    assert states(run).count("UNDONE") == 1


@pytest.mark.parametrize("reached", ["PLANNED", "INJECTING"])
def test_what_was_perhaps_injected_is_undone(world: World, run: RunDirectory, reached: str) -> None:
    fault = plan(run)
    if reached == "INJECTING":
        fault.mark(reached, "chaos")
    assert undo(open_faults()[0], "warden")
    assert world.undone == ["cut"]
    assert states(run)[-2:] == ["UNDOING", "UNDONE"]


def test_what_will_not_go_stays_open_until_it_does(world: World, run: RunDirectory) -> None:
    fault = inject(world, run)
    world.stuck.add(fault.fault_id)
    assert not undo(fault, "chaos")
    assert states(run)[-1] == "UNDO_FAILED"
    assert [one.state for one in open_faults()] == ["UNDO_FAILED"]
    assert run.events("witness")[-1]["seen"] is False
    world.stuck.clear()
    assert undo(open_faults()[0], "undo")
    assert states(run)[-2:] == ["UNDOING", "UNDONE"]
    assert open_faults() == []


@pytest.mark.parametrize("error", [TargetError("no answer"), PermissionError("not yours")])
def test_an_undo_that_fails_says_why(world: World, run: RunDirectory, error: Exception) -> None:
    world.error = error
    assert not undo(inject(world, run), "chaos")
    assert run.events("witness")[-1]["what"] == str(error)
    assert [one.state for one in open_faults()] == ["UNDO_FAILED"]


def test_it_is_undone_when_its_run_directory_was_emptied(world: World, run: RunDirectory) -> None:
    fault = inject(world, run)
    (run.path / "run.json").unlink()
    assert undo(fault, "undo")
    assert open_faults() == []


def test_two_processes_never_undo_at_once(world: World, run: RunDirectory, state: Path) -> None:
    fault = inject(world, run)
    lock = state / "locks" / f"{file_name(fault.fault_id)}.lock"
    lock.parent.mkdir(parents=True)
    other = os.open(lock, os.O_CREAT | os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(undo(fault, "warden")), daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert world.undone == []
    world.there.clear()
    fault.mark("UNDONE", "chaos")  # the other one finished
    os.close(other)
    thread.join(5)
    assert results == [True]
    assert world.undone == []
    assert states(run).count("UNDONE") == 1


def test_a_one_shot_fault_that_came_back_by_itself_is_left_alone(world: World, run: RunDirectory) -> None:
    fault = inject(world, run, one_shot=True)
    threading.Timer(0.1, world.there.clear).start()
    assert undo(fault, "chaos")
    assert world.undone == []
    assert states(run)[-1] == "UNDONE"


def test_a_one_shot_fault_that_does_not_come_back_is_mended_after_its_time(world: World, run: RunDirectory) -> None:
    fault = inject(world, run, one_shot=True, max_duration_s=0.3)
    assert fault.overdue_s < 0
    assert undo(fault, "chaos")
    assert fault.overdue_s >= 0
    assert world.undone == ["cut"]


def test_the_last_fault_is_undone_first_and_one_shot_ones_at_the_end(world: World, run: RunDirectory) -> None:
    for name, one_shot in (("first", False), ("kill", True), ("second", False), ("third", False)):
        inject(world, run, name, one_shot=one_shot, max_duration_s=0.0)
    assert [fault.label for fault in open_faults()] == ["third#1", "second#1", "kill#1", "first#1"]
    assert undo_all(open_faults(), "undo") == []
    assert world.undone == ["third", "second", "first", "kill"]


def test_one_that_will_not_go_does_not_keep_the_others(world: World, run: RunDirectory) -> None:
    inject(world, run, "first")
    stuck = inject(world, run, "second")
    world.stuck.add(stuck.fault_id)
    assert [fault.label for fault in undo_all(open_faults(), "undo")] == ["second#1"]
    assert [fault.label for fault in open_faults()] == ["second#1"]


def test_open_faults_of_a_target_or_a_run(world: World, run: RunDirectory, tmp_path: Path) -> None:
    other = RunDirectory.create(tmp_path / "other")
    other.begin({})
    plan(run)
    plan(other, "freeze")
    assert {fault.label for fault in open_faults("shop")} == {"cut#1", "freeze#1"}
    assert open_faults("shop:2") == []
    assert [fault.label for fault in open_faults(run=other.path)] == ["freeze#1"]
    assert [line["fault"] for line in read_lines(other.faults_path)] == ["freeze"]


@pytest.mark.parametrize("named", ["run", "latest", "shop"])
def test_undo_finds_a_run_by_its_folder_a_link_or_its_target(
    world: World, run: RunDirectory, tmp_path: Path, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    inject(world, run)
    (tmp_path / "latest").symlink_to("run")
    what = named if named == "shop" else str(tmp_path / named)
    assert undo_leftovers(what, everything=False, only_list=False) is ExitCode.PASS
    assert "cut#1 on shop: undone" in capsys.readouterr().out
    assert open_faults() == []


def test_undo_finds_a_run_that_was_started_through_a_link(world: World, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    run = RunDirectory.create(tmp_path / "link" / "run")
    run.begin({})
    inject(world, run)
    assert undo_leftovers(str(tmp_path / "real" / "run"), everything=False, only_list=False) is ExitCode.PASS
    assert world.undone == ["cut"]


def test_undo_of_something_else_touches_nothing(world: World, run: RunDirectory) -> None:
    inject(world, run)
    assert undo_leftovers("shop:2", everything=False, only_list=False) is ExitCode.PASS
    assert undo_leftovers(None, everything=False, only_list=True) is ExitCode.PASS
    with pytest.raises(InvalidInput, match="name a run or a target id, or say --all"):
        undo_leftovers(None, everything=False, only_list=False)
    assert world.undone == []
    world.stuck = set(world.there)
    assert undo_leftovers(None, everything=True, only_list=False) is ExitCode.NOT_UNDONE


# -- the guard


def request(kind: str = "pause", **arguments: Any) -> FaultRequest:
    return FaultRequest("cut#1@run", kind, {"service": "web", **arguments})


def web(count: int) -> list[Instance]:
    return [Instance("web", str(number), 1.0, f"web:{number}") for number in range(count)]


def target(**changes: Any) -> TargetFile:
    return TargetFile.model_validate({**TARGET.model_dump(exclude={"guard"}), **changes})


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> list[Instance]:
    instances = web(4)
    monkeypatch.setattr(local_processes, "instances_of", lambda target, name: instances)
    return instances


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({}, 2),
        ({"max_share": "25%"}, 1),
        ({"max_share": "10%"}, 1),
        ({"max_share": "100%"}, 4),
        ({"max_instances": 3}, 3),
        ({"max_instances": 3, "max_share": "50%"}, 2),
        ({"max_instances": 9}, 4),
    ],
)
def test_the_guard_limits_how_much_is_touched(
    running: list[Instance], limits: dict[str, Any], allowed: int
) -> None:
    of = target(guard=limits)
    for count in range(1, 5):
        if count <= allowed:
            check_fault(of, request(), running[:count])
        else:
            with pytest.raises(Refused, match=f"would touch {count} of 4 instances of 'web', at most {allowed}"):
                check_fault(of, request(), running[:count])


def test_the_only_instance_may_be_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_processes, "instances_of", lambda target, name: web(1))
    check_fault(target(), request(), web(1))


def test_the_guard_keeps_the_floor(running: list[Instance]) -> None:
    of = target(services={"web": {"port": 80, "count": 4, "min_ready": 3}})
    check_fault(of, request(), running[:1])
    with pytest.raises(Refused, match="would leave 2 instances of 'web', 3 must stay ready"):
        check_fault(of, request(), running[:2])


def test_the_guard_keeps_protected_names(running: list[Instance]) -> None:
    with pytest.raises(Refused, match="'prod-db' is protected"):
        check_fault(target(), request(), [Instance("prod-db", "1", 1.0)])
    with pytest.raises(Refused, match="'web' is protected"):
        check_fault(target(protected=["w*"]), request(), running[:1])
    cut = FaultRequest("cut#1@run", "partition", {"link": "web -> prod-db"})
    with pytest.raises(Refused, match="'prod-db' is protected"):
        check_fault(target(), cut, [])
    check_fault(target(), FaultRequest("cut#1@run", "partition", {"link": "web -> store"}), [])


@pytest.mark.parametrize(
    ("changes", "approved", "refused"),
    [
        ({}, [], None),
        ({"url": "http://127.0.0.1:80"}, [], None),
        ({"url": "http://localhost"}, [], None),
        ({"url": "http://[::1]:80"}, [], None),
        ({"url": "http://10.0.0.1"}, [], "shop is not on this machine"),
        ({"url": "http://10.0.0.1"}, ["other", ""], "shop is not on this machine"),
        ({"url": "http://10.0.0.1"}, ["shop"], None),
        ({"platform": "external", "url": "http://127.0.0.1"}, ["shop"], "known by its URL only"),
    ],
)
def test_the_guard_is_closed_for_other_machines(
    changes: dict[str, Any], approved: list[str], refused: str | None
) -> None:
    if refused is None:
        check_target(target(**changes), approved)
    else:
        with pytest.raises(Refused, match=refused):
            check_target(target(**changes), approved)


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


# -- which instances


def test_the_same_seed_chooses_the_same_instances() -> None:
    instances = web(10)

    def chosen(seed: int, run: str = "a", **arguments: Any) -> list[str]:
        one = FaultRequest(f"kill#1@{run}", "kill", {"service": "web", **arguments}, seed=seed)
        return [instance.id for instance in choose(one, "web", list(reversed(instances)))]

    assert chosen(7, count=4) == chosen(7, run="b", count=4)
    assert len({tuple(chosen(seed)) for seed in range(40)}) > 5
    assert (len(chosen(1)), len(chosen(1, share=0.35)), len(chosen(1, share=0.01))) == (1, 3, 1)
    with pytest.raises(Refused, match="has 10 running instances, 11 were asked for"):
        chosen(1, count=11)
    with pytest.raises(Refused, match="no running instance"):
        choose(request(), "web", [])
