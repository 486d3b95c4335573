"""The local platform: instances are processes of this machine."""

from __future__ import annotations

from faultload.platforms.base import Instance, Platform
from faultload.platforms.local import processes as local_processes


class Local(Platform):
    """Processes found by argument list, port or pid."""

    def instances(self, service: str) -> list[Instance]:
        return local_processes.instances_of(self.target, service)

    def not_ready(self, service: str) -> list[str]:
        return local_processes.not_ready(self.target, service)

    def ready(self, service: str) -> list[Instance]:
        return local_processes.ready(self.target, service)


PLATFORM = Local
