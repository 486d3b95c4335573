"""Sees that every load process goes on: that it says every second how it is, and ends in its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faultload.run.deadlines import LOAD_END_S, LOAD_SILENT_S

_BEAT_S = 1.0


@dataclass(frozen=True, slots=True)
class LoadWatch:
    """The times of a load, in seconds on the run's clock."""

    start_s: float
    end_s: float
    """Of its last stage."""
    drain_s: float
    """So long after it requests under way may take."""

    def problem(self, worker: int, now_s: float, beats: Mapping[int, float]) -> str | None:
        """Why a load process that still runs has to be ended, or None; `beats` is when each last spoke.

        It speaks only as long as there is load; what comes after has a deadline of its own.
        """
        heard_s = max(beats.get(worker, 0.0), self.start_s)
        if heard_s < self.end_s - _BEAT_S and now_s - heard_s > LOAD_SILENT_S:
            return f"load-{worker} said nothing for {LOAD_SILENT_S:g} s of its load: it is stopped, or hangs"
        limit_s = self.drain_s + LOAD_END_S
        if now_s - self.end_s > limit_s:
            return f"load-{worker}: drain and end took longer than {limit_s:g} s after the load"
        return None
