"""CPU, memory, descriptors and threads of every local instance."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from faultload.host.processes import Usage, open_files, usages
from faultload.platforms.base import Instance
from faultload.platforms.local.processes import instances_of
from faultload.telemetry.sampler import Row, Sampler


class ProcessSampler(Sampler):
    """Samples processes with their children, because PostgreSQL works in them; `fds` are open descriptors."""

    _usages: Mapping[int, Usage] = {}
    _children: Mapping[int, list[int]] = {}
    _looked_s: float | None = None

    def look(self) -> None:
        self._looked_s, self._usages = time.monotonic(), usages()
        children: dict[int, list[int]] = {}
        for pid, usage in self._usages.items():
            children.setdefault(usage.parent, []).append(pid)
        self._children = children

    def sample(self, service: str) -> Iterator[Row]:
        for instance in instances_of(self._target, service):
            own = self._usages.get(int(instance.id))
            if own is not None and own.started == instance.started:
                yield from self._of(instance)

    def _of(self, instance: Instance) -> Iterator[Row]:
        name = f"{instance.name} (pid {instance.id})"
        pids = list(self._family(int(instance.id)))
        family = [self._usages[pid] for pid in pids]
        yield name, "rss_bytes", float(sum(one.rss_bytes for one in family))
        yield name, "fds", float(sum(map(open_files, pids)))
        yield name, "threads", float(sum(one.threads for one in family))
        cpu_s = sum(one.cpu_s for one in family)
        percent = self.cpu_percent((instance.id, instance.started), cpu_s, self._looked_s)
        if percent is not None:
            yield name, "cpu_percent", percent

    def _family(self, pid: int) -> Iterator[int]:
        """A process and all below it."""
        yield pid
        for child in self._children.get(pid, []):
            yield from self._family(child)
