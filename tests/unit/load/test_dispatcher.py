"""The dispatcher: a slot goes to a user of its journey, waits for one or is dropped; whose doing it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gevent
import pytest
from locust.exception import StopUser

from faultload.load.dispatcher import Dispatcher
from faultload.load.iteration import Iteration
from faultload.load.schedule import Slot

MS = 1_000_000
S = 1_000 * MS


@dataclass(frozen=True)
class Dropped:
    intended_ms: float
    at_ms: float
    journey: str


class Recorder:
    """Notes what was dropped; its clock is the test's."""

    def __init__(self) -> None:
        self.now = 10 * S
        self.dropped: list[Dropped] = []

    def now_ns(self) -> int:
        return self.now

    def sample(
        self, intended_ns: int, started_ns: int, service_us: int, request: str | None, journey: str,
        variant: str | None, outcome: str,
    ) -> None:  # fmt: skip
        assert (service_us, request, outcome) == (0, None, "dropped")
        self.dropped.append(Dropped((intended_ns - 10 * S) / MS, (started_ns - 10 * S) / MS, journey))


class Blame:
    """A wait clock: `share` of all time is the target's."""

    def __init__(self) -> None:
        self.share = 1.0
        self.turns: list[bool] = []

    def read(self, at_ns: int) -> int:
        return round(at_ns * self.share)

    def turn(self, queued: bool) -> None:
        self.turns.append(queued)


class User:
    """As much of a scheduled user as the dispatcher asks for."""

    variant = "blue"

    def __init__(self) -> None:
        self.fl_started = self.fl_stopping = False
        self.waits: list[bool] = []

    def fl_waiting(self, waiting: bool) -> None:
        self.waits.append(waiting)


class Visit(User):
    """The users of one journey."""


class Buy(User):
    """The users of the other."""


class Stage:
    """A dispatcher with its clocks, and the journeys of the users that it asked for."""

    def __init__(self, mix: Mapping[str, float], *, max_users: int = 10, drop_after_s: float = 1.0) -> None:
        self.recorder, self.blame = Recorder(), Blame()
        self.spawned: list[str] = []
        self.greenlets: list[Any] = []
        self.it = Dispatcher(
            mix,
            self.recorder,  # type: ignore[arg-type]
            self.blame,  # type: ignore[arg-type]
            max_users=max_users,
            drop_after_s=drop_after_s,
            spawn=self.spawned.append,
        )

    def pass_ms(self, ms: float) -> None:
        self.recorder.now += round(ms * MS)

    def offer(self, *intended_ms: float, journey: str = "Visit") -> None:
        """Offer slots, intended so many ms after the beginning."""
        self.it.offer([Slot(n, 10 * S + round(ms * MS), journey) for n, ms in enumerate(intended_ms)])

    def begin(self, user: User, *, first: bool = True) -> Any:
        """A user asks for its next iteration, in a greenlet of its own."""
        if first:
            self.it.born(user)  # type: ignore[arg-type]
        taskset: Any = None if first else object()
        self.greenlets.append(gevent.spawn(self.it.next, user, taskset))
        settle()
        return self.greenlets[-1]


def settle() -> None:
    """Let everything that is ready run; nothing that waits for time to pass."""
    for _ in range(6):
        gevent.sleep(0)


def iteration(greenlet: Any) -> Iteration:
    """What a user was given; it must be there at once."""
    assert greenlet.ready(), "the user still waits"
    found = greenlet.get()
    assert isinstance(found, Iteration)
    return found


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage({"Visit": 3, "Buy": 1})
    yield made
    gevent.killall(made.greenlets)


# -- who gets a slot


def test_a_free_user_is_handed_the_slot_with_its_journey_and_intended_start(stage: Stage) -> None:
    user = Visit()
    waiting = stage.begin(user)
    assert not waiting.ready()
    assert (user.waits, user.fl_started, stage.it.busy) == ([True], True, 0)
    stage.offer(0)
    settle()
    given = iteration(waiting)
    assert (given.journey, given.variant, given.intended_ns) == ("Visit", "blue", 10 * S)
    assert (given.waited_us, given.slip_us) == (0, 0)
    assert user.waits == [True, False]
    assert (stage.it.counts.offered, stage.it.counts.started, stage.it.busy) == (1, 1, 1)
    assert stage.spawned == [], "nobody else was needed"


def test_free_users_take_turns(stage: Stage) -> None:
    first, second = stage.begin(Visit()), stage.begin(Visit())
    stage.offer(0)
    settle()
    assert (first.ready(), second.ready()) == (True, False)


def test_a_slot_waits_for_a_user_of_its_own_journey(stage: Stage) -> None:
    buyer = stage.begin(Buy())
    stage.offer(0)
    settle()
    assert not buyer.ready()
    assert stage.it.queued == 1
    visitor = stage.begin(Visit())
    assert iteration(visitor).journey == "Visit"
    assert stage.it.queued == 0


def test_the_oldest_waiting_slot_goes_first_and_at_once(stage: Stage) -> None:
    stage.offer(-30, -20, -10)
    given = [iteration(stage.begin(Visit())).intended_ns for _ in range(3)]
    assert given == [10 * S - 30 * MS, 10 * S - 20 * MS, 10 * S - 10 * MS]


def test_answers_that_are_in_come_before_a_user_takes_the_next_waiting_slot(stage: Stage) -> None:
    stage.offer(0)
    order: list[str] = []
    user = Visit()
    stage.it.born(user)  # type: ignore[arg-type]

    def asks() -> None:
        stage.it.next(user, None)  # type: ignore[arg-type]
        order.append("takes the slot")

    stage.greenlets += [gevent.spawn(asks), gevent.spawn(order.append, "reads its answer")]
    settle()
    assert order == ["reads its answer", "takes the slot"]


def test_a_user_that_is_being_stopped_gets_nothing(stage: Stage) -> None:
    stage.offer(0)
    user = Visit()
    user.fl_stopping = True
    with pytest.raises(StopUser):
        stage.it.next(user, None)  # type: ignore[arg-type]
    assert stage.it.queued == 1


def test_a_user_that_ends_while_it_waits_is_handed_nothing_more(stage: Stage) -> None:
    user = Visit()
    gone, other = stage.begin(user), stage.begin(Visit())
    gone.kill()
    stage.it.gone(user)  # type: ignore[arg-type]
    stage.offer(0)
    settle()
    assert iteration(other).intended_ns == 10 * S
    assert stage.it.users == 1


# -- whose doing a wait was


@pytest.mark.parametrize(("share", "waited", "slip"), [(1.0, 40_000, 0), (0.0, 0, 40_000), (0.25, 10_000, 30_000)])
def test_a_wait_is_split_into_the_targets_part_and_the_generators(
    stage: Stage, share: float, waited: int, slip: int
) -> None:
    stage.blame.share = share
    stage.offer(0)
    stage.pass_ms(40)
    given = iteration(stage.begin(Visit()))
    assert (given.waited_us, given.slip_us) == (waited, slip)
    assert stage.it.counts.late == (slip > 10_000)


def test_what_the_generator_was_late_to_offer_is_its_own(stage: Stage) -> None:
    stage.pass_ms(30)
    stage.offer(0)
    stage.pass_ms(20)
    given = iteration(stage.begin(Visit()))
    assert (given.waited_us, given.slip_us) == (20_000, 30_000)


def test_behind_others_a_slot_waits_from_when_it_was_due_not_from_when_it_was_looked_at(stage: Stage) -> None:
    stage.offer(0)
    stage.pass_ms(50)
    stage.offer(10)
    for expected in (50_000, 40_000):
        given = iteration(stage.begin(Visit()))
        assert (given.waited_us, given.slip_us) == (expected, 0)


def test_a_slot_behind_others_never_waits_from_before_the_queue_began(stage: Stage) -> None:
    stage.pass_ms(30)
    stage.offer(0, 5)
    given = [iteration(stage.begin(Visit())) for _ in range(2)]
    assert [(one.waited_us, one.slip_us) for one in given] == [(0, 30_000), (0, 25_000)]


def test_late_is_a_slip_of_more_than_ten_milliseconds(stage: Stage) -> None:
    stage.blame.share = 0.0
    for slip_ms, late in ((10, 0), (10.000001, 1), (12, 2)):
        stage.offer((stage.recorder.now - 10 * S) / MS)
        stage.pass_ms(slip_ms)
        iteration(stage.begin(Visit()))
        assert stage.it.counts.late == late


def test_a_handed_slot_that_is_taken_up_late_slipped(stage: Stage) -> None:
    waiting = stage.begin(Visit())
    stage.pass_ms(15)
    stage.offer(0)
    settle()
    given = iteration(waiting)
    assert (given.waited_us, given.slip_us, stage.it.counts.late) == (0, 15_000, 1)


# -- what is dropped


def test_a_slot_that_nobody_took_in_time_is_dropped(stage: Stage) -> None:
    stage.offer(0)
    stage.pass_ms(1000)
    stage.it.tick()
    assert stage.recorder.dropped == [], "it may begin at the last moment"
    stage.pass_ms(1)
    stage.it.tick()
    assert stage.recorder.dropped == [Dropped(0, 1001, "Visit")]
    counts = stage.it.counts
    assert (counts.offered, counts.started, counts.dropped, stage.it.queued) == (1, 0, 1, 0)


def test_a_user_that_comes_too_late_drops_what_is_too_old_and_takes_the_next(stage: Stage) -> None:
    stage.offer(0, 0)
    stage.pass_ms(500)
    stage.offer(500)
    stage.pass_ms(600)
    given = iteration(stage.begin(Visit()))
    assert given.intended_ns == 10 * S + 500 * MS
    assert [one.intended_ms for one in stage.recorder.dropped] == [0, 0]


def test_a_slot_exactly_as_old_as_may_be_is_begun(stage: Stage) -> None:
    stage.offer(0)
    stage.pass_ms(1000)
    assert iteration(stage.begin(Visit())).intended_ns == 10 * S
    waiting = stage.begin(Visit())
    stage.offer(0)
    settle()
    assert iteration(waiting).intended_ns == 10 * S


def test_a_free_user_is_not_handed_what_is_too_old(stage: Stage) -> None:
    waiting = stage.begin(Visit())
    stage.pass_ms(1001)
    stage.offer(0)
    settle()
    assert not waiting.ready()
    stage.it.tick()
    assert len(stage.recorder.dropped) == 1


@pytest.mark.parametrize(("share", "unsent"), [(1.0, 0), (0.5, 0), (0.49, 1), (0.0, 1)])
def test_a_drop_is_the_generators_when_less_than_half_of_the_wait_was_the_targets(
    stage: Stage, share: float, unsent: int
) -> None:
    stage.blame.share = share
    stage.offer(0)
    stage.pass_ms(2000)
    stage.it.tick()
    assert (stage.it.counts.dropped, stage.it.counts.unsent) == (1, unsent)


def test_at_the_end_of_the_drain_every_waiting_slot_is_dropped_and_nobody_is_spawned(stage: Stage) -> None:
    stage.offer(0, 0)
    stage.offer(0, journey="Buy")
    before = len(stage.spawned)
    stage.it.drop_rest()
    assert [one.journey for one in stage.recorder.dropped] == ["Visit", "Visit", "Buy"]
    stage.offer(0)
    stage.it.tick()
    assert len(stage.spawned) == before


# -- how many users


def test_a_slot_without_a_free_user_has_one_spawned(stage: Stage) -> None:
    stage.offer(0)
    stage.offer(0, journey="Buy")
    assert stage.spawned == ["Visit", "Buy"]


def test_a_user_that_is_starting_counts_for_a_waiting_slot(stage: Stage) -> None:
    stage.it.born(Visit())  # type: ignore[arg-type]
    stage.offer(0)
    assert stage.spawned == []
    stage.offer(0)
    assert stage.spawned == ["Visit"]


def test_no_more_users_than_allowed() -> None:
    stage = Stage({"Visit": 1}, max_users=2)
    for _ in range(2):
        stage.it.born(Visit())  # type: ignore[arg-type]
    stage.offer(0, 0, 0)
    stage.it.tick()
    assert stage.spawned == []
    assert (stage.it.users, stage.it.starting, stage.it.busy) == (2, 2, 0)


def test_a_user_that_never_began_is_no_longer_starting_when_it_is_gone(stage: Stage) -> None:
    began, never = Visit(), Visit()
    stage.begin(began)
    stage.it.born(never)  # type: ignore[arg-type]
    assert (stage.it.users, stage.it.starting) == (2, 1)
    stage.it.gone(never)  # type: ignore[arg-type]
    assert (stage.it.users, stage.it.starting) == (1, 0)
    stage.it.gone(began)  # type: ignore[arg-type]
    assert (stage.it.users, stage.it.starting) == (0, 0)


def test_the_reserve_of_free_users_is_kept_up_one_at_a_time(stage: Stage) -> None:
    stage.it.tick()
    assert stage.spawned == ["Visit", "Buy"]
    stage.begin(Visit())
    stage.begin(Buy())
    stage.it.tick()
    assert stage.spawned == ["Visit", "Buy"], "one of each is free"


def test_a_tick_tells_the_wait_clock_whether_slots_wait(stage: Stage) -> None:
    stage.it.tick()
    stage.offer(0)
    stage.it.tick()
    assert stage.blame.turns == [False, True]


def test_a_tick_spawns_for_slots_that_wait_though_users_are_free_elsewhere(stage: Stage) -> None:
    stage.begin(Visit())
    stage.begin(Buy())
    stage.offer(0, journey="Buy")
    stage.offer(0, 0, journey="Buy")
    stage.spawned.clear()
    stage.it.tick()
    assert stage.spawned == ["Buy"]


def test_before_the_load_a_second_of_the_peak_rate_is_spawned_by_the_mix() -> None:
    stage = Stage({"Visit": 3, "Buy": 1}, max_users=1000)
    wanted = list(stage.it.prespawn(40.0))
    assert (wanted.count("Visit"), wanted.count("Buy")) == (31, 11)
    assert wanted[:4] == ["Visit", "Buy", "Visit", "Buy"], "in turns"


def test_before_the_load_no_more_than_allowed_are_spawned() -> None:
    stage = Stage({"Visit": 3, "Buy": 1}, max_users=10)
    wanted = list(stage.it.prespawn(400.0))
    assert (wanted.count("Visit"), wanted.count("Buy")) == (7, 3)
    assert len(list(Stage({"Visit": 1}, max_users=1).it.prespawn(400.0))) == 1


@pytest.mark.parametrize(("peak", "reserve"), [(1, 3), (80, 4), (4000, 20)])
def test_the_reserve_is_a_twentieth_of_a_second_between_three_and_twenty(peak: float, reserve: int) -> None:
    stage = Stage({"Visit": 1}, max_users=10_000)
    list(stage.it.prespawn(peak))
    for _ in range(30):
        before = len(stage.spawned)
        stage.it.tick()
        for _ in stage.spawned[before:]:
            stage.begin(Visit())
    assert len(stage.spawned) == reserve
    gevent.killall(stage.greenlets)


# -- in time


def test_slots_are_offered_when_they_fall_due(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        stage.recorder.now += round(seconds * S)

    monkeypatch.setattr("faultload.load.dispatcher.gevent.sleep", sleep)
    stage.offer(20, 20, 50)
    assert slept == pytest.approx([0.02, 0.03])
    assert stage.it.counts.offered == 3


def test_a_burst_of_overdue_slots_lets_others_run_every_five_milliseconds(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("faultload.load.dispatcher.gevent.sleep", slept.append)
    spawn = stage.spawned.append
    stage.it._spawn = lambda journey: (stage.pass_ms(2), spawn(journey))  # making a user takes two ms
    stage.offer(*([0.0] * 9))
    assert slept == [0, 0]
