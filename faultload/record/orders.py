"""The orders for the Chaos Toolkit process of one injection: one file, named by one variable."""

from __future__ import annotations

import os
from pathlib import Path

from faultload.errors import InvalidInput, Mistake
from faultload.host.state import read_json
from faultload.record.entry import Entry

ORDER_ENV = "FAULTLOAD_ORDER"
CONTROL = {"faultload": {"provider": {"type": "python", "module": "faultload.chaos.findings"}}}
"""The control file of a run's chaos processes: what Chaos Toolkit finds gets into the record."""


class ChaosOrder(Entry):
    """One injection. The defaults are those of an experiment that is run by hand, outside any run."""

    process: str | None = None
    """What the process is called in the record."""
    fault: str | None = None
    """What the fault is called in the record; None: as its experiment calls it."""
    k: int = 1
    at_s: float | None = None
    """When the first fault is due, after the load's start; None: at once."""
    overlap: bool = False
    seed: int | None = None
    """None: the experiment's own counts."""
    by_chance: bool = False
    max_duration_s: float = 0.0
    """How long a one-shot fault has to come back by itself, at least."""
    life_fd: int | None = None
    """The reading end of a pipe that ends when the conductor dies."""
    approved: tuple[str, ...] = ()
    """The ids of targets that a person confirmed."""

    @classmethod
    def from_environment(cls) -> ChaosOrder:
        """The order of this process. Raises InvalidInput for one that cannot be read."""
        named = os.environ.get(ORDER_ENV)
        if named is None:
            return cls()
        path = Path(named)
        try:
            value = read_json(path)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            hint = f"unset {ORDER_ENV} to run an experiment by hand"
            raise InvalidInput(Mistake("this is no order of a run", file=path, hint=hint))
        return cls.from_json(value, path)
