"""What every declared container uses, as the engine counts it: processor, memory, disk and network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from faultload.platforms.base import Instance
from faultload.platforms.docker.platform import Docker
from faultload.platforms.docker.stats import Usage, usage
from faultload.record.directory import RunDirectory
from faultload.spec.target import TargetFile
from faultload.telemetry.sampler import Row, Sampler

_FIND_EVERY_S = 2.0


class ContainerSampler(Sampler):
    """Samples containers by their control groups, with everything that runs in them.

    `rss_bytes` is anonymous memory, `memory_bytes` what the container is charged without file cache that can be
    dropped. Bytes of disk and network, and the time that a processor limit made it wait, count from its start.
    """

    def __init__(self, run: RunDirectory, target: TargetFile, every_s: float = 1.0) -> None:
        super().__init__(run, target, every_s)
        self._found: dict[str, tuple[float, list[Instance]]] = {}

    def sample(self, service: str) -> Iterator[Row]:
        instances = self._instances(service)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda one: usage(one.id), instances))
        if None in found:
            self._found.pop(service, None)
        for instance, used in zip(instances, found, strict=True):
            if used is not None:
                yield from self._of(instance, used)

    def _instances(self, service: str) -> list[Instance]:
        """The service's containers, looked for every other second: finding them costs more than asking them."""
        known = self._found.get(service)
        if known is None or time.monotonic() - known[0] >= _FIND_EVERY_S:
            known = time.monotonic(), Docker(self._target).instances(service)
            self._found[service] = known
        return known[1]

    def _of(self, instance: Instance, used: Usage) -> Iterator[Row]:
        values = {
            "rss_bytes": used.rss_bytes,
            "memory_bytes": used.memory_bytes,
            "threads": used.threads,
            "throttled_s": used.throttled_s,
            "read_bytes": used.read_bytes,
            "written_bytes": used.written_bytes,
            "received_bytes": used.received_bytes,
            "sent_bytes": used.sent_bytes,
            "cpu_percent": self.cpu_percent((instance.id, instance.started), used.cpu_s, used.at_s),
        }
        for name, value in values.items():
            if value is not None:
                yield instance.label, name, float(value)
