"""Samples every declared instance once a second into metrics.parquet, on any platform."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress

from faultload.errors import FaultloadError, in_words, of_the_machine
from faultload.record.counting import CountEvents
from faultload.record.counts import count_rows
from faultload.record.directory import RunDirectory
from faultload.record.tables import TableWriter
from faultload.spec.target import TargetFile

Row = tuple[str, str, float]
"""Instance, name of the metric, value."""


class Sampler(threading.Thread, ABC):
    """Samples a target's instances into metrics.parquet until it is stopped.

    On every platform `rss_bytes` is resident memory, `cpu_percent` processor time over the last sample, 100 being
    one processor, and `threads` a count; the others are what a platform knows beside them.
    """

    def __init__(self, run: RunDirectory, target: TargetFile, every_s: float = 1.0) -> None:
        super().__init__(name="telemetry", daemon=True)
        self._run = run
        self._target = target
        self._every_s = every_s
        self._stopped = threading.Event()
        self._writer = TableWriter(run.path, "metrics", None)
        self._counts = CountEvents(run, None)
        self._failing: set[str] = set()
        self._made = 0
        self._cpu: dict[tuple[str, float], tuple[float, float]] = {}

    @abstractmethod
    def sample(self, service: str) -> Iterable[Row]:
        """What the instances of a service use now; an instance that is gone has no rows."""

    def look(self) -> None:
        """What all services of one sample have in common, read once; nothing unless a platform has something."""
        return

    def run(self) -> None:
        try:
            self._run_until_stopped()
        except Exception as error:
            self._note(None, "failed", in_words(error))
            if not of_the_machine(error):
                raise
            # a machine that gives no more: what there is of the table stays whole, and the run says what is wrong

    def _run_until_stopped(self) -> None:
        following = time.monotonic()
        while not self._stopped.is_set():
            self.take()
            following = max(following + self._every_s, time.monotonic())
            self._stopped.wait(following - time.monotonic())
        self._counts.write({}, made={"metrics": self._made}, last=True)

    def take(self) -> None:
        """Take one sample of all services; what cannot be sampled is noted, once until it can be again."""
        rows: list[tuple[int, str, str, str, float]] = []
        self.look()
        for service in self._target.services:
            try:
                rows += [(self._run.clock.now_ns(), service, *row) for row in self.sample(service)]
            except (FaultloadError, OSError) as error:
                if service not in self._failing:
                    self._failing.add(service)
                    self._note(service, "failed", in_words(error))
                continue
            if service in self._failing:
                self._failing.remove(service)
                self._note(service, "again", "")
        columns = ("t_ns", "service", "instance", "name", "value")
        parts = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
        entries = {"metrics": count_rows("metrics", parts)} if rows else {}
        try:
            self._counts.write(entries, even_nothing=True)
        except OSError:
            return  # what cannot be counted now is not written: the record has a gap here, and shows it
        self._made += len(rows)
        if rows:
            self._writer.write(parts)

    def _note(self, service: str | None, state: str, why: str) -> None:
        who = "the instances" if service is None else f"the instances of {service}"
        text = f"{who} could not be sampled: {why}" if state == "failed" else f"{who} are sampled again"
        with suppress(OSError):
            self._run.event("note", what="sampler", service=service, state=state, text=text)

    def stop(self) -> None:
        """End sampling; the table is whole afterwards."""
        self._stopped.set()
        self.join(timeout=5.0)
        with suppress(OSError):
            self._writer.close()

    def cpu_percent(self, instance: tuple[str, float], cpu_s: float, at_s: float | None = None) -> float | None:
        """Processor time since the sample before; None for the first one of an instance, or of a new life of it.

        `at_s` is when it was counted, by any clock that stays the same; now when left out.
        """
        now = time.monotonic() if at_s is None else at_s
        before = self._cpu.get(instance)
        self._cpu[instance] = (now, cpu_s)
        if before is None or now <= before[0] or cpu_s < before[1]:
            return None
        return 100.0 * (cpu_s - before[1]) / (now - before[0])
