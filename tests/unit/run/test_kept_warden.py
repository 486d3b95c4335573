"""The conductor's warden: on record, told that the conductor lives, replaced when it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from faultload.host.processes import Process
from faultload.record.directory import RunDirectory
from faultload.record.events import Note, ProcessEvent
from faultload.run import kept_warden as module
from faultload.run.kept_warden import KeptWarden


class Started:
    """Stands for a warden's process: the reading end of its pipe stays open as long as it lives."""

    stdin = None

    def __init__(self, descriptor: int) -> None:
        self.pid = os.getpid()
        self.descriptor = os.dup(descriptor)
        self.ended = False

    def poll(self) -> int | None:
        return 0 if self.ended else None

    def die(self) -> None:
        self.ended = True
        os.close(self.descriptor)

    def kill(self) -> None:
        self.die()

    def heard(self) -> bytes:
        os.set_blocking(self.descriptor, False)
        try:
            return os.read(self.descriptor, 100)
        except BlockingIOError:
            return b""


class World:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = RunDirectory.create(folder)
        self.run.begin({})
        self.started: list[Started] = []
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.warden = KeptWarden(self.run, self._spawn)

    def _spawn(self, argv: Sequence[str], **options: Any) -> Process:
        self.started.append(Started(int(argv[-1])))
        return self.started[-1]  # type: ignore[return-value]

    def beat_after(self, seconds: float) -> None:
        self.now += seconds
        self.warden.beat()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path / "run", monkeypatch)
    yield world
    for one in world.started:
        if not one.ended:
            one.die()


def test_it_is_on_record_before_anything_is_injected(world: World) -> None:
    assert [(one.process, one.state) for one in world.run.events_of(ProcessEvent)] == [("warden", "started")]


def test_it_is_told_once_a_second(world: World) -> None:
    for _ in range(25):
        world.beat_after(0.1)
    assert world.started[0].heard() == b"..."


def test_one_that_ended_is_replaced_and_the_record_says_so(world: World) -> None:
    world.started[0].die()
    world.beat_after(1.0)
    assert [note.what for note in world.run.events_of(Note)] == ["warden_lost"]
    assert len(world.started) == 2 and world.started[1].heard() == b"."
    assert [one.process for one in world.run.events_of(ProcessEvent)] == ["warden", "warden"]


def test_it_is_told_when_all_is_in_order(world: World) -> None:
    world.warden.dismiss()
    assert world.started[0].heard() == b"q"


def test_one_that_was_stopped_is_replaced_after_fifteen_seconds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "stopped", lambda process: True)
    for _ in range(16):
        world.beat_after(1.0)
    assert len(world.started) == 1
    world.beat_after(1.0)
    assert len(world.started) == 2 and world.started[0].ended
    (note,) = world.run.events_of(Note)
    assert (note.what, note.text) == ("warden_lost", "the warden was stopped for 15 s: a new one was started")


def test_one_that_is_busy_undoing_is_given_its_time(world: World) -> None:
    for _ in range(151):
        world.beat_after(1.0)
    assert len(world.started) == 1
    world.beat_after(1.0)
    assert len(world.started) == 2


def test_one_that_reads_its_beats_is_left_alone_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "stopped", lambda process: True)
    for _ in range(100):
        world.beat_after(1.0)
        assert world.started[0].heard() == b"."
    assert len(world.started) == 1


def test_one_that_cannot_be_replaced_now_is_replaced_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.started[0].die()
    plain, tries = module.start_warden, []

    def start(*args: Any, **options: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise BlockingIOError(11, "no process can be made")
        return plain(*args, **options)

    monkeypatch.setattr(module, "start_warden", start)
    for _ in range(3):
        world.beat_after(1.0)
    assert len(tries) == 3 and len(world.started) == 2
