"""The live screen: plain lines anywhere, one panel on a terminal, and never the end of a run."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import struct
import termios
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from faultload.report.live import LiveScreen, Screen, open_screen
from faultload.report.live_state import LiveState

STATE = LiveState(
    scenario="database-failover",
    profile="smoke",
    status="load",
    elapsed_s=12.0,
    total_s=65.0,
    phase="baseline",
    offered_per_s=100.0,
    achieved_per_s=99.8,
    p50_ms=4.21,
    p99_ms=None,
    error_share=0.0031,
    failed=12,
    users=40,
    budget_left=-0.25,
    open_faults=("db-failover#1",),
)


def test_a_plain_line_carries_everything() -> None:
    stream = io.StringIO()
    open_screen(stream).update(STATE)
    assert stream.getvalue() == (
        "12.0 s / 65 s  load  baseline  offered 100/s  achieved 99.8/s  p50 4.21 ms  p99 –  errors 0.31%  "
        "failed 12  users 40  budget left -25%  open faults db-failover#1\n"
    )


def test_plain_lines_come_each_five_seconds_and_when_the_status_changes() -> None:
    stream = io.StringIO()
    screen = open_screen(stream)
    for elapsed in range(11):
        screen.update(replace(STATE, elapsed_s=float(elapsed)))
    assert [line.split(" ")[0] for line in stream.getvalue().splitlines()] == ["0.0", "5.0", "10.0"]
    screen.update(replace(STATE, elapsed_s=11.0, status="judging", phase=""))
    assert stream.getvalue().splitlines()[-1].startswith("11.0 s / 65 s  judging  offered")
    screen.say("12.0 s  fault db-failover#1 injected: pg1 (pid 4711)")
    assert stream.getvalue().splitlines()[-1] == "12.0 s  fault db-failover#1 injected: pg1 (pid 4711)"
    screen.close()


def test_a_stream_without_unicode_gets_plain_signs() -> None:
    buffer = io.BytesIO()
    screen = open_screen(io.TextIOWrapper(buffer, encoding="ascii"))
    screen.update(STATE)
    screen.say("250 µs … 日本")
    assert b"p99 -" in buffer.getvalue()
    assert b"250 us ... ??" in buffer.getvalue()


class Terminal:
    """A pseudo-terminal of some width that keeps what was written to it."""

    def __init__(self, width: int, encoding: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.stream = open(slave, "w", encoding=encoding)  # noqa: SIM115 - closed by written()
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65536):
                self._parts.append(data)

    def written(self) -> str:
        self.stream.close()
        self._reader.join(5)
        os.close(self._master)
        return b"".join(self._parts).decode()


@pytest.fixture(autouse=True)
def _a_plain_xterm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    yield


@pytest.mark.parametrize("width", [120, 80, 20, 3])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_terminal_of_any_width_shows_the_panel_and_keeps_lines(width: int, encoding: str) -> None:
    terminal = Terminal(width, encoding)
    screen = open_screen(terminal.stream)
    assert isinstance(screen, LiveScreen)
    for elapsed in (1.0, 2.0, 70.0):
        screen.update(replace(STATE, elapsed_s=elapsed))
        screen.say(f"said at {elapsed}: [bold]∞[/bold]")
    screen.update(replace(STATE, total_s=None, open_faults=(), budget_left=None, users=None))
    screen.close()
    screen.say("after the end")
    text = terminal.written()
    assert "no live screen" not in text
    assert "[bold]" in text.replace("\r\n", "")
    assert "\x1b[?1049h" not in text, "it must not use the alternate screen"
    assert "after the end" in text
    if width >= 80:
        assert "db-failover#1" in text
        assert "budget left" in text


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal(80, "utf-8")
    screen = open_screen(terminal.stream)
    assert type(screen) is Screen
    terminal.written()


def test_a_failure_of_rich_leaves_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such colour")

    terminal = Terminal(80, "utf-8")
    screen = open_screen(terminal.stream)
    monkeypatch.setattr("faultload.report.live._panel", broken)
    screen.update(STATE)
    screen.say("still here")
    screen.close()
    text = terminal.written()
    assert "no live screen from here on: RuntimeError: no such colour" in text
    assert "12.0 s / 65 s  load" in text
    assert "still here" in text
