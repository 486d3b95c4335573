"""The closed model: the number of users the stages ask for, each with its own wait time, as in Locust."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import gevent
from locust import TaskSet
from locust.exception import StopUser

from faultload.load.dispatcher import Counts
from faultload.load.iteration import Iteration
from faultload.load.recorder import Recorder
from faultload.load.scheduled import Scheduled, plain_wait
from faultload.spec.stages import Stage, end_of, level_at

_STEP_S = 0.05


class Population:
    """Follows the stages' number of users. User k of the run is worker k mod W's, its journey by the exact mix.

    An iteration is intended when it starts, so nothing waits and nothing slips.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        journeys: Iterator[str],
        recorder: Recorder,
        *,
        worker: int,
        workers: int,
        spawn: Callable[[str], Scheduled | None],
    ) -> None:
        self.counts = Counts()
        self.users = self.starting = self.queued = 0
        self._busy: set[Scheduled] = set()
        self._stages = stages
        self._journeys = (name for k, name in enumerate(journeys) if k % workers == worker)
        self._share = (worker, workers)
        self._spawn = spawn
        self._running: list[Scheduled] = []
        self._now = recorder.now_ns

    # -- the users' side (Pace)

    def born(self, user: Scheduled) -> None:
        self.users += 1
        self.starting += 1

    def gone(self, user: Scheduled) -> None:
        self.users -= 1
        self.starting -= not user.fl_started
        self._busy.discard(user)
        if user in self._running:
            self._running.remove(user)

    def next(self, user: Scheduled, taskset: TaskSet | None) -> Iteration:
        if taskset is None:
            user.fl_started = True
            self.starting -= 1
        else:
            self._busy.discard(user)
            plain_wait(taskset)
        if user.fl_stopping:
            raise StopUser()
        self._busy.add(user)
        self.counts.offered += 1
        self.counts.started += 1
        return Iteration(type(user).__name__, user.variant, self._now())

    # -- the stages' side

    def follow(self, start_ns: int) -> None:
        """Keep the number of users at the stages' level until they end; then ask all to stop."""
        end_s = end_of(self._stages)
        while (t_s := (self._now() - start_ns) / 1e9) < end_s:
            self._adjust(self._wanted(level_at(self._stages, t_s)))
            gevent.sleep(min(_STEP_S, max(0.001, end_s - t_s)))

    def _wanted(self, level: float) -> int:
        """This worker's part of a level."""
        worker, workers = self._share
        whole, rest = divmod(round(level), workers)
        return whole + (worker < rest)

    def _adjust(self, wanted: int) -> None:
        while len(self._running) < wanted:
            user = self._spawn(next(self._journeys))
            if user is None:
                return
            self._running.append(user)
        while len(self._running) > wanted:
            self._stop(self._running.pop())

    @staticmethod
    def _stop(user: Scheduled) -> None:
        """Stop a user at the end of its iteration, or at once when it is between two."""
        if not user.fl_stopping:
            gevent.spawn(user.stop)  # type: ignore[attr-defined]

    def stop_all(self) -> None:
        self._adjust(0)

    def tick(self) -> None:
        """Nothing waits in the closed model."""

    def drop_rest(self) -> None:
        """Nothing waits in the closed model."""

    @property
    def busy(self) -> int:
        return len(self._busy)
