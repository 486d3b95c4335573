"""A load process and a loopback server, as tests conduct them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from faultload.record import tables as record_tables
from faultload.record.directory import Clock, RunDirectory
from faultload.record.events import Note, ProcessEvent
from faultload.spec.stages import Stage

HERE = Path(__file__).parent


class Server:
    """The loopback server in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, HERE / "loopback_server.py"], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def seen(self) -> Counter[str]:
        with urllib.request.urlopen(f"{self.url}/seen", timeout=5) as response:
            return Counter(json.load(response))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Load:
    """One load process over a run directory, conducted by the test."""

    def __init__(
        self, folder: Path, journeys: str, load: dict[str, Any], env: dict[str, str] | None = None
    ) -> None:
        file = folder / "journeys.py"
        file.write_text(journeys)
        self.run = RunDirectory.create(folder / "run")
        defaults = {
            "journeys": str(file),
            "model": "open",
            "mix": None,
            "arrivals": "even",
            "max_users": 50,
            "timeout_s": 5.0,
            "drop_after_s": 10.0,
            "drain_s": 5.0,
            "seed": 42,
            "workers": 1,
        }
        self.clock: Clock = self.run.begin({"load": {**defaults, **load}})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "faultload.load.worker", str(self.run.path), "0"],
            stdin=subprocess.PIPE,
            stderr=(folder / "stderr").open("wb"),
            env={**os.environ, **env},
            start_new_session=True,  # as in a run: its priority is that of its session
        )
        self.start_ns = 0

    def state(self) -> str | None:
        events = self.run.events_of(ProcessEvent)
        return events[-1].state if events else None

    def start(self, ahead_s: float = 0.3) -> None:
        """Wait until the process is ready, and start the load."""
        deadline = time.monotonic() + 20
        while self.state() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert self.state() == "ready", self.run.events_of(ProcessEvent)
        self.start_ns = self.clock.now_ns() + round(ahead_s * 1e9)
        self.say(f"start {self.start_ns}")

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def until(self, t_s: float) -> None:
        """Sleep until so many seconds after the load's start."""
        time.sleep(max(0.0, (self.start_ns - self.clock.now_ns()) / 1e9 + t_s))

    def finished(self, timeout_s: float = 30) -> int:
        return self.process.wait(timeout_s)

    def table(self, name: str) -> pa.Table:
        return record_tables.read(self.run.path, name)

    def column(self, table: str, name: str) -> np.ndarray[Any, Any]:
        return record_tables.numbers(self.table(table)[name])

    def latency_s(self) -> np.ndarray[Any, Any]:
        """From the intended start to the answer."""
        table = self.table("samples")
        intended, started, service = (
            record_tables.numbers(table[name]) for name in ("intended_ns", "started_ns", "service_us")
        )
        return (started - intended) / 1e9 + service / 1e6

    def outcomes(self, request: str | None = None) -> Counter[str]:
        rows = self.table("samples").select(["request", "outcome"]).to_pylist()
        return Counter(row["outcome"] for row in rows if request is None or row["request"] == request)

    def notes(self, what: str) -> list[dict[str, Any]]:
        return [note.to_json() for note in self.run.events_of(Note) if note.what == what]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


def hold(rate: float, seconds: float) -> list[dict[str, Any]]:
    """One stage of a constant level."""
    return [Stage("hold", 0, seconds, rate, rate).to_json()]
