"""The generator's own health: loop lag, CPU, users and the outcomes of the last second's requests."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import gevent
import numpy as np

from faultload.load.columns import Batch
from faultload.load.dispatcher import Counts

_BEAT_S = 0.005  # some 190 looks a second, so that their P99 is not simply their maximum
_FULL_COLLECTION_EVERY = 60
_FRAGMENT_NS = 500_000_000
"""What is shorter than this is no second: in a few milliseconds any process is busy all the time."""
_NO_ROWS = np.empty(0, [("started_ns", "<i8"), ("intended_ns", "<i8"), ("service_us", "<i8"), ("outcome", "<i4")])


class Pulse:
    """A greenlet that wakes every 5 ms, measures by how much it was late, and calls its listener."""

    def __init__(self, listener: Callable[[], None]) -> None:
        self._listener = listener
        self._lags: list[int] = []
        self._greenlet = gevent.spawn(self._beat)

    def _beat(self) -> None:
        while True:
            due = time.monotonic_ns() + round(_BEAT_S * 1e9)
            gevent.sleep(_BEAT_S)
            self._lags.append(max(0, time.monotonic_ns() - due))
            self._listener()

    def take_ms(self) -> tuple[float, float]:
        """P99 and maximum of the lag since the last call."""
        lags, self._lags = sorted(self._lags), []
        if not lags:
            return 0.0, 0.0
        return lags[-(-99 * len(lags) // 100) - 1] / 1e6, lags[-1] / 1e6

    def stop(self) -> None:
        self._greenlet.kill()


class Health:
    """Makes the `health` event of each second."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._before = self._since = time.process_time_ns(), time.monotonic_ns()
        self._last: dict[str, int] = {}
        self._seconds = 0

    def second(self, pulse: Pulse, counts: Counts, samples: Batch, **gauges: int) -> dict[str, Any]:
        """The fields of the event; `gauges` are values of now, all else is since the last call.

        The end of the load leaves a fragment: its processor time is measured with the second before.
        """
        now = time.process_time_ns(), time.monotonic_ns()
        since = self._before if now[1] - self._since[1] < _FRAGMENT_NS else self._since
        share = (now[0] - since[0]) / max(1, now[1] - since[1])
        self._before, self._since = since, now
        lag_p99_ms, lag_max_ms = pulse.take_ms()
        fields: dict[str, Any] = {
            "worker": self._worker,
            "loop_lag_p99_ms": round(lag_p99_ms, 2),
            "loop_lag_max_ms": round(lag_max_ms, 2),
            "cpu_percent": round(100 * share, 1),
            **gauges,
        }
        for name in Counts.__slots__:
            total = getattr(counts, name)
            fields[name] = total - self._last.get(name, 0)
            self._last[name] = total
        return fields | _samples(samples)

    def begin(self, pulse: Pulse, counts: Counts) -> None:
        """Forget what was before the load."""
        self.second(pulse, counts, Batch(_NO_ROWS, []))
        self._before = self._since

    def collect_garbage(self) -> None:
        """Collect garbage now, while little is due, instead of in the middle of a request.

        Every second only what is young; every minute everything, which is then left alone for good.
        """
        self._seconds += 1
        if self._seconds % _FULL_COLLECTION_EVERY:
            gc.collect(1)
        else:
            quiet_garbage_collector()


def quiet_garbage_collector() -> None:
    """No collections of its own accord from now on, and none of what exists by now."""
    gc.disable()
    gc.collect()
    gc.freeze()


def _samples(batch: Batch) -> dict[str, Any]:
    """Finished requests of a second and quantiles of their latency (order statistics), for a live view."""
    names, rows = batch.names, batch.rows
    requests = rows
    if "dropped" in names:
        requests = rows[rows["outcome"] != names.index("dropped")]
    ok = int(np.count_nonzero(rows["outcome"] == names.index("ok"))) if "ok" in names else 0
    fields: dict[str, Any] = {"ok": ok, "failed": len(rows) - ok, "p50_ms": None, "p99_ms": None}
    if len(requests):
        latency = requests["started_ns"] - requests["intended_ns"] + 1000 * requests["service_us"]
        ordered = np.sort(latency)
        for name, percent in (("p50_ms", 50), ("p99_ms", 99)):
            fields[name] = round(float(ordered[-(-percent * len(ordered) // 100) - 1]) / 1e6, 3)
    return fields
