"""Runs one worker's load from import to last row: Locust's runner, the users' pace and the record."""

from __future__ import annotations

import logging
import math
import random
import time
from contextlib import suppress
from typing import Any

import gevent
import locust
import numpy as np
from gevent.event import Event
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.runners import LocalRunner

from faultload.errors import InvalidInput, of_the_machine
from faultload.load import locustfile, scheduled, words
from faultload.load.closed import Population
from faultload.load.columns import warm_up
from faultload.load.dispatcher import Dispatcher
from faultload.load.health import Health, Pulse, quiet_garbage_collector
from faultload.load.plan import Plan
from faultload.load.recorder import Recorder
from faultload.load.schedule import Schedule
from faultload.load.scheduled import Scheduled
from faultload.load.waiting import WaitClock
from faultload.record.directory import RunDirectory
from faultload.spec.stages import end_of

_STARTING_AT_ONCE = 20
_STOP_S = 5.0
_EARLY_S = 0.05
_PERCENTILES = (50, 90, 95, 99)

logger = logging.getLogger(__name__)


class Engine:
    """One worker's load from import to the last row."""

    def __init__(self, run: RunDirectory, plan: Plan, worker: int) -> None:
        self._run = run
        self._plan = plan
        self._worker = worker
        self._writing = Event()
        self._writing.set()
        self._failed_to_spawn = False
        self._unwritten: Exception | None = None
        """Why the record takes no more; the load ends with it."""
        self._cannot_write = Event()
        random.seed(f"{plan.seed}/{worker}")
        module = locustfile.import_file(plan.journeys)
        journeys = locustfile.journeys_of(module)
        self._mix = locustfile.choose(journeys, plan.mix, plan.journeys)
        if shapes := locustfile.shapes_of(module):
            self._note("shape_ignored", f"{', '.join(shapes)}: the scenario's stages shape the load")
        self._recorder = Recorder(run, worker)
        self._clock = WaitClock(round(plan.drop_after_s * 1e9), self._recorder.now_ns)
        self.pace: Dispatcher | Population = self._open() if plan.model == "open" else self._closed()
        classes = [
            scheduled.derive(journeys[name], self.pace, self._recorder, plan.timeout_s) for name in self._mix
        ]
        for user_class in classes:
            user_class.weight = user_class.weight or 1  # the mix decides, and Locust drops classes of weight 0
        if plan.model == "open" and (own := scheduled.own_waits(journeys[name] for name in self._mix)):
            self._note("wait_time_overridden", f"{', '.join(own)}: the open model decides when users go on")
        scheduled.take_over_waiting()
        self._runner = self._locust(classes)
        self._pulse = Pulse(self.pace.tick)
        self._health = Health(worker)
        self._loading = False
        self._seconds = gevent.spawn(self._every_second)

    def _open(self) -> Dispatcher:
        plan = self._plan
        return Dispatcher(
            self._mix,
            self._recorder,
            self._clock,
            max_users=plan.max_users,
            drop_after_s=plan.drop_after_s,
            spawn=self._spawn,
        )

    def _closed(self) -> Population:
        plan = self._plan
        return Population(
            plan.stages,
            self._schedule(0).journeys(np.random.default_rng(plan.seed)),
            self._recorder,
            worker=plan.worker,
            workers=plan.workers,
            spawn=self._spawn,
        )

    def _schedule(self, start_ns: int) -> Schedule:
        plan = self._plan
        return Schedule(plan.stages, plan.arrivals, self._mix, plan.seed, plan.worker, plan.workers, start_ns)

    def _locust(self, classes: list[type[locust.User]]) -> LocalRunner:
        """A runner of Locust's own over the events that the journey file listens on."""
        events: Any = locust.events
        try:
            options = get_parser(default_config_files=[]).parse_args(["--headless", "--host", self._plan.host])
        except SystemExit:
            raise InvalidInput(f"{self._plan.journeys}: one of its options has no default") from None
        environment = Environment(
            user_classes=classes,
            events=events,
            host=self._plan.host,
            parsed_options=options,
            locustfile=self._plan.journeys.name,
        )
        runner = environment.create_local_runner()
        events.request.add_listener(self._recorder.on_request)
        events.user_error.add_listener(scheduled.on_user_error)
        events.init.fire(environment=environment, runner=runner, web_ui=None)
        words.send_to(self._recorder)
        return runner

    def _note(self, what: str, text: str) -> None:
        self._run.event("note", what=what, worker=self._worker, text=text)

    # -- users

    def _spawn(self, journey: str) -> Scheduled | None:
        try:
            user = self._runner.spawn_users({journey: 1})[0]
        except Exception as error:  # noqa: BLE001 - a journey's own __init__
            if not self._failed_to_spawn:
                self._failed_to_spawn = True
                self._note("user_not_made", f"{journey}: {type(error).__name__}: {error}")
            return None
        user.greenlet.link(lambda _: self.pace.gone(user))
        made: Scheduled = user
        return made

    def prepare(self) -> None:
        """Fire `test_start` and make the first users; returns when their `on_start` is done or has failed."""
        environment, runner = self._runner.environment, self._runner
        events: Any = environment.events
        runner.stats.clear_all()
        environment._filter_tasks_by_tags()
        for user_class in runner.user_classes:
            user_class.host = self._plan.host
        events.test_start.fire(environment=environment)
        if isinstance(self.pace, Dispatcher):
            deadline = time.monotonic() + self._plan.timeout_s + 5
            for journey in self.pace.prespawn(self._plan.peak):
                while self.pace.starting >= _STARTING_AT_ONCE and time.monotonic() < deadline:
                    gevent.sleep(0.005)
                self._spawn(journey)
            while self.pace.starting and time.monotonic() < deadline:
                gevent.sleep(0.005)
        events.spawning_complete.fire(user_count=runner.user_count)
        gevent.get_hub().threadpool.apply(warm_up)
        quiet_garbage_collector()

    # -- the load

    def run(self, start_ns: int, stop: Event) -> None:
        """Offer the load from `start_ns` until its end or `stop`, then drain."""
        pace = self.pace
        gevent.sleep(max(0.0, (start_ns - self._recorder.now_ns()) / 1e9 - _EARLY_S))
        self._health.begin(self._pulse, pace.counts)
        self._loading = True
        self._beat = time.monotonic() + 1.0
        if isinstance(pace, Dispatcher):
            offering = gevent.spawn(pace.offer, self._schedule(start_ns))
        else:
            offering = gevent.spawn(pace.follow, start_ns)
        gevent.wait([offering, stop, self._cannot_write], count=1)
        if not offering.ready():
            offering.kill()
            end_s = self._recorder.now_ns() / 1e9
        else:
            offering.get()
            end_s = max(self._recorder.now_ns(), start_ns + end_of(self._plan.stages) * 1e9) / 1e9
        if isinstance(pace, Population):
            pace.stop_all()
        until_s = end_s + self._plan.drain_s
        while not self._unwritten and (pace.busy or pace.queued) and self._recorder.now_ns() / 1e9 < until_s:
            gevent.sleep(0.01)
        if self._unwritten is not None:
            raise self._unwritten
        self._one_second()
        self._loading = False

    def _every_second(self) -> None:
        self._beat = time.monotonic()
        while True:
            # the next whole second, also after a stall
            self._beat += max(1, math.ceil(time.monotonic() - self._beat))
            while (left := self._beat - time.monotonic()) > 0:
                gevent.sleep(left)
            try:
                self._one_second()
            except Exception as error:
                if not of_the_machine(error):
                    raise
                self._unwritten = error
                self._cannot_write.set()
                return

    def _one_second(self) -> None:
        """Write what was recorded, and during the load the generator's health."""
        self._writing.wait()
        pace, batches = self.pace, self._recorder.take()
        fields = self._health.second(
            self._pulse,
            pace.counts,
            batches["samples"],
            users=pace.users,
            busy_users=pace.busy,
            queued=pace.queued,
        )
        self._health.collect_garbage()
        self._writing.clear()
        try:
            problem = gevent.get_hub().threadpool.apply(self._write, (batches, fields))
        finally:
            self._writing.set()
        if problem is not None:
            raise problem

    def _write(self, batches: dict[str, Any], fields: dict[str, Any]) -> Exception | None:
        """What goes wrong is returned: raised in its thread, it would be printed there with its trace."""
        try:
            self._recorder.write(batches)
            if self._loading:
                self._recorder.health(fields)
        except Exception as problem:  # noqa: BLE001 - raised by who waits for it
            return problem
        return None

    # -- the end

    def finish(self) -> None:
        """Record what is left, let the users end, and end the tables in order."""
        self.pace.drop_rest()
        for greenlet in list(self._runner.user_greenlets):
            if greenlet.args and isinstance(greenlet.args[0], Scheduled):
                greenlet.args[0].fl_abandon()
        with suppress(gevent.Timeout), gevent.Timeout(_STOP_S):
            self._runner.quit()
        environment = self._runner.environment
        events: Any = environment.events
        events.quitting.fire(environment=environment, reverse=True)
        self._seconds.kill()
        self._pulse.stop()
        self._writing.wait()
        self._recorder.close()
        self._final_notes()
        events.quit.fire(exit_code=0)

    def _final_notes(self) -> None:
        total, counts = self._runner.stats.total, self.pace.counts
        if total.num_requests:
            percentiles = {f"p{p}": total.get_response_time_percentile(p / 100) for p in _PERCENTILES}
            self._run.event(
                "note",
                what="locust_table",
                worker=self._worker,
                requests=total.num_requests,
                failures=total.num_failures,
                unit="ms",
                **percentiles,
            )
        slots = {name: getattr(counts, name) for name in type(counts).__slots__}
        self._run.event("note", what="slots", worker=self._worker, **slots)

    def flush(self) -> None:
        """Write what is recorded so far, at once: nobody is left to wait for more."""
        self._seconds.kill(block=False)
        self._writing.wait(1)
        self._recorder.close()
