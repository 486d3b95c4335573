"""CPU, memory, descriptors and threads of every local instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import psutil

from faultload.host.processes import parents
from faultload.platforms.base import Instance
from faultload.platforms.local.processes import instances_of
from faultload.telemetry.sampler import Row, Sampler


class ProcessSampler(Sampler):
    """Samples processes with their children, because PostgreSQL works in them; `fds` are open descriptors."""

    _children: Mapping[int, list[int]] = {}

    def look(self) -> None:
        children: dict[int, list[int]] = {}
        for pid, parent in parents().items():
            children.setdefault(parent, []).append(pid)
        self._children = children

    def _family(self, pid: int) -> Iterator[psutil.Process]:
        """A process and all below it, without those that have ended since the look."""
        with suppress(psutil.Error):
            yield psutil.Process(pid)
            for child in self._children.get(pid, []):
                yield from self._family(child)

    def sample(self, service: str) -> Iterator[Row]:
        with suppress(psutil.Error):
            for instance in instances_of(self._target, service):
                yield from self._of(instance)

    def _of(self, instance: Instance) -> list[Row]:
        name = f"{instance.name} (pid {instance.id})"
        family = list(self._family(int(instance.id)))
        if not family:
            return []
        rss, fds, threads, cpu = 0, 0, 0, 0.0
        for one in family:
            with suppress(psutil.Error), one.oneshot():
                times: Any = one.cpu_times()
                rss += one.memory_info().rss
                fds += one.num_fds()
                threads += one.num_threads()
                cpu += times.user + times.system
        rows = [(name, "rss_bytes", float(rss)), (name, "fds", float(fds)), (name, "threads", float(threads))]
        percent = self.cpu_percent((instance.id, instance.started), cpu)
        return rows if percent is None else [*rows, (name, "cpu_percent", percent)]
