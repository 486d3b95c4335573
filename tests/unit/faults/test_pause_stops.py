"""A stopped process is one that has stopped: a signal acts only once its process gets a processor."""

from __future__ import annotations

import signal

import pytest

from faultload.host import trees
from faultload.host.processes import ProcessId


def test_freezing_returns_when_the_process_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [False, False, False, True, True]
    sent: list[int] = []
    monkeypatch.setattr(ProcessId, "signal", lambda self, signum: sent.append(signum))
    monkeypatch.setattr(ProcessId, "alive", lambda self: True)
    monkeypatch.setattr(trees, "tree", lambda roots: [ProcessId(4711, 0.0)])
    monkeypatch.setattr(trees, "stopped", lambda process: looks.pop(0))
    assert trees.freeze([ProcessId(4711, 0.0)]) == [ProcessId(4711, 0.0)]
    assert sent == [signal.SIGSTOP]
    assert looks == []


def test_freezing_gives_up_on_a_process_that_never_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessId, "signal", lambda self, signum: True)
    monkeypatch.setattr(ProcessId, "alive", lambda self: True)
    monkeypatch.setattr(trees, "tree", lambda roots: [ProcessId(4711, 0.0)])
    monkeypatch.setattr(trees, "stopped", lambda process: False)
    assert trees.freeze([ProcessId(4711, 0.0)], within_s=0.02) == [ProcessId(4711, 0.0)]
