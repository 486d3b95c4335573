"""The conductor: what it starts, when, what makes it stop, and that it undoes and ends everything."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import run_files
from conducted import Proc, World, injection
from quiet_fault import Quiet
from run_files import events
from run_files import faults as faults_of

from faultload import faults, reference
from faultload.chaos import journal
from faultload.chaos.journal import OpenFault, open_faults, plan_fault
from faultload.errors import TargetError
from faultload.faults.base import FaultRequest, WitnessReport
from faultload.host.processes import myself
from faultload.host.state import read_json
from faultload.platforms.base import Instance
from faultload.record import tables
from faultload.record.orders import ORDER_ENV
from faultload.run.interrupts import Interrupts
from faultload.run.target import Target, leftover
from faultload.spec.target import TargetFile

SECOND = pytest.approx


def info(world: World) -> dict[str, Any]:
    return run_files.info(world.run)


def order_of(process: Proc) -> dict[str, Any]:
    """What the process of a fault was told."""
    found: dict[str, Any] = json.loads(Path(process.env[ORDER_ENV]).read_text())
    return found


def states_of(world: World) -> list[str]:
    return [str(line["state"]) for line in faults_of(world.run)]


# -- an orderly run


def test_a_load_begins_half_a_second_after_its_processes_are_ready_and_the_run_ends_with_it(world: World) -> None:
    world.changes["load-0"] = {"ready_after_s": 4.0}
    assert world.conduct() == []
    load = world.processes["load-0"]
    ((told_s, order),) = load.orders
    start_s = info(world)["load_start_s"]
    assert order == f"start {int(start_s * 1e9)}"
    assert start_s - told_s == SECOND(0.5)
    assert world.start_of("load-0") + 4.0 <= told_s <= world.start_of("load-0") + 4.3
    assert info(world)["ended"] == SECOND(start_s + 30.0, abs=0.4)
    assert info(world)["duration_s"] == SECOND(info(world)["ended"], abs=0.001)
    assert "stopped" not in info(world)
    assert "load_end_s" not in info(world), "it ended as planned"
    assert load.signals == []


def test_what_a_run_is_pointed_at_is_described_for_its_processes(world: World) -> None:
    world.conduct()
    found = info(world)
    assert found["load"] == {"workers": 1, "host": "http://127.0.0.1:9"}
    assert found["target"] == {"id": "shop", "name": "shop", "platform": "external", "url": "http://127.0.0.1:9/"}
    file = world.run.path / "target.yaml"
    assert TargetFile.model_validate(read_json(file)).id == "shop"
    assert file.stat().st_mode & 0o777 == 0o600, "it may hold a password"
    assert world.processes["load-0"].env["FAULTLOAD_TARGET"] == str(file)
    assert world.processes["load-0"].env["FAULTLOAD_RUN"] == str(world.run.path)


def test_the_processes_of_a_run_take_a_pid_for_the_process_that_had_it_when_the_run_read_the_file(
    world: World, tmp_path: Path
) -> None:
    described = {"name": "shop", "platform": "local", "url": "http://127.0.0.1:9/"}
    me = myself()
    declared = TargetFile.model_validate({**described, "services": {"web": {"pids": [me.pid]}}})
    world.target = Target(file=tmp_path / "own.yaml", declared=declared)
    world.conduct()
    file = world.run.path / "target.yaml"
    assert world.processes["load-0"].env["FAULTLOAD_TARGET"] == str(file)
    [pid] = read_json(file)["services"]["web"]["pids"]
    assert pid == {"pid": me.pid, "started": me.started}


def test_the_stages_of_the_load_are_on_the_runs_clock(world: World) -> None:
    world.conduct()
    start_s = info(world)["load_start_s"]
    stages = events(world.run, "stage")
    assert [event["t"] - start_s for event in stages] == SECOND([0, 5], abs=1e-5)
    assert [event["stage"]["kind"] for event in stages] == ["ramp", "hold"]


def test_the_conductor_is_on_record_and_says_what_it_does(world: World) -> None:
    world.conduct()
    started = events(world.run, "process")[0]
    assert (started["process"], started["state"], started["pid"]) == ("conductor", "started", myself().pid)
    assert world.screen.statuses == ["starting the load", "load"]
    assert any(said.endswith("the load begins") for said in world.screen.said)


def test_every_process_is_on_record_so_that_a_warden_or_undo_can_end_it(world: World) -> None:
    """By its pid and when it began; here all have that of this process."""
    me = myself()
    written(world)
    names = ["warden", "load-0", "chaos-cut-1", "verify"]
    world.changes = {name: {"pid": me.pid} for name in names}
    world.conduct([injection(20.0)])
    started = [event for event in events(world.run, "process") if event["state"] == "started"]
    assert [one["process"] for one in started] == ["conductor", *names]
    assert {(one["pid"], one["started"]) for one in started} == {(me.pid, me.started)}


def test_the_warden_hears_a_beat_a_second_and_a_goodbye(world: World) -> None:
    world.conduct()
    (warden,) = world.wardens
    heard = warden.listen()
    assert heard.endswith(b"q")
    assert heard.count(b".") == SECOND(info(world)["ended"], abs=2.1)
    assert world.start_of("warden") <= world.start_of("load-0")


def test_a_warden_that_does_not_leave_is_killed_after_five_seconds(world: World) -> None:
    world.changes["warden"] = {"leaves": False}
    world.conduct()
    (warden,) = world.wardens
    assert [number for _, number in warden.signals] == [signal.SIGKILL]
    assert warden.signals[0][0] == SECOND(info(world)["load_start_s"] + 35.0, abs=0.5)


def test_a_warden_that_is_lost_is_replaced_and_told_of(world: World) -> None:
    world.at(10.0, lambda: world.wardens[0].end(1))
    assert world.conduct() == ["warden_lost"]
    first, second = world.wardens
    assert first.listen().count(b".") == SECOND(10, abs=2)
    assert first.life_fd is not None
    assert os.read(first.life_fd, 1) == b"", "nobody holds the lost one's pipe"
    assert second.listen().count(b".") == SECOND(info(world)["ended"] - 10, abs=2.1)
    assert any("a new one was started" in said for said in world.screen.said)


# -- faults


def test_a_faults_process_is_started_twelve_seconds_ahead_in_order_of_time(world: World) -> None:
    world.conduct([injection(28.0, 2), injection(20.0, 1)])
    start_s = info(world)["load_start_s"]
    ahead = [start_s + at_s - world.start_of(f"chaos-cut-{k}") for k, at_s in ((1, 20.0), (2, 28.0))]
    assert ahead == SECOND([12, 12], abs=0.11)


def test_the_processes_of_the_first_faults_are_ready_before_the_load_begins(world: World) -> None:
    world.changes["chaos-cut-1"] = {"ready_after_s": 9.0, "ends_at_s": 60.0}
    world.conduct([injection(12.0)])
    assert world.start_of("chaos-cut-1") < world.start_of("load-0") + 1.0
    assert info(world)["load_start_s"] >= world.start_of("chaos-cut-1") + 9.5


def test_a_first_fault_that_is_not_ready_keeps_the_load_for_half_a_minute_at_most(world: World) -> None:
    world.changes["chaos-cut-1"] = {"ready_after_s": None, "ends_at_s": 90.0}
    assert world.conduct([injection(11.0)]) == []
    assert info(world)["load_start_s"] == SECOND(world.start_of("chaos-cut-1") + 31.0, abs=1.0)


def test_a_first_fault_whose_process_ended_is_not_waited_for(world: World) -> None:
    world.changes["chaos-cut-1"] = {"ready_after_s": None, "ends_at_s": 3.0}
    world.conduct([injection(11.0)])
    assert info(world)["load_start_s"] < 5.0


def test_a_fault_of_later_is_not_started_when_the_load_has_ended(world: World) -> None:
    world.conduct([injection(60.0)])
    assert "chaos-cut-1" not in world.processes


def test_a_faults_process_knows_which_one_it_is_and_when(world: World) -> None:
    world.conduct([injection(20.0, 3, max_duration_s=7.5)])
    chaos = world.processes["chaos-cut-3"]
    order = order_of(chaos)
    assert (order["fault"], order["k"], order["at_s"], order["max_duration_s"]) == ("cut", 3, 20.0, 7.5)
    assert order["process"] == "chaos-cut-3"
    variables = [chaos.argv[at + 1] for at, word in enumerate(chaos.argv) if word == "--var"]
    assert variables == ["seed:int=3", "share:float=0.5", "deep:bool=True", "mode=x"]


def test_a_faults_process_knows_whether_it_may_overlap(world: World) -> None:
    world.conduct([injection(20.0, 1, overlap=True), injection(21.0, 2)])
    said = [order_of(world.processes[f"chaos-cut-{k}"])["overlap"] for k in (1, 2)]
    assert said == [True, False]


def test_a_process_of_a_fault_that_outlives_the_load_is_interrupted_once_and_given_its_time(world: World) -> None:
    world.changes["chaos-cut-1"] = {"ends_at_s": None, "on_interrupt": 40.0}
    world.conduct([injection(20.0)])
    chaos = world.processes["chaos-cut-1"]
    assert [number for _, number in chaos.signals] == [signal.SIGINT, signal.SIGCONT]
    assert chaos.signals[0][0] == SECOND(info(world)["load_start_s"] + 30.0, abs=0.4)


def test_a_process_of_a_fault_that_does_not_end_is_killed_a_minute_after_its_faults_longest(world: World) -> None:
    world.changes["chaos-cut-1"] = {"ends_at_s": None, "on_interrupt": None}
    world.conduct([injection(20.0, max_duration_s=25.0), injection(99.0, 2, max_duration_s=5.0)])
    (asked_s, asked), _, (killed_s, killed) = world.processes["chaos-cut-1"].signals
    assert (asked, killed) == (signal.SIGINT, signal.SIGKILL)
    assert killed_s - asked_s == SECOND(85.0, abs=0.3)


# -- why a run stops


@pytest.mark.parametrize(
    ("act", "by", "why"),
    [
        (World.interrupt, "person", "Ctrl-C"),
        (lambda world: world.interrupts.handle(signal.SIGTERM, None), "person", "signal 15"),
        (lambda world: (world.run.path / "stop").touch(), "kill_switch", "kill switch "),
        (
            lambda world: world.run.event("process", process="load-0", state="failed", why="no memory"),
            "load",
            "load-0 failed: no memory",
        ),
        (lambda world: world.processes["load-0"].end(3), "load", "load-0 ended with 3: see logs/load-0.log"),
    ],
    ids=["Ctrl-C", "SIGTERM", "kill switch", "failed", "lost"],
)
def test_a_run_that_is_stopped_says_by_whom_and_ends_at_once(world: World, act: Any, by: str, why: str) -> None:
    world.at(15.0, lambda: act(world))
    notes = world.conduct()
    stopped = info(world)["stopped"]
    assert stopped["by"] == by
    assert stopped["why"].startswith(why)
    assert info(world)["load_end_s"] == SECOND(15.0, abs=0.3)
    assert info(world)["ended"] < 25.0
    said = next(note for note in events(world.run, "note") if note["what"] == "stopped")
    assert (said["by"], said["text"]) == (by, stopped["why"])
    assert ("lost_worker" in notes) == (by == "load" and "ended with" in why)
    assert any(line.startswith("stopping: ") for line in world.screen.said)


def test_an_abort_condition_stops_the_run_and_is_an_event(world: World) -> None:
    def second(t: float) -> None:
        world.run.event("health", t=t, worker=0, ok=0, failed=9)

    for t in range(10, 15):
        world.at(float(t), lambda t=t: second(float(t)))  # type: ignore[misc]
    world.conduct(abort=["error_rate > 50% for 3s"])
    assert info(world)["stopped"] == {"by": "abort", "why": "abort condition: error_rate > 50% for 3s"}
    (event,) = events(world.run, "abort")
    assert event["why"] == "abort condition: error_rate > 50% for 3s"


def test_a_load_process_that_ended_badly_at_the_very_end_is_lost_too(world: World) -> None:
    world.changes["load-0"] = {"code": 3}
    assert world.conduct() == ["lost_worker", "stopped"]


def test_one_lost_load_process_of_several_ends_the_run_at_once(world: World) -> None:
    world.workers = 2
    world.at(15.0, lambda: world.processes["load-1"].end(3))
    assert world.conduct() == ["lost_worker", "stopped"]
    assert info(world)["stopped"]["why"] == "load-1 ended with 3: see logs/load-1.log"
    assert info(world)["load_end_s"] == SECOND(15.0, abs=0.3)
    assert world.processes["load-0"].orders[-1][1] == "stop"


@pytest.mark.parametrize(("ready_at_s", "waits_s"), [(20.0, 20.0), (999.0, 180.0)])
def test_a_target_that_was_there_before_is_waited_for_as_long_as_its_platform_needs(
    world: World, monkeypatch: pytest.MonkeyPatch, ready_at_s: float, waits_s: float
) -> None:
    services = {"web": {"selector": "app=web", "namespace": "shop"}}
    described = {"id": "shop", "name": "shop", "platform": "kubernetes", "url": "http://127.0.0.1:9"}
    world.target = Target(declared=TargetFile.model_validate({**described, "services": services}))
    platform = SimpleNamespace(
        not_ready=lambda name: [] if world.now_s >= ready_at_s else [f"{name} has 0 of 1 instances ready"]
    )
    monkeypatch.setattr("faultload.run.conductor.platform_of", lambda declared: platform)
    world.conduct()
    if ready_at_s < 180:
        assert info(world)["load_start_s"] == SECOND(waits_s + 0.5, abs=0.5)
    else:
        assert world.screen.said[-1] == "the target is not ready: web has 0 of 1 instances ready"
        assert info(world)["ended"] == SECOND(waits_s, abs=1.5)
        assert "load_start_s" not in info(world)


def test_a_failed_target_is_not_a_failed_load(world: World) -> None:
    world.at(15.0, lambda: world.run.event("process", process="target", state="failed", why="an instance died"))
    world.conduct()
    assert "stopped" not in info(world)


def test_a_load_process_that_never_gets_ready_ends_the_run_after_a_minute_and_its_time_out(world: World) -> None:
    world.changes["load-0"] = {"ready_after_s": None}
    world.conduct()
    failed = [event for event in events(world.run, "process") if event["state"] == "failed"]
    assert [(one["process"], one["why"]) for one in failed] == [
        ("load-0", "load-0: its start took longer than 63 s")
    ]
    assert info(world)["ended"] == SECOND(64.0, abs=6.0)
    assert "load_start_s" not in info(world)
    assert "load-0: its start took longer than 63 s" in world.screen.said


def test_a_target_without_an_address_has_nothing_to_load(world: World) -> None:
    declared = TargetFile.model_validate({"id": "shop", "name": "shop", "platform": "local", "services": {}})
    world.target = Target(declared=declared)
    world.conduct()
    (failed,) = [event for event in events(world.run, "process") if event["state"] == "failed"]
    assert failed["why"] == "target shop has no url: there is nothing to load"
    assert world.processes == {}
    assert "ended" in info(world)


def test_a_server_that_is_slow_is_waited_for_before_the_load_is_started(world: World) -> None:
    world.servers.load.ready_at_s = 7.0  # type: ignore[attr-defined]
    world.servers.chaos.ready_at_s = 9.0  # type: ignore[attr-defined]
    world.conduct([injection(5.0)])
    assert 7.0 <= world.start_of("load-0") < 7.5
    assert 9.0 <= world.start_of("chaos-cut-1") < 9.5


# -- how a load is stopped


def test_a_load_is_told_to_stop_and_killed_when_it_does_not(world: World) -> None:
    """Its requests get their time-out of three seconds, and five more."""
    world.changes["load-0"] = {"on_stop": None}
    world.at(15.0, world.interrupt)
    world.conduct()
    load = world.processes["load-0"]
    assert [order for _, order in load.orders][1:] == ["stop"]
    ((killed_s, number),) = load.signals
    assert number == signal.SIGKILL
    assert killed_s - load.orders[1][0] == SECOND(8.0, abs=0.3)


def test_no_load_is_waited_for_longer_than_fifteen_seconds(world: World) -> None:
    world.changes["load-0"] = {"on_stop": None}
    world.at(15.0, world.interrupt)
    slow = {"journeys": "j.py", "rate": [{"step": "9/s", "for": "30s"}], "timeout": "60s"}
    world.conduct(load=slow)
    load = world.processes["load-0"]
    assert load.signals[0][0] - load.orders[1][0] == SECOND(15.0, abs=0.3)


def test_a_second_interrupt_waits_for_nobody(world: World) -> None:
    written(world)
    world.changes["load-0"] = {"on_stop": None}
    world.changes["chaos-cut-1"] = {"ends_at_s": None, "on_interrupt": None}
    world.at(15.0, world.interrupt)
    world.at(16.0, world.interrupt)
    world.conduct([injection(14.0)])
    for name in ("load-0", "chaos-cut-1"):
        assert world.processes[name].signals[-1][1] == signal.SIGKILL
        assert world.processes[name].signals[-1][0] == SECOND(16.0, abs=0.5)
    assert "verify" not in world.processes
    assert info(world)["ended"] < 17.0


# -- writes are read back


def written(world: World) -> None:
    writer = tables.TableWriter(world.run.path, "writes")
    writer.write({"t_ns": [1], "key": ["k"], "state": ["acknowledged"]})
    writer.close()


def test_written_keys_are_read_back_after_the_load(world: World) -> None:
    written(world)
    assert world.conduct() == []
    assert world.start_of("verify") >= info(world)["load_start_s"] + 30.0
    assert world.screen.statuses[-1] == "reading writes back"
    assert world.processes["verify"].signals == []


def test_where_nothing_was_written_nothing_is_read_back(world: World) -> None:
    world.conduct()
    assert "verify" not in world.processes


def test_a_load_that_never_began_wrote_nothing(world: World) -> None:
    written(world)
    world.changes["load-0"] = {"ready_after_s": None}
    world.conduct()
    assert "verify" not in world.processes


def test_a_read_back_that_takes_more_than_two_minutes_is_given_up_and_told_of(world: World) -> None:
    written(world)
    world.changes["verify"] = {"ends_at_s": None}
    assert world.conduct() == ["writes_not_read"]
    ((killed_s, number),) = world.processes["verify"].signals
    assert number == signal.SIGKILL
    assert killed_s - world.start_of("verify") == SECOND(120.0, abs=0.3)


# -- everything is undone


class Fake(Quiet):
    """A fault that goes away, unless it is stuck."""

    stuck = False

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
        return WitnessReport(not type(self).stuck, "looked")


def left_open(world: World) -> OpenFault:
    target = TargetFile.model_validate(
        {"id": "shop", "name": "shop", "platform": "local", "services": {"web": {"port": 9}}}
    )
    request = FaultRequest("cut#1@run", "pause", {"service": "web"})
    return plan_fault(world.run, target, request, [], {}, fault="cut", k=1, one_shot=False, max_duration_s=60.0)


@pytest.mark.parametrize("stuck", [False, True])
def test_what_a_fault_left_open_is_undone_at_the_end_or_named(
    world: World, monkeypatch: pytest.MonkeyPatch, stuck: bool
) -> None:
    monkeypatch.setattr(journal, "fault_for", Fake)
    monkeypatch.setattr(Fake, "stuck", stuck)
    world.at(15.0, lambda: left_open(world))
    world.conduct()
    assert [fault.label for fault in open_faults()] == ["cut#1"] * stuck
    assert states_of(world)[-1] == ("UNDO_FAILED" if stuck else "UNDONE")
    assert faults_of(world.run)[-1]["by"] == "conductor"


def test_a_fault_of_a_run_that_never_got_to_its_load_is_undone_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "fault_for", Fake)
    left_open(world)
    world.target = Target(declared=TargetFile.model_validate({"id": "x", "name": "x", "platform": "local"}))
    world.conduct()
    assert open_faults() == []


def test_a_run_leaves_nothing_open_but_what_others_hold(world: World) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    world.conduct([injection(20.0)])
    held = sum(one.life_fd is not None for one in [*world.wardens, *world.processes.values()])
    assert (descriptors() - before, held) == (held, 2), "the world's own ends of pipes"


# -- what is shown


def test_what_happens_to_a_fault_is_shown_as_it_happens(world: World) -> None:
    who = {"fault": "cut", "k": 1}
    happen = [
        (10.0, "gate", {"passed": True, "why": ""}),
        (11.0, "gate", {"passed": False, "why": "not ready"}),
        (12.0, "witness", {"of": "there", "seen": True, "what": "no answer"}),
        (14.0, "witness", {"of": "there", "seen": False, "what": "it answers"}),
        (16.0, "witness", {"of": "gone", "seen": True, "what": "it answers"}),
        (18.0, "witness", {"of": "gone", "seen": False, "what": "no answer"}),
        (20.0, "note", {"what": "late", "text": "cut#1 begins late"}),
        (21.0, "note", {"what": "remark", "text": "a person looked"}),
    ]
    for t, kind, fields in happen:
        world.at(t, lambda kind=kind, fields=fields: world.run.event(kind, **who, **fields))  # type: ignore[misc]
    world.conduct()
    said = [line.partition(" s  ")[2] for line in world.screen.said]
    assert [line for line in said if line.startswith("cut")] == [
        "cut#1 gate passed",
        "cut#1 gate holds: not ready",
        "cut#1 witnessed: no answer",
        "cut#1 NOT WITNESSED: it answers",
        "cut#1 undone: it answers",
        "cut#1 NOT UNDONE: no answer",
        "cut#1 begins late",
    ]
    assert not any("a person looked" in line for line in world.screen.said)
    assert world.screen.open_faults == [(), ("cut#1",), ()]
    begun = info(world)["load_start_s"]
    shown_s = next(float(line.split(" s  ")[0]) for line in world.screen.said if "gate passed" in line)
    assert shown_s == SECOND(10.0 - begun, abs=0.3), "times count from the load's start"


def test_an_interrupt_is_counted_and_named() -> None:
    interrupts = Interrupts()
    interrupts.handle(signal.SIGINT, None)
    assert (interrupts.count, interrupts.why) == (1, "Ctrl-C")
    interrupts.handle(signal.SIGTERM, None)
    assert (interrupts.count, interrupts.why) == (2, "signal 15")


# -- a reference system


class Reference:
    """A reference system: up or not, ready or not, and whose."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, up: bool, mine: bool = True) -> None:
        self.calls: list[str] = []
        self.up, self.ready = up, True
        self.owner = myself() if mine else None
        self.left: list[str] = []
        self.problem = ""
        """Why it does not get ready."""
        self.target_file = folder / "target.yaml"
        self.target_file.write_text(
            '{"id": "shop", "name": "shop", "platform": "external", "url": "http://127.0.0.1"}'
        )
        monkeypatch.setattr(reference, "status", self.status)
        monkeypatch.setattr(reference, "start", self.start)
        monkeypatch.setattr(reference, "stop", self.stop)
        monkeypatch.setattr(reference, "target_id", lambda name, platform: f"{name}:{platform}")
        monkeypatch.setattr(reference, "of_id", lambda one: tuple(one.split(":")) if ":" in one else None)

    def status(self, name: str, platform: str) -> Any:
        if not self.up:
            return None
        return SimpleNamespace(
            running=True,
            ready=self.ready,
            owner=self.owner,
            target_file=self.target_file,
            url="http://x",
            name=name,
        )

    def start(self, name: str, platform: str, **_: Any) -> Any:
        self.calls.append(f"start {name} on {platform}")
        self.up = True
        return SimpleNamespace(wait_ready=self.wait_ready)

    def wait_ready(self, timeout_s: float) -> None:
        self.calls.append(f"wait {timeout_s:g}")
        if self.problem:
            raise TargetError(self.problem)

    def stop(self, name: str, platform: str) -> list[str]:
        self.calls.append(f"stop {name}")
        return self.left


@pytest.mark.parametrize(
    ("up", "mine", "keep", "interrupted", "calls"),
    [
        (False, True, False, False, ["start memory on docker", "wait 120", "stop memory"]),
        (False, True, True, False, ["start memory on docker", "wait 120"]),
        (False, True, True, True, ["start memory on docker", "wait 120", "stop memory"]),
        (True, True, False, False, ["stop memory"]),
        (True, False, False, False, []),
    ],
    ids=["started", "kept", "kept but interrupted", "of a scenario before", "somebody else's"],
)
def test_a_reference_system_is_started_where_it_is_not_up_and_stopped_where_it_is_ours(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    up: bool, mine: bool, keep: bool, interrupted: bool, calls: list[str],
) -> None:  # fmt: skip
    memory = Reference(tmp_path, monkeypatch, up=up, mine=mine)
    world.target = Target(reference="memory", platform="docker")
    world.keep_target = keep
    if interrupted:
        world.at(15.0, world.interrupt)
    world.conduct()
    assert memory.calls == calls
    assert info(world).get("started_target") == ("memory:docker" if calls and calls[-1] != "stop memory" else None)
    assert any("memory is ready at http://x" in said for said in world.screen.said)


@pytest.mark.parametrize(("platform", "patience"), [("local", "60"), ("docker", "120"), ("kubernetes", "180")])
def test_a_reference_system_gets_the_time_that_its_platform_needs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, patience: str
) -> None:
    memory = Reference(tmp_path, monkeypatch, up=False)
    world.target = Target(reference="memory", platform=platform)
    world.conduct()
    assert memory.calls[1] == f"wait {patience}"


def test_why_a_reference_system_did_not_get_ready_is_told_and_it_is_stopped(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Reference(tmp_path, monkeypatch, up=False)
    memory.problem = "pg1 does not answer"
    world.target = Target(reference="memory")
    world.conduct()
    assert world.screen.said[-1] == "pg1 does not answer"
    assert memory.calls[-1] == "stop memory"
    failed = [event for event in events(world.run, "process") if event["state"] == "failed"]
    assert [(one["process"], one["why"]) for one in failed] == [("target", "pg1 does not answer")]


def test_a_reference_system_that_is_not_ready_ends_the_run_and_is_stopped(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Reference(tmp_path, monkeypatch, up=False)
    memory.ready = False
    world.target = Target(reference="memory")
    world.conduct()
    assert memory.calls == ["start memory on local", "wait 60", "stop memory"]
    assert world.screen.said[-1] == "the reference system memory is not ready"


def test_what_a_reference_system_left_behind_is_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Reference(tmp_path, monkeypatch, up=False)
    memory.left = ["pg1 (pid 7)"]
    world.target = Target(reference="memory")
    assert world.conduct() == ["left_behind"]
    assert world.screen.said[-1] == "pg1 (pid 7) of the target did not end"


@pytest.mark.parametrize("missing", [["no link proxy"], []])
def test_nothing_is_injected_where_something_is_missing_for_undoing_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str]
) -> None:
    Reference(tmp_path, monkeypatch, up=False)
    monkeypatch.setattr(faults, "preflight", lambda declared, kinds: missing if kinds == {"pause"} else ["?"])
    world.target = Target(reference="memory")
    world.conduct([injection(20.0)])
    if missing:
        assert info(world)["stopped"] == {"by": "guard", "why": "no link proxy"}
        assert "load_start_s" not in info(world)
    else:
        assert "stopped" not in info(world)


# -- what forbids a new run


def test_an_open_fault_or_a_reference_system_of_a_dead_run_forbids_a_new_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert leftover("shop") == []
    fault = left_open(world)
    assert leftover("shop") == ["fault cut#1 (pause) is open"]
    fault.mark("UNDONE", "test")
    found = SimpleNamespace(name="memory", running=True, owner_alive=True)
    monkeypatch.setattr(reference, "of_id", lambda one: ("memory", "local") if one == "memory:local" else None)
    monkeypatch.setattr(reference, "status", lambda name, platform: found)
    for running, owner_alive, left in ((True, True, 0), (True, None, 0), (True, False, 1), (False, True, 1)):
        found.running, found.owner_alive = running, owner_alive
        assert len(leftover("memory:local")) == left
    assert leftover("shop") == []
