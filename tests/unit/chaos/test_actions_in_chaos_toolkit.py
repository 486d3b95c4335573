"""Within Chaos Toolkit: a fault never lasts longer than its time, and arguments are checked as in a run."""

from __future__ import annotations

import errno
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from in_chaos_toolkit import World, experiment, lasted_s, ours, play, probe, record_of, world
from quiet_fault import Quiet

from faultload.chaos import journal
from faultload.record.events import Note

__all__ = ["world"]


def sleep(secs: float) -> bool:
    """A probe that takes its time."""
    time.sleep(secs)
    return True


def slow(name: str = "slow", secs: float = 0.8) -> dict[str, Any]:
    return probe(name, __name__, "sleep", secs=secs)


def hypothesis(*probes: dict[str, Any]) -> dict[str, Any]:
    return {"title": "the shop answers", "probes": [{**one, "tolerance": True} for one in probes]}


def test_a_hypothesis_never_makes_a_fault_longer(world: World, state: Path) -> None:
    """Chaos Toolkit looks a second time before the rollbacks: the fault lasted on until it was through."""
    journal = play(experiment(0.3, **{"steady-state-hypothesis": hypothesis(slow())}))
    assert journal["status"] == "completed"
    assert 0.3 <= lasted_s(state) < 0.7


def test_the_second_look_comes_after_the_fault_was_undone(world: World) -> None:
    play(experiment(0.2, **{"steady-state-hypothesis": hypothesis(probe("gone", __name__, "nothing_there"))}))
    assert seen == [False, False]
    assert len(world.went) == 1


def test_the_second_look_comes_during_the_fault_where_the_hold_is_shorter(world: World, state: Path) -> None:
    method = [ours("pause", service="web"), ours("hold", duration_s=0.1)]
    looks = hypothesis(probe("there", __name__, "nothing_there"), slow())
    play(experiment(0.4, method=method, **{"steady-state-hypothesis": looks}))
    assert seen == [False, True]
    assert 0.4 <= lasted_s(state) < 0.8


def test_pauses_and_probes_after_the_hold_never_make_a_fault_longer(world: World, state: Path) -> None:
    hold = {**ours("hold", duration_s="${duration_s}"), "pauses": {"after": 0.5}}
    play(experiment(0.3, method=[ours("pause", service="web"), hold, slow()]))
    assert 0.3 <= lasted_s(state) < 0.7


def test_an_experiment_that_ends_early_waits_for_no_expiry(world: World) -> None:
    began = time.monotonic()
    play(experiment(30.0, method=[ours("pause", service="web"), ours("hold", duration_s=0.1)]))
    assert time.monotonic() - began < 5
    assert len(world.went) == 1


@pytest.mark.parametrize(
    ("duration_s", "said"),
    [
        (math.nan, "duration_s must be a number of seconds above 0, not nan"),
        (-3, "duration_s must be a number of seconds above 0, not -3"),
        ("soon", "duration_s must be a number of seconds above 0, not 'soon'"),
        (math.inf, "duration_s must be a number of seconds above 0, not inf"),
    ],
)
def test_the_duration_is_checked_before_anything_is_touched(
    world: World, state: Path, duration_s: Any, said: str
) -> None:
    assert play(experiment(duration_s))["status"] == "interrupted"
    assert world.came == []
    (note,) = record_of(state).events_of(Note)
    assert (note.what, note.text) == ("not_injected", f"pause: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"count": math.nan}, "count must be a whole number of at least 1, not nan"),
        ({"count": -1}, "count must be a whole number of at least 1, not -1"),
        ({"share": "half"}, "share must be above 0 and at most 1, not 'half'"),
        ({"seed": math.nan}, "seed must be a number that is not negative, not nan"),
        ({"service": None}, "pause needs 'service'"),
    ],
)
def test_arguments_are_checked_before_anything_is_touched(
    world: World, state: Path, arguments: dict[str, Any], said: str
) -> None:
    method = [ours("pause", **{"service": "web", **arguments}), ours("hold", duration_s=0.1)]
    assert play(experiment(method=method))["status"] == "interrupted"
    assert world.came == []
    (note,) = record_of(state).events_of(Note)
    assert said in note.text


@pytest.mark.parametrize("held_s", [math.nan, -1, "long"])
def test_a_hold_of_no_time_ends_the_experiment_and_undoes_the_fault(world: World, state: Path, held_s: Any) -> None:
    method = [ours("pause", service="web"), ours("hold", duration_s=held_s)]
    assert play(experiment(5.0, method=method))["status"] == "interrupted"
    assert lasted_s(state) < 3


def test_an_action_in_the_background_ends_the_experiment_before_anything_is_touched(world: World) -> None:
    """In a thread no signal reaches it, and its failure would end nothing."""
    method = [{**ours("pause", service="web"), "background": True}, slow(secs=0.5)]
    assert play(experiment(method=method))["status"] == "interrupted"
    assert world.came == []


seen: list[bool] = []
_worlds: list[World] = []


@pytest.fixture(autouse=True)
def _look_at(world: World) -> None:
    seen.clear()
    _worlds[:] = [world]


def nothing_there() -> bool:
    """A probe that notes whether the fault is there."""
    seen.append(_worlds[0].there)
    return True


# -- a fault that cannot be planned


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("fails", "instead", "refused", "said", "released"),
    [
        ("write_json", no_room, False, "what its undo needs could not be kept: No space left on device", 1),
        ("append_line", no_room, False, "what its undo needs could not be kept: No space left on device", 0),
        ("not_ours", lambda path: "everybody can write to it", True, "undo would not trust its own entry", 1),
    ],
    ids=["no room for its entry", "no room in the record", "an entry that undo would not trust"],
)
def test_what_cannot_be_planned_is_noted_and_its_helpers_end(
    world: World,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
    instead: Any,
    refused: bool,
    said: str,
    released: int,
) -> None:
    """Where an entry is left, undo ends the helpers."""
    calls: list[Any] = []
    monkeypatch.setattr(Quiet, "release", lambda fault: calls.append(fault))
    monkeypatch.setattr(journal, fails, instead)
    assert play(experiment())["status"] == "interrupted"
    assert world.came == []
    (note,) = record_of(state).events_of(Note)
    assert (note.what, note.refused) == ("not_injected", refused)
    assert str(note.text).startswith(said)
    assert len(calls) == released
    assert len(world.went) == 1 - released
