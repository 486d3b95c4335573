"""The timer beside an engine: it counts from when it sees the fault, and restores what it was left."""

from __future__ import annotations

from typing import Any

import pytest

from faultload.agents.container import engine_timer

STARTED = "2026-01-01T00:00:00Z"


class Engine:
    """A container, a clock that only sleeping moves, and the moments at which somebody paused it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, paused_at_s: float | None) -> None:
        self.now_s, self.paused_at_s = 100.0, paused_at_s
        self.asked: list[tuple[str, str, float]] = []
        self.started = STARTED
        monkeypatch.setattr(engine_timer, "ask", self._ask)
        monkeypatch.setattr(engine_timer, "time", self)
        monkeypatch.setattr(engine_timer.signal, "signal", lambda *_: None)

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def _ask(self, method: str, path: str) -> tuple[int, Any]:
        if method != "GET":
            self.asked.append((method, path, self.now_s))
        paused = self.paused_at_s is not None and self.now_s >= self.paused_at_s
        state = {"StartedAt": self.started, "Paused": paused, "Running": True}
        return 200, {"State": state}


def run(seconds: str = "20") -> None:
    assert engine_timer.main([seconds, "unpause", f"abc@{STARTED}"]) == 0


def test_its_time_begins_with_the_fault_and_not_with_its_own_start(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch, paused_at_s=107.0)
    run()
    ((method, path, at_s),) = engine.asked
    assert (method, path) == ("POST", "/containers/abc/unpause")
    assert at_s == pytest.approx(127.0, abs=0.5)


def test_a_fault_that_never_comes_is_waited_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch, paused_at_s=None)
    run()
    assert engine.asked == []
    assert engine.now_s < 300


def test_a_container_that_was_started_again_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch, paused_at_s=101.0)
    engine.started = "2026-01-02T00:00:00Z"
    run()
    assert engine.asked == []
