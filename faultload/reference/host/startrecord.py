"""What a started reference system keeps in its state folder, the same on every platform."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from faultload.errors import Refused
from faultload.host import state
from faultload.host.private import FOLDER_MODE, make_folder
from faultload.host.processes import ProcessId
from faultload.reference import catalogue
from faultload.reference.host.lifecycle import Status

QUOTED_LINES = 12


def folder_of(name: str, platform: str) -> Path:
    """The state folder of a reference system."""
    return state.target_dir(catalogue.target_id(name, platform))


def refuse_second(found: Status | None) -> None:
    """Raise Refused when it is up already."""
    if found is not None and found.running:
        raise Refused(f"{found.name} has been up since {found.started}; {_how_to_stop(found.target_id)}")


def claim(name: str, platform: str) -> Path:
    """Make its folder, which one process only can. Raises Refused when another one did."""
    folder = folder_of(name, platform)
    try:
        make_folder(folder.parent)
        folder.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        how = _how_to_stop(catalogue.target_id(name, platform))
        raise Refused(f"{name} is being started by another process; {how}") from None
    return folder


def _how_to_stop(target_id: str) -> str:
    name, platform = catalogue.of_id(target_id) or (target_id, "local")
    where = "" if platform == "local" else f" --platform {platform}"
    return f"`faultload target down {name}{where}` stops it"


def entry(defects: Iterable[str], logs: Path, owner: ProcessId | None) -> dict[str, Any]:
    """What every start writes down: who owns it, its defects, since when, and where its logs are."""
    return {
        "owner": None if owner is None else owner.to_json(),
        "defects": list(defects),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "logs": str(logs),
    }


def process_in(found: Mapping[str, Any] | None, key: str) -> ProcessId | None:
    """A process that a record names, or None."""
    known = (found or {}).get(key)
    return None if known is None else ProcessId.from_json(known)


def reap(process: ProcessId | None) -> None:
    """Take note of the end of a process, where it was a child of this one."""
    with suppress(ChildProcessError, OSError):
        if process is not None:
            os.waitpid(process.pid, os.WNOHANG)


def status_of(
    name: str, platform: str, found: Mapping[str, Any], *, running: bool, pids: Mapping[str, ProcessId]
) -> Status:
    """What is known of a started system, by its record and its target file."""
    target_file = folder_of(name, platform) / "target.yaml"
    owner = process_in(found, "owner")
    url = None
    with suppress(FileNotFoundError):
        url = yaml.safe_load(target_file.read_text())["url"]
    return Status(
        name=name,
        target_id=catalogue.target_id(name, platform),
        running=running,
        ready=running and url is not None,
        url=url,
        target_file=target_file,
        defects=tuple(found["defects"]),
        pids=pids,
        owner=owner,
        owner_alive=None if owner is None else owner.alive(),
        started=found["started"],
        logs=Path(found["logs"]),
    )


def forget(folder: Path) -> list[str]:
    """Remove the folder; returns what would not go, in words."""
    for _ in range(2):  # something may still have been written the first time
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return []
    return [f"folder {folder}"]


def end_of(log: Path) -> str:
    """The last lines of a log, below its name; empty when there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-QUOTED_LINES:]
    except FileNotFoundError:
        return ""
    return "\n".join([f"{log}:", *("  " + line for line in lines)])


# -- the process that brings a system up


def command(module: str, name: str, platform: str, folder: Path, logs: Path, defects: Iterable[str]) -> list[str]:
    """The argument list of the process that brings a system up; `arguments` reads it there."""
    argv = [sys.executable, "-m", module, "--name", name, "--id", catalogue.target_id(name, platform)]
    argv += ["--folder", str(folder), "--logs", str(logs)]
    for defect in defects:
        argv += ["--defect", defect]
    return argv


def arguments(program: str) -> argparse.Namespace:
    """What `command` said; the process' log goes to standard error from here on."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--name", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--defect", action="append", default=[])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    return parser.parse_args()


def failed(folder: Path, why: str) -> None:
    """Leave the reason of a failed start."""
    state.write_json(folder / "failed.json", {"error": why})


def reason(folder: Path) -> str | None:
    """The reason that a failed start left, or None."""
    found = state.read_json(folder / "failed.json") or {}
    error = found.get("error")
    return None if error is None else str(error)
