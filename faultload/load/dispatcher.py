"""The open model: gives each due slot to a free user of its journey, and spawns users when needed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.hub import Waiter
from locust import TaskSet
from locust.exception import StopUser

from faultload.load.iteration import Iteration
from faultload.load.recorder import Recorder
from faultload.load.schedule import Slot
from faultload.load.scheduled import Scheduled
from faultload.load.waiting import WaitClock

_BURST_NS = 5_000_000
_LATE_NS = 10_000_000


@dataclass(slots=True)
class Crew:
    """The users of one journey, and its slots that wait for one."""

    journey: str
    share: float
    variant: str | None = None
    idle: deque[tuple[Scheduled, Waiter[Any]]] = field(default_factory=deque)
    queue: deque[tuple[Slot, int]] = field(default_factory=deque)
    """Slots with the wait clock's reading when they began to wait."""
    queued_since_ns: int = 0
    users: int = 0
    starting: int = 0
    reserve: int = 1


@dataclass(slots=True)
class Counts:
    """Slots: due, begun, dropped; late by the generator's doing, and dropped by it (`unsent`)."""

    offered: int = 0
    started: int = 0
    dropped: int = 0
    late: int = 0
    unsent: int = 0


class Dispatcher:
    """Offers the slots of a schedule to users.

    A user takes the oldest waiting slot of its journey, or waits to be handed one. A due slot without a free
    user of its journey spawns one while fewer than `max_users` exist, and waits; one that has not begun
    within `drop_after_s` is a `dropped` sample. The wait is split in two: `waited` is what the wait clock
    counted since the slot began to wait (nobody was free, and it was not the generator that kept them);
    `slip` is the rest.
    """

    def __init__(
        self,
        mix: Mapping[str, float],
        recorder: Recorder,
        clock: WaitClock,
        *,
        max_users: int,
        drop_after_s: float,
        spawn: Callable[[str], object],
    ) -> None:
        total = sum(mix.values())
        self.crews = {name: Crew(name, weight / total) for name, weight in mix.items()}
        self.counts = Counts()
        self._recorder = recorder
        self._clock = clock
        self._max_users = max_users
        self._drop_after_ns = round(drop_after_s * 1e9)
        self._spawn = spawn
        self._over = False
        self._callback = gevent.get_hub().loop.run_callback
        self._now = recorder.now_ns

    # -- the users' side (Pace)

    def born(self, user: Scheduled) -> None:
        crew = self.crews[type(user).__name__]
        crew.users += 1
        crew.starting += 1

    def gone(self, user: Scheduled) -> None:
        crew = self.crews[type(user).__name__]
        crew.users -= 1
        crew.starting -= not user.fl_started

    def next(self, user: Scheduled, taskset: TaskSet | None) -> Iteration:
        if user.fl_stopping:
            raise StopUser()
        crew = self.crews[type(user).__name__]
        if taskset is None:
            user.fl_started = True
            crew.starting -= 1
        if crew.queue:
            # answers that are in already come first: a fast target would else keep this user running alone
            gevent.sleep(0)
        while crew.queue:
            slot, reading = crew.queue.popleft()
            if self._now() - slot.intended_ns <= self._drop_after_ns:
                return self._begun(slot, user, self._clock.read(self._now()) - reading)
            self._drop(crew, slot, reading)
        waiter: Waiter[Any] = Waiter()
        entry = (user, waiter)
        crew.idle.append(entry)
        user.fl_waiting(True)
        try:
            handed: Slot = waiter.get()
        except BaseException:
            if entry in crew.idle:
                crew.idle.remove(entry)
            raise
        user.fl_waiting(False)
        return self._begun(handed, user, 0)

    def _begun(self, slot: Slot, user: Scheduled, waited_ns: int) -> Iteration:
        behind = max(0, self._now() - slot.intended_ns)
        waited = min(max(0, waited_ns), behind)
        self.counts.started += 1
        self.counts.late += behind - waited > _LATE_NS
        return Iteration(slot.journey, user.variant, slot.intended_ns, waited // 1000, (behind - waited) // 1000)

    # -- the schedule's side

    def offer(self, slots: Iterable[Slot]) -> None:
        """Offer slots as they fall due; returns when the last one was."""
        yielded = self._now()
        for slot in slots:
            now = self._now()
            if now < slot.intended_ns or now - yielded > _BURST_NS:
                gevent.sleep(max(0, slot.intended_ns - now) / 1e9)
                yielded = self._now()
            self._offer(slot)

    def _offer(self, slot: Slot) -> None:
        crew = self.crews[slot.journey]
        self.counts.offered += 1
        if crew.idle and self._now() - slot.intended_ns <= self._drop_after_ns:
            # in turn, so that no user's own course through its TaskSets outweighs the others'
            _, waiter = crew.idle.popleft()
            self._callback(waiter.switch, slot)
            return
        now = self._now()
        if not crew.queue:
            crew.queued_since_ns = now
        # behind others it would have had to wait from when it was due, even if we are late to look at it
        crew.queue.append((slot, self._clock.read(min(now, max(slot.intended_ns, crew.queued_since_ns)))))
        if crew.starting < len(crew.queue):
            self._spawn_one(crew)

    def _spawn_one(self, crew: Crew) -> None:
        if not self._over and self.users < self._max_users:
            self._spawn(crew.journey)

    def tick(self) -> None:
        """Look after the queues and the reserve of free users; called every few ms."""
        now = self._now()
        self._clock.turn(self.queued > 0)
        for crew in self.crews.values():
            while crew.queue and now - crew.queue[0][0].intended_ns > self._drop_after_ns:
                self._drop(crew, *crew.queue.popleft())
            wanted = max(crew.reserve - len(crew.idle), len(crew.queue)) - crew.starting
            if wanted > 0:
                self._spawn_one(crew)

    def _drop(self, crew: Crew, slot: Slot, reading: int) -> None:
        now = self._now()
        waited = self._clock.read(now) - reading
        self.counts.dropped += 1
        self.counts.unsent += waited < (now - slot.intended_ns) / 2
        self._recorder.sample(slot.intended_ns, now, 0, None, crew.journey, crew.variant, "dropped")

    def drop_rest(self) -> None:
        """Drop every slot that still waits: the drain is over, and who leaves now is not replaced."""
        self._over = True
        for crew in self.crews.values():
            while crew.queue:
                self._drop(crew, *crew.queue.popleft())

    # -- how many

    @property
    def users(self) -> int:
        return sum(crew.users for crew in self.crews.values())

    @property
    def queued(self) -> int:
        return sum(len(crew.queue) for crew in self.crews.values())

    @property
    def starting(self) -> int:
        return sum(crew.starting for crew in self.crews.values())

    @property
    def busy(self) -> int:
        """Users in an iteration."""
        return sum(crew.users - crew.starting - len(crew.idle) for crew in self.crews.values())

    def prespawn(self, peak_rate: float) -> Iterator[str]:
        """The journeys to spawn users of before the load: a second of the peak rate, shared by the mix.

        A target that slows down then finds most of the users already there: making one takes the generator
        about a millisecond, and slots that are due would slip.
        """
        for crew in self.crews.values():
            crew.reserve = min(max(3, math.ceil(0.05 * peak_rate * crew.share)), 20)
        left = max(0, self._max_users - len(self.crews))
        wanted = {
            crew.journey: 1 + min(math.ceil(peak_rate * crew.share), math.floor(left * crew.share))
            for crew in self.crews.values()
        }
        for step in range(max(wanted.values(), default=0)):
            for journey, count in wanted.items():
                if step < count and self.users < self._max_users:
                    yield journey
