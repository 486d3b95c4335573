"""faults.jsonl: one line per state of a fault, with everything the judge needs to know about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from faultload.record.entry import Entry, Moment

OPEN_STATES = ("PLANNED", "INJECTING", "ACTIVE", "ENDED", "UNDOING", "UNDO_FAILED")
_ONE_SHOT = frozenset(
    ("failover_database", "kill", "reset_connections", "restart", "switchover_database", "terminate")
)
"""The words of faults that were over by themselves, of before each line said so; today's words do not matter."""


class FaultLine(Entry):
    """One state of one fault; `t` in seconds on the run's clock."""

    t: Moment
    wall: str = ""
    fault: str
    """The fault's name in the record, as `label` shows it."""
    k: int
    state: str
    kind: str
    """The fault word."""
    platform: str = ""
    target_id: str = ""
    instances: tuple[Mapping[str, Any], ...] = ()
    undo: Mapping[str, Any] = {}
    """What undo restores, without what is private."""
    one_shot: bool = False
    """Whether the fault is over by itself."""
    max_duration_s: Annotated[float, Field(ge=0, le=1e9)]
    by: str = ""
    """Who brought it to this state: chaos, conductor, warden, undo."""
    seen_until: Moment | None = None
    """Of ENDED: the last moment at which the fault was seen; `t` is the first at which it was not."""
    what: str = ""
    """Of ENDED: what was seen in its place."""

    @model_validator(mode="before")
    @classmethod
    def _of_before_it_was_noted(cls, value: Any) -> Any:
        """Older lines do not say whether the fault is over by itself: their words do."""
        if isinstance(value, Mapping) and "one_shot" not in value:
            return {**value, "one_shot": value.get("kind") in _ONE_SHOT}
        return value

    @property
    def label(self) -> str:
        return f"{self.fault}#{self.k}"
