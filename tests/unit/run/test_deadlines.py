"""Every run ends: whoever is silent, stopped or late is ended, and its name, phase and seconds are on record."""

from __future__ import annotations

import errno
import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import run_files
from conducted import World, injection
from run_files import events

from faultload.chaos.warden import Warden
from faultload.errors import NoVerdict
from faultload.record.directory import RunDirectory
from faultload.run.load_watch import LoadWatch
from faultload.run.patience import Late, Patience

SECOND = pytest.approx


def stopped(world: World) -> dict[str, Any]:
    found: dict[str, Any] = run_files.info(world.run)["stopped"]
    return found


# -- the load


def test_a_load_process_that_falls_silent_is_ended_and_the_run_with_it(world: World) -> None:
    world.load_lasts_s = 3600.0
    world.changes["load-0"] = {"silent_from_s": 10.0, "on_stop": None}
    assert world.conduct() == ["lost_worker", "stopped"]
    why = "load-0 said nothing for 15 s of its load: it is stopped, or hangs"
    assert stopped(world) == {"by": "load", "why": why}
    load = world.processes["load-0"]
    assert [number for _, number in load.signals] == [signal.SIGKILL]
    assert run_files.info(world.run)["ended"] == SECOND(10.0 + 15.0 + 8.0, abs=1.5)


def test_one_silent_load_process_of_two_is_named(world: World) -> None:
    world.workers = 2
    world.changes["load-1"] = {"silent_from_s": 10.0}
    world.conduct()
    assert stopped(world)["why"].startswith("load-1 said nothing")


def test_a_load_process_that_does_not_end_after_its_load_is_ended(world: World) -> None:
    world.load_lasts_s = 3600.0
    world.changes["load-0"] = {"on_stop": None}
    assert world.conduct() == ["lost_worker", "stopped"]
    assert stopped(world)["why"] == "load-0: drain and end took longer than 29 s after the load"
    assert run_files.info(world.run)["ended"] < 30.0 + 29.0 + 12.0


@pytest.mark.parametrize(
    ("now_s", "beat_s", "late"),
    [
        (20.0, 5.1, False),
        (20.0, 4.9, True),
        (14.0, None, False),
        (16.0, None, True),
        (46.0, 29.5, False),
        (31.0, 15.9, True),
    ],
    ids=["just heard", "silent", "not yet", "never heard", "after the load", "since before its end"],
)
def test_silence_counts_from_the_last_word_and_only_during_the_load(
    now_s: float, beat_s: float | None, late: bool
) -> None:
    beats = {} if beat_s is None else {0: beat_s}
    assert (LoadWatch(0.0, 30.0, 3.0).problem(0, now_s, beats) is not None) == late


# -- the others


def test_a_chaos_process_that_does_not_stop_is_ended_and_named_with_its_time(world: World) -> None:
    world.changes["chaos-cut-1"] = {"ends_at_s": None, "on_interrupt": None}
    assert world.conduct([injection(20.0, max_duration_s=25.0)]) == ["deadline"]
    (note,) = events(world.run, "note")
    assert note["text"] == "chaos-cut-1: its stop took longer than 85 s, and it was ended"


def test_a_chaos_process_that_was_stopped_is_woken_to_roll_back(world: World) -> None:
    world.changes["chaos-cut-1"] = {"ends_at_s": None}
    world.conduct([injection(20.0)])
    assert [number for _, number in world.processes["chaos-cut-1"].signals] == [signal.SIGINT, signal.SIGCONT]


def test_a_fork_server_that_never_gets_ready_is_waited_for_a_minute(world: World) -> None:
    world.servers.load.ready_at_s = 1e9  # type: ignore[attr-defined]
    world.conduct()
    assert world.start_of("load-0") == SECOND(60.0, abs=1.0)


def test_what_blocks_for_too_long_is_left_to_itself_and_named() -> None:
    patience, over = Patience(lambda: None), threading.Event()
    with pytest.raises(Late, match=r"target: its stop took longer than 0\.1 s"):
        patience.in_thread(over.wait, 0.1, "target", "its stop")
    over.set()


def test_what_went_wrong_in_a_thread_is_raised_here() -> None:
    with pytest.raises(LookupError):
        Patience(lambda: None).in_thread(lambda: {}["missing"], 5.0, "target", "a look")


@pytest.mark.parametrize("state", ["ACTIVE", "ENDED", "UNDOING"])
def test_what_the_conductor_could_not_undo_in_time_is_undone_by_the_warden(
    world: World, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    still_there, over = [SimpleNamespace(label="cut#1", fault_id="cut#1@run", state=state)], threading.Event()
    monkeypatch.setattr("faultload.run.patience._LOOK_S", 0.0)
    for user in ("run.ending", "chaos.warden"):
        monkeypatch.setattr(f"faultload.{user}.still_open", lambda run: list(still_there))
    monkeypatch.setattr("faultload.run.ending.undo_all", lambda faults, by: over.wait())
    world.changes["warden"] = {"leaves": False}
    world.conduct([injection(10.0)])
    over.set()
    assert stopped(world)["why"] == "conductor: its undo took longer than 125 s"
    (told,) = [said for said in world.screen.said if said.startswith("NOT undone")]
    assert told.startswith("NOT undone: cut#1; the warden (pid ")
    assert not world.wardens[-1].signals, "it is left to its work"

    monkeypatch.setattr("faultload.chaos.warden.undo", lambda fault, by: still_there.remove(fault) or True)
    reading, writing = os.pipe()
    os.write(writing, world.wardens[-1].listen())
    Warden(world.run, reading, standalone=False).watch()
    os.close(reading)
    os.close(writing)
    assert not still_there


# -- a machine that gives no more


class Full:
    """A run directory that takes nothing more from a moment on."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *, only: str = "") -> None:
        self.on = False
        for name in ("event", "update"):
            plain = getattr(RunDirectory, name)

            def write(run: RunDirectory, *args: Any, plain: Any = plain, name: str = name, **fields: Any) -> None:
                if self.on and only in ("", name):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                plain(run, *args, **fields)

            monkeypatch.setattr(RunDirectory, name, write)

    def fill(self) -> None:
        self.on = True


def test_a_full_disk_ends_the_run_and_everything_of_it_and_its_missing_verdict_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.load_lasts_s = 3600.0
    world.changes["load-0"] = {"on_stop": None, "silent_from_s": 14.0}
    world.changes["chaos-cut-1"] = {"ends_at_s": None}
    world.at(15.0, Full(world, monkeypatch).fill)
    with pytest.raises(NoVerdict, match="no verdict was written: No space left on device") as problem:
        world.conduct([injection(14.0)])
    assert int(problem.value.exit_code) == 70
    assert str(world.run.path) in str(problem.value)
    assert world.processes["load-0"].signals[-1][1] == signal.SIGKILL
    assert world.processes["chaos-cut-1"].poll() is not None
    assert world.wardens[-1].listen().endswith(b"q")


@pytest.mark.parametrize(("still_there", "code"), [([], 130), ([SimpleNamespace(label="cut#1")], 6)])
def test_a_full_disk_hides_neither_a_person_nor_what_is_open(
    world: World, monkeypatch: pytest.MonkeyPatch, still_there: list[Any], code: int
) -> None:
    monkeypatch.setattr("faultload.run.finish.still_open", lambda run: still_there)
    world.at(15.0, Full(world, monkeypatch).fill)
    world.at(15.5, world.interrupt)
    with pytest.raises(NoVerdict) as problem:
        world.conduct()
    assert int(problem.value.exit_code) == code
    assert ("NOT undone: cut#1" in str(problem.value)) == bool(still_there)


def test_events_that_cannot_be_written_keep_no_run_from_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.changes["chaos-cut-1"] = {"ends_at_s": None}
    full = Full(world, monkeypatch, only="event")
    world.at(13.0, full.fill)
    world.changes["load-0"] = {"silent_from_s": 12.0}
    world.conduct([injection(25.5)])
    assert stopped(world)["by"] == "machine"
    assert stopped(world)["why"].startswith("No space left on device")
    assert world.processes["load-0"].poll() is not None


def test_a_step_of_the_end_that_fails_keeps_no_other_from_being_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run: object) -> list[object]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("faultload.run.ending.still_open", broken)
    world.changes["load-0"] = {"on_stop": None}
    world.at(15.0, world.interrupt)
    world.conduct()
    assert world.processes["load-0"].signals[-1][1] == signal.SIGKILL
    assert world.wardens[-1].listen().endswith(b"q")
    assert any("Too many open files" in said for said in world.screen.said)


def test_a_bug_of_the_end_is_told_when_everything_has_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faultload.run.ending.still_open", lambda run: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        world.conduct()
    assert world.wardens[-1].listen().endswith(b"q")
