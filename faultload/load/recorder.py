"""Records requests, iterations, observations and writes of one worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

from faultload.load.clients.outcomes import classify, status_of
from faultload.load.columns import Batch, Columns
from faultload.load.iteration import Call, Iteration, call_of
from faultload.record.counting import CountEvents
from faultload.record.directory import RunDirectory

SETUP = "setup"
"""The variant of requests made outside an iteration: in `on_start` and `on_stop`."""
_TABLES = ("samples", "iterations", "observations", "writes")
_INT32 = 2**31 - 1


def current_user() -> Any:
    """The Locust user whose greenlet this is, or None."""
    args = getattr(gevent.getcurrent(), "args", None)
    return args[0] if args else None


class Recorder:
    """Takes what happens in the journeys and writes it to the run directory, a batch a second.

    A sample is a finished request. The intended start of an iteration's first request is the slot's; that of
    later ones, and of those outside an iteration (variant `setup`), is their own start.
    """

    def __init__(self, run: RunDirectory, worker: int) -> None:
        self.now_ns: Callable[[], int] = run.clock.now_ns
        self._tables = {name: Columns(run.path, name, worker) for name in _TABLES}
        self._samples = self._tables["samples"]
        self.ok = self.failed = 0
        self._counts = CountEvents(run, worker)

    # -- requests

    def on_request(
        self,
        request_type: str,
        name: str,
        response_time: float | None,
        response_length: int | None,
        response: Any = None,
        context: dict[str, Any] | None = None,
        exception: Any = None,
        **_: Any,
    ) -> None:
        """Listener of Locust's `request` event."""
        service_us = round((response_time or 0) * 1000)
        call = call_of(context)
        if not isinstance(call, Call):
            user = current_user()
            iteration = call if call is not None else getattr(user, "fl_iteration", None)
            call = Call(iteration, name, self.now_ns() - service_us * 1000)
        call.recorded = True
        outcome = classify(exception, response)
        iteration = call.iteration
        variant = (context or {}).get("variant")
        if iteration is None:
            journey, variant = self._owner(), SETUP
        else:
            journey, variant = iteration.journey, variant or iteration.variant
            iteration.requests += 1
            if outcome != "ok" and iteration.failed is None:
                iteration.failed = outcome
        self.sample(
            call.intended_ns,
            call.started_ns,
            service_us,
            name,
            journey,
            variant,
            outcome,
            status_of(response),
            response_length or 0,
        )

    @staticmethod
    def _owner() -> str | None:
        user = current_user()
        return type(user).__name__ if user is not None else None

    def sample(
        self,
        intended_ns: int,
        started_ns: int,
        service_us: int,
        request: str | None,
        journey: str | None,
        variant: str | None,
        outcome: str,
        status: int = 0,
        size: int = 0,
    ) -> None:
        """Record one request."""
        if outcome == "ok":
            self.ok += 1
        else:
            self.failed += 1
        table = self._samples
        code = table.code
        table.add(
            intended_ns,
            started_ns,
            service_us,
            code(request),
            code(journey),
            code(variant),
            code(outcome),
            status if 0 <= status < 1000 else 0,
            min(size, _INT32),
        )

    def call(self, call: Call, journey: str, outcome: str, ended_ns: int) -> None:
        """Record a request that Locust gives no event for: the journey raised over it, or it never ended."""
        call.recorded = True
        iteration = call.iteration
        variant = SETUP
        if iteration is not None:
            journey, variant = iteration.journey, iteration.variant or ""
            iteration.requests += 1
        service_us = (ended_ns - call.started_ns) // 1000
        self.sample(call.intended_ns, call.started_ns, service_us, call.name, journey, variant or None, outcome)

    # -- iterations

    def iteration(self, iteration: Iteration, outcome: str) -> None:
        """Record an iteration that ends now."""
        table = self._tables["iterations"]
        table.add(
            iteration.intended_ns,
            self.now_ns(),
            iteration.waited_us,
            iteration.slip_us,
            table.code(iteration.journey),
            table.code(iteration.variant),
            table.code(outcome),
        )

    # -- the words of journeys

    def observe(self, name: str, value: float) -> None:
        user, table = current_user(), self._tables["observations"]
        iteration = getattr(user, "fl_iteration", None)
        journey = type(user).__name__ if user is not None else None
        variant = iteration.variant if iteration is not None else SETUP
        table.add(self.now_ns(), table.code(name), value, table.code(journey), table.code(variant))

    def attempt(self, key: str) -> None:
        self._write(key, "attempted")

    def acknowledge(self, key: str) -> None:
        self._write(key, "acknowledged")

    def _write(self, key: str, state: str) -> None:
        table = self._tables["writes"]
        table.add(self.now_ns(), table.code(key), table.code(state))

    # -- to disk

    def take(self) -> dict[str, Batch]:
        """What was recorded since the last call, for `write`."""
        return {name: table.take() for name, table in self._tables.items()}

    def write(self, batches: dict[str, Batch], *, last: bool = False) -> None:
        """Write batches, and before them how much there is in them; meant for another thread, one at a time."""
        entries = {name: batch.entries(name) for name, batch in batches.items()}
        made = {name: table.made for name, table in self._tables.items()} if last else {}
        self._counts.write({name: found for name, found in entries.items() if found}, made=made, last=last)
        for name, batch in batches.items():
            self._tables[name].write(batch)

    def health(self, fields: dict[str, Any]) -> None:
        """Write a `health` event; in the thread of `write`."""
        self._counts.health(fields)

    def close(self) -> None:
        """Write the rest and end the tables in order."""
        self.write(self.take(), last=True)
        for table in self._tables.values():
            table.close()
