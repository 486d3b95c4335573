"""The write-ahead fault journal and the index of open faults: what is written before anything is touched."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.errors import NotUndone
from faultload.faults import fault_for
from faultload.platforms.base import FaultRequest, Instance, PlatformFault
from faultload.record import RunDirectory, append_line, wall_time
from faultload.state import file_name, open_faults_dir, read_json, state_home, sync_folder, write_json
from faultload.target import TargetFile, target_from_json


@dataclass(frozen=True, slots=True)
class OpenFault:
    """An entry of the index of open faults: all that any process needs to undo the fault."""

    path: Path
    entry: Mapping[str, Any]

    @property
    def fault_id(self) -> str:
        return str(self.entry["request"]["fault_id"])

    @property
    def label(self) -> str:
        """Name and number for people: db-failover#1."""
        return f"{self.entry['fault']}#{self.entry['k']}"

    @property
    def target_id(self) -> str:
        return str(self.entry["target"]["id"])

    @property
    def state(self) -> str:
        return str(self.entry["state"])

    @property
    def faults_path(self) -> Path:
        """The faults.jsonl that this fault is written to."""
        return Path(self.entry["journal"])

    @property
    def instances(self) -> list[Instance]:
        return [Instance.from_json(value) for value in self.entry["instances"]]

    @property
    def plan(self) -> Mapping[str, Any]:
        plan: Mapping[str, Any] = self.entry["plan"]
        return plan

    @property
    def one_shot(self) -> bool:
        return bool(self.entry["one_shot"])

    @property
    def overdue_s(self) -> float:
        """Seconds since the fault's maximum duration was over; negative before."""
        started = self.entry.get("injected_ns") or self.entry["planned_ns"]
        return (time.monotonic_ns() - int(started)) / 1e9 - float(self.entry["max_duration_s"])

    def handler(self) -> PlatformFault:
        """The platform's fault that can undo this entry."""
        target = target_from_json(self.entry["target"])
        return fault_for(target, FaultRequest.from_json(self.entry["request"]))

    def mark(self, state: str, by: str, **fields: Any) -> OpenFault:
        """Write a new state to the journal and to the index; both are on disk before this returns."""
        entry = {**self.entry, "state": state, **fields}
        if state == "UNDONE":
            append_line(self.faults_path, _line(entry, by), sync=True)
            self.path.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        else:
            write_json(self.path, entry)
            append_line(self.faults_path, _line(entry, by), sync=True)
        return OpenFault(self.path, entry)

    @contextmanager
    def locked(self) -> Iterator[OpenFault | None]:
        """The fault's own lock; gives the entry as it is now, or None when it has been undone meanwhile."""
        lock = state_home() / "locks" / f"{file_name(self.fault_id)}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            current = read_json(self.path)
            yield None if current is None else OpenFault(self.path, current)
            if not self.path.exists():
                lock.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def plan_fault(
    run: RunDirectory,
    target: TargetFile,
    request: FaultRequest,
    instances: Sequence[Instance],
    plan: Mapping[str, Any],
    *,
    fault: str,
    k: int,
    one_shot: bool,
    max_duration_s: float,
) -> OpenFault:
    """Open the index entry and write PLANNED, before anything is touched."""
    entry = {
        "fault": fault,
        "k": k,
        "state": "PLANNED",
        "target": target.to_json(),
        "request": request.to_json(),
        "instances": [instance.to_json() for instance in instances],
        "plan": dict(plan),
        "one_shot": one_shot,
        "max_duration_s": max_duration_s,
        "planned_ns": time.monotonic_ns(),
        "t0_ns": run.clock.t0_ns,
        "journal": str(run.faults_path),
        "run": str(run.path),
    }
    path = open_faults_dir(target.id) / f"{file_name(request.fault_id)}.json"
    write_json(path, entry)
    append_line(run.faults_path, _line(entry, "chaos"), sync=True)
    sync_folder(run.path)
    return OpenFault(path, entry)


def _line(entry: Mapping[str, Any], by: str) -> dict[str, Any]:
    plan = {key: value for key, value in entry["plan"].items() if key != "private"}
    return {
        "t": round((time.monotonic_ns() - int(entry["t0_ns"])) / 1e9, 6),
        "wall": wall_time(),
        "fault": entry["fault"],
        "k": entry["k"],
        "state": entry["state"],
        "kind": entry["request"]["kind"],
        "platform": entry["target"]["platform"],
        "target_id": entry["target"]["id"],
        "instances": [
            {"id": one["id"], "started": one["started"], "name": one["name"]} for one in entry["instances"]
        ],
        "undo": plan,
        "max_duration_s": entry["max_duration_s"],
        "by": by,
    }


def _entry(path: Path) -> dict[str, Any] | None:
    """An index entry, or None when it has gone meanwhile. Raises NotUndone for one that cannot be read."""
    try:
        entry: dict[str, Any] | None = read_json(path)
        return (
            None if entry is None else {**entry, "planned_ns": int(entry["planned_ns"]), "run": str(entry["run"])}
        )
    except (ValueError, KeyError, TypeError) as error:
        raise NotUndone(
            f"{path} names an open fault but cannot be read ({error}): look at the target, then remove the file"
        ) from None


def open_faults(target_id: str | None = None, run: Path | None = None) -> list[OpenFault]:
    """Open faults, last in first; of one target or one run when asked."""
    root = state_home() / "open"
    folders = [open_faults_dir(target_id)] if target_id is not None else sorted(root.glob("*"))
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            entry = _entry(path)
            if entry is not None and (run is None or Path(entry["run"]).resolve() == run.resolve()):
                found.append(OpenFault(path, entry))
    return sorted(found, key=lambda fault: int(fault.entry["planned_ns"]), reverse=True)
