"""What a run is pointed at, and whether it is free to use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from faultload import reference
from faultload.chaos.journal import open_faults
from faultload.errors import InvalidInput, Mistake, Refused
from faultload.host.processes import myself
from faultload.reference.host.lifecycle import Status
from faultload.spec.target import TargetFile


@dataclass(frozen=True)
class Target:
    """A reference system by name, or a target file already read."""

    reference: str | None = None
    platform: str = "local"
    """Of the reference system."""
    file: Path | None = None
    declared: TargetFile | None = None
    defects: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        if self.reference is not None:
            return reference.target_id(self.reference, self.platform)
        assert self.declared is not None
        return self.declared.id

    def status(self) -> Status | None:
        """Of the reference system; None where it is none, or nothing is known of it."""
        return None if self.reference is None else reference.status(self.reference, self.platform)

    def check_free(self) -> None:
        """Nothing was left on it, and a reference system that is up already has the defects asked for.

        Raises Refused where a run that died left something or another one goes on, InvalidInput for other defects.
        """
        left = leftover(self.id)
        if left:
            raise Refused(f"{'; '.join(left)}: `faultload undo {self.id}` undoes and stops what was left behind")
        up = self.status()
        if up is None or not up.running:
            return
        if set(up.defects) != set(self.defects):
            has = ", ".join(up.defects) or "none"
            hint = f"`faultload target down {self.reference} --platform {self.platform}` first"
            raise InvalidInput(Mistake(f"{self.reference} is already up with defects: {has}", hint=hint))
        if up.owner is not None and up.owner != myself():
            raise Refused(f"{self.reference} belongs to another run that is still in progress")

    def stop_mine(self) -> None:
        """Stop a reference system that this process started and kept; never somebody else's."""
        up = self.status()
        if self.reference is not None and up is not None and up.owner == myself():
            reference.stop(self.reference, self.platform)


def leftover(target_id: str) -> list[str]:
    """What forbids a new run on a target: open faults, or a reference system that a dead run left up."""
    left = [f"fault {fault.label} ({fault.entry['request']['kind']}) is open" for fault in open_faults(target_id)]
    known = reference.of_id(target_id)
    found = reference.status(*known) if known is not None else None
    if found is not None and (not found.running or found.owner_alive is False):
        left.append(f"the reference system {found.name} was left behind by a run that died")
    return left
