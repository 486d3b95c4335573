"""The local platform: instances are processes of this machine."""

from __future__ import annotations

from contextlib import suppress

from faultload.errors import TargetError
from faultload.platforms.base import Instance, Platform
from faultload.platforms.databases import patroni
from faultload.platforms.local import processes as local_processes


class Local(Platform):
    """Processes found by argument list, port or pid."""

    def unproven(self) -> list[str]:
        """Members of a database that are elsewhere, although their Patroni answers here."""
        found = []
        for name, service in self.target.services.items():
            if service.patroni is not None:
                with suppress(TargetError):  # what does not answer is said by whoever needs it
                    found += patroni.elsewhere(name, service.patroni)
        return found

    def instances(self, service: str) -> list[Instance]:
        return local_processes.instances_of(self.target, service)

    def not_ready(self, service: str) -> list[str]:
        return local_processes.not_ready(self.target, service)

    def ready(self, service: str) -> list[Instance]:
        return local_processes.ready(self.target, service)


PLATFORM = Local
