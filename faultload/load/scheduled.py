"""Makes a user class follow the run: its iterations wait for slots, and its requests are watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from locust import TaskSet, User
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING

from faultload.load.clients.http import make_honest
from faultload.load.iteration import KEY, Call, Iteration
from faultload.load.recorder import Recorder

_TaskSet: Any = TaskSet
_plain_wait = _TaskSet.wait
_plain_execute = _TaskSet.execute_next_task


class Pace(Protocol):
    """Says when a user's next iteration begins: the open model's slots, or the closed model's own waits."""

    def born(self, user: Scheduled) -> None:
        """A user was made and is about to run its `on_start`."""

    def gone(self, user: Scheduled) -> None:
        """A user's greenlet has ended."""

    def next(self, user: Scheduled, taskset: TaskSet | None) -> Iteration:
        """Wait for a user's next iteration; `taskset` is None for its first. Raises StopUser."""


class Scheduled:
    """Mixed in before a journey's own class; the names begin with `fl_` to stay out of its way."""

    fl_pace: ClassVar[Pace]
    fl_recorder: ClassVar[Recorder]
    fl_timeout_s: ClassVar[float]
    fl_iteration: Iteration | None = None
    fl_started = False
    fl_raised = False
    fl_calls: list[Call]
    _state: str | None
    variant: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.fl_calls = []
        super().__init__(*args, **kwargs)
        request = make_honest(self, self.fl_timeout_s)  # type: ignore[arg-type]
        if request is not None:
            self.client.request = self.fl_watch(request)  # type: ignore[attr-defined]
        self.fl_pace.born(self)

    def on_start(self) -> None:
        super().on_start()  # type: ignore[misc]
        self.fl_begin(self.fl_pace.next(self, None))

    def on_stop(self) -> None:
        self.fl_end()
        super().on_stop()  # type: ignore[misc]

    def context(self) -> dict[str, Any]:
        return {**super().context(), KEY: self.fl_iteration}  # type: ignore[misc]

    def fl_watch(self, request: Callable[..., Any]) -> Callable[..., Any]:
        """The request function of the user's client, with a note of every request's own start."""
        calls, session, now_ns = self.fl_calls, self.client, self.fl_recorder.now_ns  # type: ignore[attr-defined]

        def watched(method: str, url: str, *args: Any, context: dict[str, Any] | None = None, **kwargs: Any) -> Any:
            name = kwargs.get("name") or (args[0] if args else None) or session.request_name or url
            call = Call(self.fl_iteration, str(name), now_ns())
            calls.append(call)
            try:
                return request(method, url, *args, context={**(context or {}), KEY: call}, **kwargs)
            finally:
                call.ended_ns = now_ns()
                if call.recorded and call in calls:
                    calls.remove(call)

        return watched

    def fl_next(self, taskset: TaskSet) -> None:
        """End the iteration and wait for the next."""
        self.fl_end()
        self.fl_begin(self.fl_pace.next(self, taskset))

    def fl_begin(self, iteration: Iteration) -> None:
        self.fl_calls.clear()
        self.fl_raised = False
        self.fl_iteration = iteration

    def fl_end(self) -> None:
        """Record the iteration.

        When the journey raised, the requests that it raised over inside a `catch_response` block, which
        Locust then reports nowhere, are recorded as `client_error`; an iteration that raised before any
        request is one `client_error` sample without a request name. Other requests keep their own outcome.
        """
        iteration = self.fl_iteration
        if iteration is None:
            return
        self.fl_iteration = None
        recorder = self.fl_recorder
        if self.fl_raised:
            now = recorder.now_ns()
            for call in self.fl_calls:
                if not call.recorded:
                    recorder.call(call, iteration.journey, "client_error", call.ended_ns or now)
            if iteration.requests == 0:
                self.fl_nameless(iteration, "client_error", now)
            iteration.failed = iteration.failed or "client_error"
        recorder.iteration(iteration, iteration.failed or "ok")

    def fl_abandon(self) -> None:
        """Record what is in flight as `unfinished`: the load is over."""
        iteration, recorder = self.fl_iteration, self.fl_recorder
        now = recorder.now_ns()
        for call in self.fl_calls:
            if not call.recorded:
                recorder.call(call, type(self).__name__, "unfinished", call.ended_ns or now)
        self.fl_calls.clear()
        if iteration is not None:
            self.fl_iteration = None
            if iteration.requests == 0:
                self.fl_nameless(iteration, "unfinished", now)
            recorder.iteration(iteration, "unfinished")

    def fl_nameless(self, iteration: Iteration, outcome: str, now: int) -> None:
        """A sample for an iteration that made no request."""
        started = iteration.intended_ns + 1000 * (iteration.waited_us + iteration.slip_us)
        self.fl_recorder.sample(
            iteration.intended_ns,
            started,
            max(0, now - started) // 1000,
            None,
            iteration.journey,
            iteration.variant,
            outcome,
        )

    @property
    def fl_stopping(self) -> bool:
        return self._state == LOCUST_STATE_STOPPING

    def fl_waiting(self, waiting: bool) -> None:
        """Tell Locust whether the user may be stopped at once."""
        self._state = LOCUST_STATE_WAITING if waiting else LOCUST_STATE_RUNNING


def derive(journey: type[User], pace: Pace, recorder: Recorder, timeout_s: float) -> type[User]:
    """A class of the same name whose iterations follow the run."""
    fields = {
        "fl_pace": pace,
        "fl_recorder": recorder,
        "fl_timeout_s": timeout_s,
        "__module__": journey.__module__,
        "__doc__": journey.__doc__,
    }
    metaclass: Any = type(journey)
    derived: type[User] = metaclass(journey.__name__, (Scheduled, journey), fields)
    return derived


def on_user_error(user_instance: Any, **_: Any) -> None:
    """Listener of Locust's `user_error` event: a task raised (the instance is its TaskSet) or an `on_start`."""
    user = user_instance.user if isinstance(user_instance, TaskSet) else user_instance
    if isinstance(user, Scheduled):
        user.fl_raised = True


def take_over_waiting() -> None:
    """Let the wait between two tasks, of a user or of any TaskSet below it, be the end of an iteration.

    A journey's own `self.wait()` inside a task stays what it was: a pause of its own wait time.
    """

    def execute_next_task(self: Any) -> None:
        self.fl_executing = True
        try:
            _plain_execute(self)
        finally:
            self.fl_executing = False

    def wait(self: Any) -> None:
        if isinstance(self.user, Scheduled) and not getattr(self, "fl_executing", False):
            self.user.fl_next(self)
        else:
            _plain_wait(self)

    _TaskSet.execute_next_task = execute_next_task
    _TaskSet.wait = wait


def plain_wait(taskset: TaskSet) -> None:
    """Locust's own wait between two tasks."""
    _plain_wait(taskset)


def own_waits(journeys: Iterable[type[User]]) -> list[str]:
    """The wait times that the classes and the TaskSets below them declare, which the open model overrides."""
    found: dict[str, None] = {}

    def look(holder: Any) -> None:
        default = User.wait_time if issubclass(holder, User) else TaskSet.wait_time
        if holder.wait_time is not default and not isinstance(holder.wait_time, property):
            found[f"{holder.__qualname__}.wait_time"] = None
        for task in set(holder.tasks):
            if isinstance(task, type) and issubclass(task, TaskSet) and task is not holder:
                look(task)

    for journey in journeys:
        look(journey)
    return list(found)
