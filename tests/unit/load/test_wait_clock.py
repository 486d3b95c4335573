"""The wait clock: a wait is the target's while the loop has nothing to do, else the generator's."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator

import gevent
import pytest

from faultload.load.waiting import WaitClock

MS = 1_000_000
BEGIN = 1_000 * MS


class Loop:
    """An event loop whose time a test moves: how long a window was, and how much of it the loop slept."""

    def __init__(self, credit_limit_ms: int = 1000) -> None:
        self.now = BEGIN
        self.clock = WaitClock(credit_limit_ms * MS, lambda: self.now)

    def window(self, length_ms: float, slept_ms: float, *, queued: bool = True) -> int:
        """One window; returns how much of it counts as the target's, in ms."""
        before, begin = self.clock.read(self.now), self.now
        self.now += round(length_ms * MS)
        self.clock.slept_ns += round(slept_ms * MS)
        self.clock.turn(queued)
        after = self.clock.read(self.now)
        assert self.clock.read(begin) == before, "a moment keeps its reading"
        return (after - before) // MS

    def at(self, ms: float) -> float:
        """The reading at a moment after the beginning, in ms."""
        return self.clock.read(BEGIN + round(ms * MS)) / MS


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.clock.stop()


def test_a_wait_is_the_targets_while_the_loop_sleeps_and_the_generators_while_it_is_busy(loop: Loop) -> None:
    assert [loop.window(20, 20), loop.window(30, 0, queued=False), loop.window(10, 9)] == [20, 0, 10]


def test_the_reading_of_any_moment_can_be_asked_for_later(loop: Loop) -> None:
    for length, slept in ((20, 20), (30, 0), (10, 10), (40, 0)):
        loop.window(length, slept, queued=False)
    loop.window(10, 10)
    moments = [0, 5, 19, 20, 35, 50, 54, 60, 80, 100, 105, 110, 113]
    assert [loop.at(ms) for ms in moments] == [0, 5, 19, 20, 20, 20, 24, 30, 30, 30, 35, 40, 43]


def test_a_moment_before_the_clock_began_reads_nothing(loop: Loop) -> None:
    loop.window(20, 20)
    loop.window(20, 0, queued=False)
    assert loop.at(-1) == loop.at(-500) == 0
    assert loop.at(0) == 0


def test_what_follows_a_window_goes_on_as_that_window_was_until_the_next_is_known(loop: Loop) -> None:
    loop.window(20, 20)
    assert loop.at(27) == 27
    loop.window(20, 0, queued=False)
    assert loop.at(47) == 20


def test_a_moment_in_the_window_that_is_open_is_none_of_the_past(loop: Loop) -> None:
    loop.window(20, 0, queued=False)
    loop.window(20, 20)
    assert [loop.at(ms) for ms in (39, 40, 41)] == [19, 20, 21]
    loop.window(20, 0, queued=False)
    assert [loop.at(ms) for ms in (59, 60, 61)] == [20, 20, 20]


@pytest.mark.parametrize(("slept_ms", "counts"), [(0.99, 0), (1.0, 20), (1.01, 20)])
def test_five_percent_of_sleep_make_a_window_the_targets(loop: Loop, slept_ms: float, counts: int) -> None:
    assert loop.window(20, slept_ms, queued=False) == counts


def test_sleep_counts_for_its_own_window_alone(loop: Loop) -> None:
    assert loop.window(20, 20, queued=False) == 20
    assert loop.window(20, 0, queued=False) == 0
    assert loop.window(200, 5, queued=False) == 0


def test_a_window_is_ten_milliseconds_long_at_least(loop: Loop) -> None:
    loop.window(9.9, 0, queued=False)
    assert loop.at(9.9) == 9.9, "not judged yet"
    loop.now += round(0.1 * MS)
    loop.clock.turn(False)
    assert [loop.at(ms) for ms in (0, 5, 10)] == [0, 0, 0], "judged as a whole"


def test_a_queue_that_the_target_made_is_its_own_for_as_long_as_it_held_things_up(loop: Loop) -> None:
    assert [loop.window(10, 10) for _ in range(3)] == [10, 10, 10]
    worked_off = [loop.window(10, 0) for _ in range(5)]
    assert worked_off == [10, 10, 10, 0, 0]


def test_the_target_answers_for_a_queue_no_longer_than_the_limit() -> None:
    loop = Loop(credit_limit_ms=20)
    assert [loop.window(10, 10) for _ in range(6)] == [10] * 6
    assert [loop.window(10, 0) for _ in range(4)] == [10, 10, 0, 0]


def test_when_the_queue_is_empty_the_target_owes_nothing_more(loop: Loop) -> None:
    loop.window(50, 50)
    loop.window(10, 10, queued=False)
    assert loop.window(10, 0) == 0


def test_a_loop_that_sleeps_while_nothing_waits_earns_nothing(loop: Loop) -> None:
    loop.window(50, 50, queued=False)
    assert loop.window(10, 0) == 0


def test_a_generator_that_is_busy_from_the_start_has_nobody_else_to_blame(loop: Loop) -> None:
    assert [loop.window(10, 0) for _ in range(3)] == [0, 0, 0]


def test_the_sleep_of_a_real_loop_is_seen_and_its_work_is_not() -> None:
    clock = WaitClock(0, time.monotonic_ns)
    try:
        gevent.sleep(0.001)  # a clock sees the loop from its next turn on
        clock.slept_ns = 0
        gevent.sleep(0.03)
        slept = clock.slept_ns
        assert 20 * MS < slept < 10_000 * MS
        end = time.monotonic_ns() + 5 * MS
        while time.monotonic_ns() < end:
            pass
        assert clock.slept_ns == slept
    finally:
        clock.stop()
    gevent.sleep(0.002)
    assert clock.slept_ns == slept, "it looks no longer"


def test_the_readings_of_the_last_half_minute_can_be_asked_for(loop: Loop) -> None:
    for _ in range(3000):
        loop.now += 10 * MS
        loop.clock.slept_ns += 10 * MS
        loop.clock.turn(False)
    assert [loop.at(ms) for ms in (0, 7, 15_003, 30_000)] == [0, 7, 15_003, 30_000]


def test_no_sleep_of_before_the_clock_began_is_counted(capfd: pytest.CaptureFixture[str]) -> None:
    """It begins in the middle of a turn of the loop: it sees the loop wake without having seen it fall asleep."""
    gevent.sleep(0)
    clock = WaitClock(0, time.monotonic_ns)
    began = time.monotonic_ns()
    assert clock.slept_ns == 0
    try:
        gevent.sleep(0.001)
        assert 0 <= clock.slept_ns <= time.monotonic_ns() - began
        assert capfd.readouterr().err == "", "what a loop calls must not raise"
    finally:
        clock.stop()


def test_a_clock_that_was_stopped_is_not_kept_by_the_loop() -> None:
    clock = WaitClock(0, time.monotonic_ns)
    gone = weakref.ref(clock)
    clock.stop()
    del clock
    gc.collect()
    assert gone() is None
