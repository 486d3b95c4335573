"""Locks: waited for as long as somebody works under them, and no longer."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faultload.host import locks
from faultload.host.locks import lock_from_the_living, lock_soon
from faultload.host.processes import identify, state_of

HOLDER = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A descriptor of a file that another process has locked, and that process."""
    path = tmp_path / "lock"
    path.touch()
    argv = [sys.executable, "-c", HOLDER, str(path)]
    holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"1\n"
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor, holder
    os.close(descriptor)
    holder.kill()
    holder.communicate()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often, and has no patience with whoever is stopped."""
    monkeypatch.setattr(locks, "STOPPED_S", 0.0)
    monkeypatch.setattr(locks, "_ROUND_S", 0.02)


def test_a_free_lock_is_had_at_once(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    descriptor, other = (os.open(tmp_path / "lock", os.O_RDONLY) for _ in range(2))
    assert lock_soon(descriptor, 0.0)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    os.close(other)


def test_a_lock_that_is_kept_is_waited_for_no_longer_than_said(held: tuple[int, subprocess.Popen[bytes]]) -> None:
    descriptor, _ = held
    assert not lock_soon(descriptor, 0.05)


@pytest.mark.usefixtures("hasty")
def test_who_was_stopped_with_a_lock_keeps_nobody_waiting(held: tuple[int, subprocess.Popen[bytes]]) -> None:
    descriptor, holder = held
    holder.send_signal(signal.SIGSTOP)
    known = identify(holder.pid)
    while known is not None and state_of(known) != "T":
        pass
    assert not lock_from_the_living(descriptor, 3600.0)


@pytest.mark.usefixtures("hasty")
def test_who_works_under_a_lock_is_waited_for(held: tuple[int, subprocess.Popen[bytes]]) -> None:
    descriptor, holder = held
    assert holder.stdin is not None
    holder.stdin.write(b"\n")
    holder.stdin.flush()
    assert lock_from_the_living(descriptor, 3600.0)
