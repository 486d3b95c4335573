"""CPU, memory, descriptors and threads of every local instance, once a second."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import psutil

from faultload.errors import FaultloadError
from faultload.platforms.base import Instance
from faultload.platforms.local_processes import instances_of
from faultload.record import RunDirectory
from faultload.record_tables import TableWriter
from faultload.target import TargetFile


class Sampler(threading.Thread):
    """Samples a local target's instances into metrics.parquet until it is stopped.

    `rss_bytes`, `fds` and `threads` as they are; `cpu_percent` over the last second, 100 being one processor
    (children included: PostgreSQL works in them).
    """

    def __init__(self, run: RunDirectory, target: TargetFile, every_s: float = 1.0) -> None:
        super().__init__(name="telemetry", daemon=True)
        self._run = run
        self._target = target
        self._every_s = every_s
        self._stopped = threading.Event()
        self._writer = TableWriter(run.path, "metrics", None)
        self._cpu: dict[tuple[str, float], tuple[float, float]] = {}

    def run(self) -> None:
        clock = self._run.clock
        following = time.monotonic()
        while not self._stopped.is_set():
            rows: list[tuple[int, str, str, str, float]] = []
            for service in self._target.services:
                with suppress(FaultloadError, psutil.Error, OSError):
                    for instance in instances_of(self._target, service):
                        rows += [(clock.now_ns(), service, *row) for row in self._of(instance)]
            if rows:
                columns = ("t_ns", "service", "instance", "name", "value")
                parts = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
                self._writer.write(parts)
            following += self._every_s
            self._stopped.wait(max(0.0, following - time.monotonic()))

    def stop(self) -> None:
        """End sampling; the table is whole afterwards."""
        self._stopped.set()
        self.join(timeout=5.0)
        self._writer.close()

    def _of(self, instance: Instance) -> list[tuple[str, str, float]]:
        name = f"{instance.name} (pid {instance.id})"
        with suppress(psutil.Error):
            process = psutil.Process(int(instance.id))
            family = [process, *process.children(recursive=True)]
            rss, fds, threads, cpu = 0, 0, 0, 0.0
            for one in family:
                with suppress(psutil.Error), one.oneshot():
                    times: Any = one.cpu_times()
                    rss += one.memory_info().rss
                    fds += one.num_fds()
                    threads += one.num_threads()
                    cpu += times.user + times.system
            now = time.monotonic()
            key = (instance.id, instance.started)
            before = self._cpu.get(key)
            self._cpu[key] = (now, cpu)
            rows = [(name, "rss_bytes", float(rss)), (name, "fds", float(fds)), (name, "threads", float(threads))]
            if before is not None and now > before[0]:
                rows.append((name, "cpu_percent", max(0.0, 100.0 * (cpu - before[1]) / (now - before[0]))))
            return rows
        return []
