"""CPU, memory, descriptors and threads of every local instance."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from faultload.host.processes import Usage, open_files, usages
from faultload.platforms.base import Instance
from faultload.platforms.local.processes import instances_of, process_of
from faultload.record.directory import RunDirectory
from faultload.spec.target import TargetFile
from faultload.telemetry.sampler import Row, Sampler

_TRUSTED = 10
"""For so many looks, instances that still run are not looked for again."""


class ProcessSampler(Sampler):
    """Samples processes with their children, because PostgreSQL works in them; `fds` are open descriptors."""

    def __init__(self, run: RunDirectory, target: TargetFile, every_s: float = 1.0) -> None:
        super().__init__(run, target, every_s)
        self._usages: Mapping[int, Usage] = {}
        self._children: Mapping[int, list[int]] = {}
        self._looked_s: float | None = None
        self._looks = 0
        self._found: dict[str, tuple[int, list[Instance]]] = {}
        """The instances of a service, and the number of the look that found them."""

    def look(self) -> None:
        self._looked_s, self._usages = time.monotonic(), usages()
        children: dict[int, list[int]] = {}
        for pid, usage in self._usages.items():
            children.setdefault(usage.parent, []).append(pid)
        self._children = children
        self._looks += 1

    def _instances(self, service: str) -> list[Instance]:
        """The instances of a service, looked for anew when one is gone or missing, and now and then."""
        at, found = self._found.get(service, (self._looks, []))
        whole = len(found) >= self._target.services[service].declared
        if not whole or self._looks >= at + _TRUSTED or not all(process_of(one).alive() for one in found):
            found = instances_of(self._target, service)
            self._found[service] = (self._looks, found)
        return found

    def sample(self, service: str) -> Iterator[Row]:
        for instance in self._instances(service):
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
