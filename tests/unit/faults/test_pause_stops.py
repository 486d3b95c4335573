"""A stopped process is one that has stopped: a signal acts only once its process gets a processor."""

from __future__ import annotations

import signal

import pytest

from faultload.faults.process import local as local_signals
from faultload.faults.process.local import Pause
from faultload.platforms.base import Instance

ONE = Instance("store", "4711", 0.0, "store:8081", 8081)


def test_pause_returns_when_the_process_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [False, False, True]
    sent: list[int] = []

    class Process:
        signal = staticmethod(sent.append)

    monkeypatch.setattr(local_signals, "process_of", lambda instance: Process())
    monkeypatch.setattr(local_signals, "stopped", lambda process: looks.pop(0))
    Pause.__new__(Pause).inject([ONE], {})
    assert sent == [signal.SIGSTOP]
    assert looks == []
