"""The shape of a load: stages whose level (iterations per second, or users) changes linearly over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

StageKind = Literal["ramp", "hold", "step", "surge"]


@dataclass(frozen=True, slots=True)
class Stage:
    """From `start_s` to `end_s` after the load's start the level goes linearly from `low` to `high`.

    A level is iterations per second in the open model and users in the closed one; `low` and `high` are
    the levels at the start and at the end.
    """

    kind: StageKind
    start_s: float
    end_s: float
    low: float
    high: float
    phase: str | None = None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of its own that `during` may select; none where it belongs to the baseline."""
        return tuple(filter(None, dict.fromkeys((self.phase, "surge" if self.kind == "surge" else None))))

    @property
    def area(self) -> float:
        """Expected number of iterations in an open-model stage."""
        return self.duration_s * (self.low + self.high) / 2

    def level(self, t_s: float) -> float:
        """The level at a moment inside the stage."""
        if self.duration_s == 0:
            return self.high
        return self.low + (self.high - self.low) * (t_s - self.start_s) / self.duration_s

    def time_of(self, area: float) -> float:
        """The moment at which the area since the stage's start reaches `area` (0 to `self.area`)."""
        slope = (self.high - self.low) / self.duration_s
        root = math.sqrt(max(self.low * self.low + 2 * slope * area, 0.0))
        # the stable form of (root - low) / slope
        return self.start_s + 2 * area / (root + self.low)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Stage:
        return cls(**value)


def level_at(stages: Sequence[Stage], t_s: float) -> float:
    """The level at a moment after the load's start; 0 before and after."""
    for stage in stages:
        if stage.start_s <= t_s < stage.end_s:
            return stage.level(t_s)
    return 0.0


def area_between(stages: Sequence[Stage], start_s: float, end_s: float) -> float:
    """Expected iterations between two moments after the load's start."""
    total = 0.0
    for stage in stages:
        low, high = max(stage.start_s, start_s), min(stage.end_s, end_s)
        if low < high:
            total += (high - low) * (stage.level(low) + stage.level(high)) / 2
    return total


def end_of(stages: Sequence[Stage]) -> float:
    """The end of the last stage, in seconds after the load's start."""
    return stages[-1].end_s if stages else 0.0


def warmup_end(stages: Sequence[Stage]) -> float:
    """Where the ramps before the first hold end: the warm-up."""
    for stage in stages:
        if stage.kind != "ramp":
            return stage.start_s
    return end_of(stages)


def steady_until(stages: Sequence[Stage]) -> float:
    """Where the level after the warm-up changes for the first time, by a surge too; the end of the load without."""
    after = [stage for stage in stages if stage.start_s >= warmup_end(stages)]
    for stage in after:
        if stage.kind == "surge" or stage.low != stage.high or stage.low != after[0].low:
            return stage.start_s
    return end_of(stages)


def cooldown_start(stages: Sequence[Stage]) -> float:
    """Where the level goes down for the last time: the cool-down (the drain after the end belongs to it)."""
    start = end_of(stages)
    for stage in reversed(stages):
        if stage.kind != "ramp" or stage.high >= stage.low:
            break
        start = stage.start_s
    return start
