"""The state folder: where it is, and that it is looked at before it is needed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from faultload.errors import ExitCode, Refused
from faultload.host import state
from faultload.host.state import check_room, check_state_room, state_home


def test_it_is_where_the_environment_says_or_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert state_home() == Path("/somewhere/faultload")
    for not_absolute in ("", "state"):
        monkeypatch.setenv("XDG_STATE_HOME", not_absolute)
        assert state_home() == tmp_path / ".local" / "state" / "faultload"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(Refused, match="no home directory: set XDG_STATE_HOME"):
        state_home()


def test_a_look_at_its_room_leaves_nothing(tmp_path: Path) -> None:
    check_room(tmp_path / "open", 100_000)
    assert list((tmp_path / "open").iterdir()) == []


def test_one_without_room_for_what_undo_needs_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []

    def full(descriptor: int, offset: int, size: int) -> None:
        asked.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(state.os, "posix_fallocate", full)
    with pytest.raises(Refused, match=r"takes nothing more \(No space left on device\)") as refused:
        check_state_room(faults=10)
    assert refused.value.exit_code is ExitCode.REFUSED
    assert asked == [state.STATE_BYTES + 10 * state.FAULT_BYTES]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
