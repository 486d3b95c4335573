"""Watches a running load: live figures of the last seconds, and the abort conditions."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from faultload.record.directory import RunDirectory
from faultload.record.events import Event, Health, event_of
from faultload.record.lines import LineTail
from faultload.report.live_state import LiveState
from faultload.spec.measures import measure_of
from faultload.spec.scenario import Scenario
from faultload.spec.stages import cooldown_start, end_of, level_at, warmup_end
from faultload.spec.term import Objective

LIVE_WINDOW_S = 5


class Watch:
    """Follows a run's events; one `look` a tick."""

    def __init__(self, run: RunDirectory, scenario: Scenario, profile: str, slo: float) -> None:
        self._tail = LineTail(run.events_path)
        self._clock = run.clock
        self.scenario = scenario
        self.profile = profile
        self._slo = slo
        self._seconds: deque[dict[str, float]] = deque(maxlen=600)
        self._ok = 0.0
        self._failed = 0.0
        self._users: dict[int, int] = {}
        self.beats: dict[int, float] = {}
        """When each load process last said how it is, by worker; seconds on the run's clock."""
        self._open: dict[str, None] = {}
        self.load_start_s: float | None = None
        self.status = "starting"

    @property
    def load_s(self) -> float:
        """Seconds since the load's start; before it since the run's zero."""
        return self._clock.now() - (self.load_start_s or 0.0)

    def look(self) -> list[Event]:
        """Read what is new; returns the new events that are not health."""
        others = []
        for event in map(event_of, self._tail.read()):
            if isinstance(event, Health):
                self._health(event)
            else:
                others.append(event)
        return others

    def fault_opened(self, label: str) -> None:
        self._open[label] = None

    def fault_closed(self, label: str) -> None:
        self._open.pop(label, None)

    def _health(self, event: Health) -> None:
        """Join the seconds of several workers by the second that they end in."""
        second = float(int(event.t))
        if not self._seconds or self._seconds[-1]["t"] < second:
            self._seconds.append(dict.fromkeys(("ok", "failed", "started", "p50", "p99", "workers"), 0.0))
            self._seconds[-1]["t"] = second
        place = next((one for one in reversed(self._seconds) if one["t"] == second), self._seconds[-1])
        place["workers"] += 1
        for name in ("ok", "failed", "started"):
            place[name] += getattr(event, name)
        for name, value in (("p50", event.p50_ms), ("p99", event.p99_ms)):
            place[name] = max(place[name], value or 0.0)
        self._ok += event.ok
        self._failed += event.failed
        self.beats[event.worker] = event.t
        self._users[event.worker] = event.users or 0

    def abort_reason(self) -> str | None:
        """The abort condition that held in every one of its last seconds, or None."""
        for condition in self.scenario.abort_conditions:
            length = max(1, round(condition.for_s or 0))
            # the newest second may still lack a worker's part
            whole = [one for one in self._seconds if one["workers"] >= len(self._users)]
            recent = whole[-length:]
            if len(recent) < length or recent[-1]["t"] - recent[0]["t"] > length + 1:
                continue
            if self.load_start_s is None or recent[0]["t"] < self.load_start_s + 1.0:
                continue  # the first second was not a whole one
            if all(_holds(condition, one) for one in recent):
                return f"abort condition: {condition}"
        return None

    def state(self) -> LiveState:
        """The live figures now."""
        now = self._clock.now()
        recent = list(self._seconds)[-LIVE_WINDOW_S:]
        if recent and now - recent[-1]["t"] > LIVE_WINDOW_S:
            recent = []
        ended = sum(one["ok"] + one["failed"] for one in recent)
        since = None if self.load_start_s is None else now - self.load_start_s
        stages = self.scenario.load.stages
        open_model = self.scenario.load.model == "open"
        all_ended = self._ok + self._failed
        spent = None if all_ended == 0 else self._failed / all_ended / (1 - self._slo)
        return LiveState(
            scenario=self.scenario.name,
            profile=self.profile,
            status=self.status,
            elapsed_s=now if since is None else max(0.0, since),
            total_s=end_of(stages),
            phase=self._phase(since, stages),
            offered_per_s=level_at(stages, since) if open_model and since is not None else None,
            achieved_per_s=sum(one["started"] for one in recent) / len(recent) if recent else None,
            p50_ms=recent[-1]["p50"] if recent else None,
            p99_ms=max(one["p99"] for one in recent) if recent else None,
            error_share=sum(one["failed"] for one in recent) / ended if ended else None,
            failed=int(self._failed),
            users=sum(self._users.values()) if self._users else None,
            budget_left=None if spent is None else 1.0 - spent,
            open_faults=tuple(self._open),
        )

    def _phase(self, since: float | None, stages: Sequence[Any]) -> str:
        if since is None:
            return ""
        if self._open:
            return f"fault:{next(iter(self._open))}"
        if since < warmup_end(stages):
            return "warmup"
        return "cooldown" if since >= cooldown_start(stages) else "baseline"


def _holds(condition: Objective, second: Mapping[str, float]) -> bool:
    """Whether an abort condition held in a second; one without a request never does."""
    if second["ok"] + second["failed"] == 0:
        return False
    value = measure_of(condition.term).in_second(condition.term, second)
    target = condition.target.value
    return {
        "<=": value <= target,
        "<": value < target,
        ">=": value >= target,
        ">": value > target,
        "==": value == target,
    }[condition.operator]
