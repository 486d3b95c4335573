"""Where faultload keeps what outlives a process: open faults, started targets, standalone journals."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faultload.errors import Refused, in_words
from faultload.host.private import make_folder

STATE_BYTES = 256 * 1024
"""What a run keeps in the state folder beside its faults: locks, and what a reference system was started with."""
FAULT_BYTES = 64 * 1024
"""An entry of an open fault with all that its undo needs: some kilobytes, twice while it is written anew."""


def state_home() -> Path:
    """`$XDG_STATE_HOME/faultload`, or `~/.local/state/faultload`; not created here."""
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not home.is_absolute():  # the standard has it left out then: processes differ in where they are
        home = _home() / ".local" / "state"
    return home / "faultload"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise Refused("this user has no home directory: set XDG_STATE_HOME to a folder of its own") from None


def check_room(folder: Path, size: int) -> None:
    """See that a folder can be made and takes this many bytes; nothing of it stays. Raises OSError."""
    make_folder(folder)
    descriptor, probe = tempfile.mkstemp(dir=folder, prefix=".room.")
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
        Path(probe).unlink()


def check_state_room(faults: int) -> None:
    """Before a load starts: what undoing this many faults needs can be written. Raises Refused."""
    for folder in (state_home() / "open", locks_dir()):
        try:
            check_room(folder, STATE_BYTES + faults * FAULT_BYTES)
        except OSError as error:
            raise Refused(
                f"the state folder takes nothing more ({in_words(error)}), and without it no fault could be "
                "undone: make room there, or set XDG_STATE_HOME"
            ) from None


def file_name(identifier: str) -> str:
    """An identifier as a file name: reversible, without a separator, and never a folder's own or its parent's."""
    name = quote(identifier, safe="#@,+=:") or "%"
    return name.replace(".", "%2E") if name in (".", "..") else name


def open_faults_dir(target_id: str) -> Path:
    """The folder of the open-fault index entries of a target."""
    return state_home() / "open" / file_name(target_id)


def target_dir(target_id: str) -> Path:
    """The folder of a reference system that faultload started: data, logs, target file, processes."""
    return state_home() / "targets" / file_name(target_id)


def locks_dir() -> Path:
    """The folder of locks: one a fault, and one a target while a fault is planned on it."""
    return state_home() / "locks"


def started_file(fault_id: str) -> Path:
    """What undo of a fault started again on this machine, which goes with the fault's entry."""
    return state_home() / "started" / file_name(fault_id)


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file atomically and durably: file and folder are fsynced before it returns."""
    make_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")  # private by itself
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_json(path: Path) -> Any | None:
    """The JSON value of a file, or None when the file is not there."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def sync_folder(folder: Path) -> None:
    """Make a file's creation, renaming or removal in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
