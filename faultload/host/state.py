"""Where faultload keeps what outlives a process: open faults, started targets, standalone journals."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faultload.host.private import make_folder


def state_home() -> Path:
    """`$XDG_STATE_HOME/faultload`, or `~/.local/state/faultload`; not created here."""
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home else Path.home() / ".local" / "state"
    return base / "faultload"


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
