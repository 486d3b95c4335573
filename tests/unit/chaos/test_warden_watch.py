"""The warden's watch: it leaves a living conductor alone, and undoes and ends what a dead one left, in order."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from run_files import events
from synthetic_run import write_run

from faultload import reference
from faultload.chaos import warden as module
from faultload.chaos.warden import Warden, WardenProcess, conductor_lives, start_warden
from faultload.host.processes import Process, ProcessId, identify, myself
from faultload.host.state import read_json
from faultload.record.directory import RunDirectory, append_line
from faultload.verdict.judge import judge

BEAT, BYE, END = b".", b"q", b""


class Fault(SimpleNamespace):
    """An open fault in its time, as the warden sees it; its injector lives."""

    label, fault_id = "cut#1", "cut#1@run"
    state, overdue_s, one_shot, injector = "ACTIVE", -9.0, False, None


class World:
    """A warden with open faults, a clock that only waiting moves, and what is undone.

    A test says how long each of its waits lasts and what the conductor writes then: None is nothing, END that it
    died.
    """

    def __init__(self, run: RunDirectory, monkeypatch: pytest.MonkeyPatch, *, standalone: bool = False) -> None:
        self.run = run
        self.now = 100.0
        self.faults: list[Any] = [Fault()]
        self.undone: list[str] = []
        self.tried_s: list[float] = []
        self.undone_at_last = 0
        """The try that succeeds; 0: all of them do, as far as the warden sees."""
        self.left: list[Any] = []
        """What is still open when the conductor has gone and everything was to be undone."""
        self.blind_looks = 0
        """So many looks fail, for want of descriptors."""
        self.script: list[tuple[float, bytes | None]] = []
        self._reading, self._writing = os.pipe()
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep))
        monkeypatch.setattr(module, "select", SimpleNamespace(select=self._select))
        monkeypatch.setattr(module, "still_open", self._look)
        monkeypatch.setattr(module, "undo", self._undo)
        monkeypatch.setattr(module, "undo_all", self._undo_all)
        monkeypatch.setattr(module, "end_late_helpers", lambda faults: None)
        self.warden = Warden(run, self._reading, standalone=standalone)

    def _select(self, reading: list[int], *rest: object) -> tuple[list[int], list[int], list[int]]:
        assert reading == [self._reading]
        timeout_s = rest[-1]
        assert isinstance(timeout_s, float)
        assert 0 < timeout_s <= 1.0, "it looks at its faults at least once a second"
        after_s, said = self.script.pop(0)
        self.now += after_s
        if said is None:
            return [], [], []
        if said:
            os.write(self._writing, said)
            self.faults = self.left if BYE in said else self.faults
        else:
            os.close(self._writing)
        return reading, [], []

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _look(self, run: RunDirectory) -> list[Any]:
        if self.blind_looks > 0:
            self.blind_looks -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self.faults

    def _undo(self, fault: Any, by: str) -> None:
        self.undone.append(fault.label)
        self.tried_s.append(self.now)
        if len(self.undone) == self.undone_at_last:
            self.faults = []

    def _undo_all(self, faults: list[Any], by: str) -> list[Any]:
        self.undone.append(f"all {len(faults)}")
        self.faults = self.faults if self.script else self.left
        return self.left

    def watch(self, *script: tuple[float, bytes | None]) -> list[str]:
        """Watch until the script ends; returns what was noted."""
        self.script = list(script)
        self.warden.watch()
        assert self.script == [], "it watched to the end"
        return [str(note["what"]) for note in events(self.run, "note")]

    def close(self) -> None:
        """Give the pipe back."""
        for descriptor in (self._reading, self._writing):
            try:
                os.close(descriptor)
            except OSError:
                continue


@pytest.fixture
def world(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(run, monkeypatch)
    yield made
    made.close()


# -- a conductor that lives, hangs or leaves


def test_a_conductor_that_beats_is_left_alone_until_it_says_goodbye(world: World) -> None:
    assert world.watch((14.0, BEAT), (14.0, BEAT), (14.0, None), (1.0, BEAT), (14.0, BEAT + BYE)) == []
    assert world.undone == []


def test_a_conductor_that_hangs_has_every_fault_undone_once_until_it_beats_and_hangs_again(world: World) -> None:
    silent = [(6.0, None)] * 5
    assert world.watch((1.0, BEAT), *silent, (1.0, BYE)) == ["conductor_hung"]
    assert world.undone == ["all 1"]
    assert "no heartbeat from the conductor for 18 s" in events(world.run, "note")[0]["text"]


def test_a_conductor_that_hangs_a_second_time_is_noted_a_second_time(world: World) -> None:
    silent = [(16.0, None)] * 2
    assert world.watch(*silent, (1.0, BEAT), *silent, (1.0, BYE)) == ["conductor_hung"] * 2
    assert world.undone == ["all 1", "all 1"]


def test_a_run_whose_conductor_hung_is_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(write_run(tmp_path / "whole"), monkeypatch)
    before = judge(world.run).verdict["reasons"]
    assert not any("conductor" in reason for reason in before)
    world.watch((15.5, None), (0.1, BYE))
    world.close()
    verdict = judge(world.run).verdict
    assert verdict["verdict"] == "INVALID"
    assert "no heartbeat from the conductor for 16 s: undoing every open fault" in verdict["reasons"]


def test_faults_are_looked_after_at_every_turn_also_right_after_a_beat(world: World) -> None:
    world.faults = [Fault(overdue_s=5.5)]
    assert world.watch((1.0, BEAT), (1.5, None), (1.0, BYE)) == ["overdue"]
    assert world.undone == ["cut#1", "cut#1"]
    assert events(world.run, "note")[0]["text"] == "cut#1 is past its maximum duration"


# -- a fault whose injector died


DEAD, ALIVE = SimpleNamespace(alive=lambda: False), SimpleNamespace(alive=lambda: True)


@pytest.mark.parametrize(
    ("fault", "undone"),
    [
        (Fault(injector=DEAD), True),
        (Fault(injector=ALIVE), False),
        (Fault(injector=None), False),
        (Fault(injector=DEAD, one_shot=True, overdue_s=-1.0), False),
        (Fault(injector=DEAD, one_shot=True, overdue_s=0.0), False),
        (Fault(injector=DEAD, one_shot=True, overdue_s=1.0), True),
    ],
    ids=["dead", "alive", "not known", "comes back", "just in time", "did not come back"],
)
def test_what_nobody_is_left_to_undo_is_undone(world: World, fault: Fault, undone: bool) -> None:
    world.faults = [fault]
    assert world.watch((0.5, None), (0.5, BYE)) == ["injector_died"] * undone
    assert world.undone == ["cut#1"] * undone


# -- a fault that could not be undone


def test_what_could_not_be_undone_is_tried_again_and_again_each_time_later(world: World) -> None:
    world.faults = world.left = [Fault(state="UNDO_FAILED")]
    world.undone_at_last = 7
    assert world.watch((0.5, BEAT), *[(0.5, None)] * 8, (0.5, BYE)) == ["undo_again"]
    waits = [later - before for before, later in pairwise(world.tried_s)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0], "also after the run"


@pytest.mark.parametrize("state", ["INJECTING", "ACTIVE", "ENDED", "UNDOING", "UNDO_FAILED"])
def test_what_a_conductor_leaves_at_its_goodbye_is_undone_in_whatever_state(world: World, state: str) -> None:
    world.left = [Fault(state=state)]
    world.undone_at_last = 3
    assert world.watch((1.0, BYE)) == ["undo_again"]
    assert world.undone == ["cut#1"] * 3


def test_what_was_seen_to_be_gone_is_not_undone_again_where_its_entry_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "undo", lambda fault, by: world._undo(fault, by) or True)
    world.left = [Fault()]
    world.watch((1.0, BYE))
    assert world.undone == ["cut#1"]


@pytest.mark.parametrize("said", [BYE, END])
def test_a_warden_that_cannot_look_goes_on_until_it_can(world: World, said: bytes) -> None:
    world.left = world.faults
    world.blind_looks = 1000
    world.undone_at_last = 1
    world.watch((1.0, said))
    assert world.undone == ["cut#1"]
    noted = [note["text"] for note in events(world.run, "note") if note["what"] == "warden_ended"]
    assert noted == ["could not look what is open: the warden goes on trying"] * (said == END)


def test_a_warden_that_can_never_look_gives_up_after_an_hour(world: World) -> None:
    world.blind_looks = 10**9
    began = world.now
    world.watch((1.0, BYE))
    assert 3600.0 <= world.now - began < 3610.0


def test_a_hung_conductors_faults_are_undone_as_soon_as_the_warden_can_look(world: World) -> None:
    world.blind_looks = 2
    assert world.watch(*[(8.0, None)] * 4, (1.0, BYE)) == ["conductor_hung"]
    assert world.undone == ["all 1"]


@pytest.mark.parametrize("log", ["takes what is said", "is full"])
def test_an_undo_that_fails_with_an_error_ends_no_warden_and_keeps_no_other_fault(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log: str
) -> None:
    def undo(fault: Any, by: str) -> bool:
        world.undone.append(fault.label)
        if fault.label == "bad#1":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return True

    monkeypatch.setattr(module, "undo", undo)
    if log == "is full":
        monkeypatch.setattr(sys, "stderr", open("/dev/full", "w", buffering=1))  # noqa: SIM115
    world.faults = [Fault(label="bad#1", fault_id="bad#1@run", overdue_s=9.0), Fault(overdue_s=9.0)]
    assert world.watch((0.5, None), (0.5, BYE)) == ["overdue"] * 2
    assert world.undone == ["bad#1", "cut#1"]
    if log != "is full":
        assert capsys.readouterr().err == "Input/output error\n"


@pytest.mark.parametrize("said", [BYE, END])
def test_a_warden_gives_up_an_hour_after_its_run(world: World, said: bytes) -> None:
    world.left = [Fault(state="UNDO_FAILED")]
    world.watch((1.0, said))
    waits = [later - before for before, later in pairwise(world.tried_s)]
    assert max(waits) == 60.0
    assert 3500.0 < world.tried_s[-1] - world.tried_s[0] <= 3600.0


# -- a conductor that died


class Children:
    """Processes that a run started, and its record of them."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.all: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        child = subprocess.Popen(["/bin/sleep", "60"])
        self.all[name] = child
        known = identify(child.pid)
        assert known is not None
        self.run.event("process", process=name, state="started", pid=known.pid, started=known.started)

    def alive(self) -> set[str]:
        return {name for name, child in self.all.items() if child.poll() is None}


@pytest.fixture
def children(run: RunDirectory) -> Iterator[Children]:
    made = Children(run)
    for name in ("conductor", "load-0", "chaos-cut-1", "target"):
        made.start(name)
    yield made
    for child in made.all.values():
        child.kill()
        child.wait()


def test_a_dead_conductors_chaos_is_killed_before_its_faults_are_undone_and_the_rest_ends_after(
    world: World, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_undoing: list[set[str]] = []

    def undo_all(faults: list[Any], by: str) -> list[Any]:
        children.all["chaos-cut-1"].wait(10)
        while_undoing.append(children.alive())
        world.faults = []
        return []

    monkeypatch.setattr(module, "undo_all", undo_all)
    assert world.watch((1.0, END)) == ["conductor_died", "warden_ended"]
    assert while_undoing == [{"conductor", "load-0", "target"}]
    assert children.all["chaos-cut-1"].returncode == -signal.SIGKILL
    children.all["load-0"].wait(10)
    children.all["target"].wait(10)
    assert children.alive() == {"conductor"}
    assert events(world.run, "note")[-1]["text"] == "all is undone"


def test_a_full_disk_keeps_no_fault_in_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(kind: str, **fields: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(world.run, "event", full)
    world.faults = [Fault(overdue_s=5.5)]
    assert world.watch((16.0, None), (1.0, END)) == []
    assert world.undone == ["all 1", "cut#1", "all 1"]


def test_a_damaged_record_keeps_no_fault_in_place_and_no_process_alive(world: World, children: Children) -> None:
    append_line(world.run.events_path, {"t": 1.0, "kind": "process", "process": "x", "state": "started", "pid": []})
    world.run.info_path.write_text("{")
    assert world.watch((1.0, END)) == ["conductor_died", "warden_ended"]
    assert world.undone == ["all 1"]
    assert {"load-0", "chaos-cut-1"}.isdisjoint(children.alive())


def test_a_full_log_keeps_no_step_from_being_made(
    world: World, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[Any]:
        world.faults = []
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "undo_all", broken)
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert world.watch((1.0, END)) == ["conductor_died", "warden_ended"]
        with suppress(OSError):
            full.close()
    assert {"load-0", "chaos-cut-1"}.isdisjoint(children.alive())
    assert events(world.run, "note")[-1]["text"] == "not everything could be undone"


def test_what_could_not_be_undone_is_named(world: World) -> None:
    world.left = [Fault(label="cut#1"), Fault(label="slow#2", fault_id="slow#2@run")]
    world.watch((1.0, END))
    (ended,) = [note for note in events(world.run, "note") if note["what"] == "warden_ended"]
    assert ended["text"] == "could not undo cut#1, slow#2"


def test_a_warden_without_a_conductor_undoes_at_the_end_and_ends_no_process(
    run: RunDirectory, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(run, monkeypatch, standalone=True)
    assert world.watch((99.0, None), (1.0, END)) == ["warden_ended"]
    assert world.undone == ["all 1"]
    assert children.alive() == set(children.all)
    world.close()


def test_the_warden_never_ends_itself(world: World) -> None:
    me = myself()
    world.run.event("process", process="warden", state="started", pid=me.pid, started=me.started)
    assert world.watch((1.0, END))[-1] == "warden_ended"


@pytest.mark.parametrize(("known", "stopped"), [(("memory", "local"), [("memory", "local")]), (None, [])])
def test_a_target_that_the_run_started_for_itself_is_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch, known: Any, stopped: list[Any]
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(reference, "of_id", lambda target_id: known if target_id == "memory:1" else None)
    monkeypatch.setattr(reference, "stop", lambda *what: calls.append(what))
    module.stop_own_target(world.run)
    assert calls == [], "this run started none"
    world.run.update({"started_target": "memory:1"})
    world.watch((1.0, END))
    assert calls == stopped


# -- the conductor's side


def test_a_run_is_conducted_while_another_process_that_is_its_conductor_lives(
    run: RunDirectory, children: Children
) -> None:
    assert conductor_lives(run)
    children.all["conductor"].kill()
    children.all["conductor"].wait()
    assert not conductor_lives(run)
    me = myself()
    run.event("process", process="conductor", state="started", pid=me.pid, started=me.started)
    assert not conductor_lives(run), "it is the caller itself"


def test_a_run_without_a_record_of_its_conductor_is_not_conducted(run: RunDirectory) -> None:
    run.event("process", process="conductor", state="ready", pid=1, started=1.0)
    run.event("process", process="conductor", state="started")
    assert not conductor_lives(run)
    assert module.processes_of(run) == {}


class Started:
    """A process that was asked for, and the reading end of its pipe."""

    pid, stdin = 1, None

    def __init__(self) -> None:
        self.argv: list[str] = []
        self.life = -1
        self.code: int | None = None

    def __call__(self, argv: Any, *, pass_fds: Any, log: Path, **_: Any) -> Process:
        (given,) = pass_fds
        self.argv, self.life, self.log = list(argv), os.dup(given), log
        assert str(given) in argv, "it is told which end is its"
        return self  # type: ignore[return-value]

    def poll(self) -> int | None:
        return self.code


@pytest.mark.parametrize("standalone", [True, False])
def test_a_started_warden_hears_beats_and_the_goodbye(run: RunDirectory, standalone: bool) -> None:
    started = Started()
    warden = start_warden(run, standalone=standalone, spawn=started)  # type: ignore[arg-type]
    assert started.argv[1:4] == ["-m", "faultload.chaos.warden", str(run.path)]
    assert ("--standalone" in started.argv) == standalone
    assert started.log == run.log("warden")
    assert not os.get_inheritable(warden.life_fd), "a child that kept it open would hide the conductor's death"
    assert not os.get_blocking(warden.life_fd), "a warden that does not read must not stop the conductor"
    warden.beat()
    assert os.read(started.life, 9) == b"."
    warden.dismiss()
    assert os.read(started.life, 9) == b"q"
    assert os.read(started.life, 9) == b"", "nobody else holds the writing end"
    os.close(started.life)


def test_a_warden_that_is_dead_already_can_be_dismissed(run: RunDirectory) -> None:
    started = Started()
    warden: WardenProcess = start_warden(run, spawn=started)  # type: ignore[arg-type]
    assert warden.alive
    started.code = 1
    assert not warden.alive
    os.close(started.life)
    warden.dismiss()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(warden.life_fd)


@pytest.mark.parametrize("standalone", [True, False])
def test_the_wardens_process_says_who_it_is_and_takes_no_signal_of_a_terminal(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, standalone: bool
) -> None:
    ignored: dict[int, Any] = {}
    monkeypatch.setattr(module.signal, "signal", ignored.__setitem__)
    reading, writing = os.pipe()
    os.write(writing, BYE)
    monkeypatch.setattr(sys, "argv", ["warden", str(run.path), str(reading), *["--standalone"] * standalone])
    module.main()
    os.close(reading)
    os.close(writing)
    assert ignored == dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)
    path = run.path / "warden.json"
    if standalone:
        assert not path.exists(), "a run may have its own warden beside it"
    else:
        assert ProcessId.from_json(read_json(path)) == myself()  # type: ignore[arg-type]
        assert path.stat().st_mode & 0o777 == 0o600
