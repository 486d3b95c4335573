"""The fault journal: what is open is found and undone by any process: once, in order, and again after a failure."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import pwd
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faultload.chaos import journal
from faultload.chaos import undo as undoing
from faultload.chaos.journal import OpenFault, open_faults, plan_fault, readable_faults
from faultload.chaos.undo import undo, undo_all
from faultload.chaos.warden import Warden
from faultload.commands.undo import undo_leftovers
from faultload.errors import ExitCode, InvalidInput, NotUndone, Refused, TargetError
from faultload.faults.base import FaultRequest, PlatformFault, WitnessReport
from faultload.host.processes import ProcessId
from faultload.host.state import file_name
from faultload.platforms.base import Instance
from faultload.record.directory import RunDirectory
from faultload.record.events import Note, Witness
from faultload.spec.target import TargetFile

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

        def witness(self, instances: Sequence[Instance]) -> WitnessReport:
            return WitnessReport(self.request.fault_id in world.there, "looked")

        def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
            assert instances == [Instance("web", "1", 2.0)]
            assert plan["private"] == "dsn"
            world.undone.append(self.request.fault_id.partition("#")[0])
            if world.error is not None:
                raise world.error
            world.there -= {self.request.fault_id} - world.stuck

        def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> WitnessReport:
            return WitnessReport(self.request.fault_id not in world.there, "looked")

    monkeypatch.setattr(journal, "fault_for", Fake)
    return world


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
    return [line.state for line in run.faults() if line.fault == name]


def test_the_journal_is_written_ahead(run: RunDirectory, state: Path) -> None:
    fault = plan(run)
    assert states(run) == ["PLANNED"]
    assert [one.entry for one in open_faults()] == [fault.entry]
    assert fault.path == state / "open" / "shop" / f"{file_name('cut#1@run')}.json"
    assert fault.path.stat().st_mode & 0o777 == 0o600, "an entry may hold what nobody else may read"
    line = run.faults()[0]
    assert line.undo == {"was": "running"}, "what is private stays out of the record"
    assert fault.plan["private"] == "dsn"
    assert (line.fault, line.k, line.kind, line.target_id) == ("cut", 1, "pause", "shop")


def test_what_is_written_ahead_survives_a_power_cut(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and the folders that name them reach the disk before anything is touched."""
    synced: set[str] = set()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    fault = plan(run)
    assert {str(run.path), str(run.faults_path), str(fault.path.parent)} <= synced
    synced.clear()
    fault.mark("INJECTING", "chaos")
    assert {str(run.faults_path), str(fault.path.parent)} <= synced
    synced.clear()
    fault.mark("UNDONE", "chaos")
    assert {str(run.faults_path), str(fault.path.parent)} <= synced


def test_a_line_of_the_journal_is_on_the_runs_clock(run: RunDirectory) -> None:
    before = run.clock.now()
    plan(run).mark("INJECTING", "chaos")
    after = run.clock.now()
    planned, injecting = (line.t for line in run.faults())
    assert before - 1e-6 <= planned <= injecting <= after + 1e-6


def test_a_fault_is_overdue_when_its_longest_is_over_since_it_was_injected(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is injected its time counts from when it was planned."""
    fault = plan(run, max_duration_s=60.0)
    planned = int(fault.entry["planned_ns"])
    monkeypatch.setattr(time, "monotonic_ns", lambda: planned + 70 * 10**9)
    assert fault.overdue_s == 10.0
    assert fault.mark("ACTIVE", "chaos", injected_ns=planned + 30 * 10**9).overdue_s == -20.0
    assert fault.mark("ACTIVE", "chaos", injected_ns=planned + 10 * 10**9).overdue_s == 0.0


def test_a_faults_lock_is_for_its_owner_alone_and_goes_with_the_fault(run: RunDirectory, state: Path) -> None:
    fault = plan(run)
    lock = state / "locks" / f"{file_name(fault.fault_id)}.lock"
    with fault.locked() as current:
        assert current is not None
        assert current.entry == fault.entry
        assert lock.stat().st_mode & 0o777 == 0o600
    assert lock.exists(), "the fault is still open"
    fault.mark("UNDONE", "chaos")
    with fault.locked() as current:
        assert current is None
    assert not lock.exists()


def test_a_fault_is_undone_and_witnessed_gone(world: World, run: RunDirectory, state: Path) -> None:
    assert undo(inject(world, run), "warden")
    assert states(run) == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"]
    assert run.faults()[-1].by == "warden"
    assert open_faults() == []
    assert world.there == set()
    assert list((state / "locks").iterdir()) == []
    gone = run.events_of(Witness)[0]
    assert (gone.of, gone.seen, gone.by, gone.label) == ("gone", True, "warden", "cut#1")


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
    assert run.events_of(Witness)[-1].seen is False
    world.stuck.clear()
    assert undo(open_faults()[0], "undo")
    assert states(run)[-2:] == ["UNDOING", "UNDONE"]
    assert open_faults() == []


@pytest.mark.parametrize("error", [TargetError("no answer"), PermissionError("not yours")])
def test_an_undo_that_fails_says_why(world: World, run: RunDirectory, error: Exception) -> None:
    world.error = error
    assert not undo(inject(world, run), "chaos")
    assert run.events_of(Witness)[-1].what == str(error)
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


def test_an_entry_whose_process_was_killed_before_it_took_it_away_goes_with_the_next_look(
    world: World, run: RunDirectory
) -> None:
    fault = inject(world, run).mark("UNDOING", "chaos")
    kept = fault.path.read_text()
    fault.mark("UNDONE", "chaos")
    fault.path.write_text(kept)
    assert journal.still_open(run) == [] and open_faults() == []
    again = plan(run)  # under the same name, as an experiment does that is played twice
    assert open_faults() == [again]
    assert journal.still_open(run) == [again] and again.path.exists()


@pytest.mark.parametrize(
    ("platform", "pid", "ended"), [("docker", 2**22, 3), ("docker", None, 0), ("local", 2**22, 0)]
)
def test_helpers_that_an_engine_makes_for_a_process_that_was_killed_are_ended_when_they_come(
    world: World, run: RunDirectory, monkeypatch: pytest.MonkeyPatch, platform: str, pid: int | None, ended: int
) -> None:
    """Not of a process that lives, and where nobody else makes helpers there are none."""
    looked = []
    monkeypatch.setattr(PlatformFault, "end_helpers", lambda self, plan: looked.append(plan["private"]))
    monkeypatch.setattr(undoing, "_LATE_S", (0.0, 0.0, 0.0))
    fault = inject(world, run)
    process = fault.entry["process"] if pid is None else ProcessId(pid, 1.0).to_json()
    entry = {**fault.entry, "target": {**fault.entry["target"], "platform": platform}, "process": process}
    undoing.end_late_helpers([OpenFault(fault.path, entry)])
    assert looked == ["dsn"] * ended


def test_one_that_will_not_go_does_not_keep_the_others(world: World, run: RunDirectory) -> None:
    inject(world, run, "first")
    stuck = inject(world, run, "second")
    world.stuck.add(stuck.fault_id)
    assert [fault.label for fault in undo_all(open_faults(), "undo")] == ["second#1"]
    assert [fault.label for fault in open_faults()] == ["second#1"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "I/O error"), ValueError("half")],
)
def test_one_whose_entry_cannot_be_read_does_not_keep_the_others(
    world: World,
    run: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    inject(world, run, "first")
    bad = inject(world, run, "second")
    plain, faults = journal.read_json, open_faults()

    def read(path: Path) -> Any:
        if path == bad.path:
            raise error
        return plain(path)

    monkeypatch.setattr(journal, "read_json", read)
    assert [fault.label for fault in undo_all(faults, "undo")] == ["second#1"]
    assert world.undone == ["first"]
    assert "second#1 could not be undone: " in capsys.readouterr().err


def test_open_faults_of_a_target_or_a_run(world: World, run: RunDirectory, tmp_path: Path) -> None:
    other = RunDirectory.create(tmp_path / "other")
    other.begin({})
    plan(run)
    plan(other, "freeze")
    assert {fault.label for fault in open_faults("shop")} == {"cut#1", "freeze#1"}
    assert open_faults("shop:2") == []
    assert [fault.label for fault in open_faults(run=other.path)] == ["freeze#1"]
    assert [line.fault for line in other.faults()] == ["freeze"]


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
    with pytest.raises(InvalidInput, match="name a run, a target id or a fault, or use --all"):
        undo_leftovers(None, everything=False, only_list=False)
    assert world.undone == []
    world.stuck = set(world.there)
    assert undo_leftovers(None, everything=True, only_list=False, confirmed=True, force=True) is ExitCode.NOT_UNDONE


# -- entries that are hard to undo


def rewrite(fault: OpenFault, change: Callable[[dict[str, Any]], None]) -> None:
    entry = json.loads(fault.path.read_text())
    change(entry)
    fault.path.write_text(json.dumps(entry))


def undo_all_here() -> ExitCode:
    return undo_leftovers(None, everything=True, only_list=False, confirmed=True, force=True)


def test_an_entry_of_an_older_version_says_so_and_keeps_no_other_open(
    world: World, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(inject(world, run, "old"), lambda entry: [entry.pop(key) for key in ("one_shot", "version")])
    inject(world, run, "new")
    with pytest.raises(NotUndone, match="it lacks one_shot; faultload another version wrote it, this is"):
        open_faults()
    assert undo_all_here() is ExitCode.NOT_UNDONE
    assert world.undone == ["new"]
    said = capsys.readouterr()
    assert "new#1 on shop: undone" in said.out
    assert "it lacks one_shot" in said.err
    assert "look at the target, then remove the file" in said.err


def test_an_entry_whose_target_this_version_cannot_read_stays_open(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(plan(run), lambda entry: entry["target"].update(planet="mars") or entry.update(version="9.0"))
    assert undo_all_here() is ExitCode.NOT_UNDONE
    said = capsys.readouterr().out
    assert "cut#1 was written by faultload 9.0" in said
    assert "planet" in said
    assert [one.state for one in readable_faults()[0]] == ["UNDO_FAILED"]


def test_an_entry_of_a_word_that_is_gone_stays_open(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(plan(run), lambda entry: entry["request"].update(kind="freeze_time"))
    assert undo_all_here() is ExitCode.NOT_UNDONE
    assert "cannot do 'freeze_time'" in capsys.readouterr().out


def test_a_platform_that_does_not_answer_keeps_the_fault_open_until_it_does(
    world: World, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    inject(world, run)
    world.error = TargetError("the engine does not answer")
    assert undo_all_here() is ExitCode.NOT_UNDONE
    said = capsys.readouterr().out
    assert "cut#1 on shop: NOT undone: the engine does not answer; `faultload undo` tries again" in said
    assert len(open_faults()) == 1
    world.error = None
    assert undo_all_here() is ExitCode.PASS
    assert undo_all_here() is ExitCode.PASS
    assert world.undone == ["cut", "cut"]


def test_it_is_undone_when_its_run_directory_was_removed(world: World, run: RunDirectory) -> None:
    inject(world, run)
    shutil.rmtree(run.path)
    assert undo_all_here() is ExitCode.PASS
    assert world.undone == ["cut"]
    assert open_faults() == []


@pytest.mark.parametrize(("key", "value"), [("t0_ns", None), ("t0_ns", "soon"), ("one_shot", "perhaps")])
def test_an_odd_entry_never_keeps_a_fault_in_place(
    world: World, run: RunDirectory, key: str, value: object
) -> None:
    """One that cannot be noted in the record: of another version, or damaged."""
    fault = inject(world, run, max_duration_s=0.1)
    entry = {**fault.entry, key: value}
    if value is None:
        del entry[key]
    fault.path.write_text(json.dumps(entry))
    (odd,) = open_faults()
    assert undo(odd, "undo")
    assert world.there == set()
    assert open_faults() == []


def test_a_full_disk_never_keeps_a_fault_in_place(
    world: World, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = inject(world, run)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("write_json", "append_line"):
        monkeypatch.setattr(journal, name, full)
    monkeypatch.setattr(RunDirectory, "event", full)
    assert undo(fault, "chaos")
    assert world.undone == ["cut"]
    assert open_faults() == []


def test_a_state_folder_that_turned_read_only_never_keeps_a_fault_in_place(
    world: World, run: RunDirectory, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = inject(world, run)
    real = os.open

    def read_only(path: Any, flags: int, *more: Any) -> int:
        if flags & (os.O_CREAT | os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *more)

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        for of, name in (
            (journal, "write_json"),
            (journal, "append_line"),
            (RunDirectory, "event"),
            (Path, "mkdir"),
        ):
            patch.setattr(of, name, refused)
        patch.setattr(Path, "unlink", refused)
        with fault.locked() as current:
            assert current is not None
            folder = real(fault.path.parent, os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(folder)
        assert undo(fault, "warden")
        assert world.there == set()
        assert undo(fault, "undo"), "its entry is still there, and a second undo finds nothing to do"
    assert undo(fault, "undo")
    assert open_faults() == []


def test_a_fault_from_before_a_reboot_is_past_its_time(world: World, run: RunDirectory) -> None:
    fault = inject(world, run, one_shot=True)
    later = time.monotonic_ns() + 10**15
    rewrite(fault, lambda entry: entry.update(planned_ns=later, injected_ns=later))
    assert open_faults()[0].overdue_s == math.inf
    assert undo(open_faults()[0], "undo")
    assert world.undone == ["cut"]


def test_one_fault_is_shown_in_full_and_undone_by_its_name(
    world: World, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    inject(world, run, "first")
    inject(world, run, "second")
    assert undo_leftovers("first#1", everything=False, only_list=True) is ExitCode.PASS
    said = capsys.readouterr().out
    assert "first#1  pause  ACTIVE" in said
    assert 'before was: "running"' in said
    assert "now    still there: looked" in said
    assert "second" not in said
    assert "dsn" not in said, "what is private is not shown"
    assert world.undone == []
    assert undo_leftovers("first#1", everything=False, only_list=False) is ExitCode.PASS
    assert world.undone == ["first"]
    assert [fault.label for fault in open_faults()] == ["second#1"]


# -- the warden, when the process that injected is dead


def abandoned(fault: OpenFault) -> None:
    rewrite(fault, lambda entry: entry.update(process={"id": "999999", "started": 1.0}))


def test_the_warden_undoes_what_a_dead_process_injected(world: World, run: RunDirectory) -> None:
    abandoned(inject(world, run, "dead"))
    inject(world, run, "alive")
    warden(run)._look()
    assert world.undone == ["dead"]
    assert [fault.label for fault in open_faults()] == ["alive#1"]
    assert [event.what for event in run.events_of(Note)] == ["injector_died"]


def test_a_one_shot_fault_of_a_dead_process_keeps_its_time_to_come_back(world: World, run: RunDirectory) -> None:
    fault = inject(world, run, one_shot=True, max_duration_s=2.0)
    abandoned(fault)
    warden(run)._look()
    assert fault.overdue_s < 0, "it must not wait: the conductor may die meanwhile"
    assert world.undone == []
    time.sleep(max(0.0, -fault.overdue_s) + 0.05)
    warden(run)._look()
    assert world.undone == ["cut"]


def test_an_entry_that_cannot_be_read_does_not_end_the_warden(world: World, run: RunDirectory) -> None:
    broken = inject(world, run, "broken")
    broken.path.write_text("{")
    abandoned(inject(world, run, "dead"))
    warden(run)._look()
    assert world.undone == ["dead"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: os.chown(path, 70001, 70001), "it is a file of user 70001"),
        (lambda path: path.chmod(0o666), "everybody can write to it"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "it is no regular file"),
    ],
    ids=["another user's", "open to all", "a FIFO"],
)
def test_an_entry_that_somebody_else_can_have_written_is_named_and_nothing_of_it_is_done(
    world: World, run: RunDirectory, change: Any, said: str
) -> None:
    """It says what to start and whom to signal: undone by root, it would be a way to become root."""
    if said.startswith("it is a file of user") and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    planted = inject(world, run, "planted")
    inject(world, run, "mine")
    change(planted.path)
    known, unreadable = journal.readable_faults()
    assert [fault.label for fault in known] == ["mine#1"]
    assert len(unreadable) == 1 and str(planted.path) in unreadable[0] and said in unreadable[0]
    warden(run).conductor_died()
    assert world.undone == ["mine"]
    with pytest.raises(NotUndone, match=said):
        journal.open_faults()


def test_nothing_is_injected_where_the_disk_does_not_keep_whose_a_file_is(
    world: World, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a share that shows every file as open to all: undo would not trust its own entry."""
    monkeypatch.setattr(journal, "not_ours", lambda path: "everybody can write to it")
    with pytest.raises(Refused, match=r"everybody can write to it\): point XDG_STATE_HOME elsewhere"):
        inject(world, run, "cut")
    assert world.there == set()
    monkeypatch.undo()
    assert journal.readable_faults() == ([], [])


def warden(run: RunDirectory) -> Warden:
    return Warden(run, -1, standalone=False)


def test_what_other_users_left_is_named_and_who_can_undo_it(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def user(name: str, uid: int) -> SimpleNamespace:
        return SimpleNamespace(pw_name=name, pw_uid=uid, pw_dir=str(tmp_path / name))

    users = [user("me", os.geteuid()), user("ann", 70001), user("bob", 70002), user("nobody", 70003)]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    for name, count in (("me", 1), ("ann", 2), ("bob", 0)):
        folder = tmp_path / name / ".local" / "state" / "faultload" / "open" / "shop"
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}.json").write_text("{}")
    home = tmp_path / "ann" / ".local" / "state" / "faultload"
    assert journal.others_open() == [f"2 open faults of ann in {home}: `faultload undo` as ann"]
