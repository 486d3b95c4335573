"""What processes use, held against psutil and against this process itself."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from faultload.host.processes import myself, open_files, usages


def test_they_are_those_of_psutil() -> None:
    mine, known = usages()[os.getpid()], psutil.Process()
    times = known.cpu_times()
    assert (mine.parent, mine.threads) == (os.getppid(), known.num_threads())
    assert mine.started == myself().started
    assert mine.cpu_s == pytest.approx(times.user + times.system, abs=0.1)
    assert mine.rss_bytes == pytest.approx(known.memory_info().rss, rel=0.05)


def test_memory_threads_and_processor_time_are_seen() -> None:
    before = usages()[os.getpid()]
    held, done = bytearray(os.urandom(50_000_000)), threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(3)]
    for one in threads:
        one.start()
    deadline = time.process_time() + 0.2
    while time.process_time() < deadline:
        pass
    after = usages()[os.getpid()]
    done.set()
    assert after.rss_bytes - before.rss_bytes > 40_000_000 and len(held)
    assert after.threads == before.threads + 3
    assert after.cpu_s - before.cpu_s >= 0.15


def test_open_files_are_counted(tmp_path: Path) -> None:
    before = open_files(os.getpid())
    with open(tmp_path / "a", "w"), open(tmp_path / "b", "w"):
        assert open_files(os.getpid()) == before + 2
    assert open_files(999_999_999) == 0
