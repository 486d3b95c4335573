"""The write-ahead fault journal and the index of open faults, written before anything is touched."""

from __future__ import annotations

import math
import os
import pwd
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from faultload import __version__
from faultload.errors import InvalidInput, NotUndone, Refused
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest, PlatformFault
from faultload.host.locks import lock_from_the_living
from faultload.host.private import lock_file, make_folder, not_ours
from faultload.host.processes import ProcessId, myself
from faultload.host.state import (
    file_name,
    locks_dir,
    open_faults_dir,
    read_json,
    started_file,
    state_home,
    sync_folder,
    write_json,
)
from faultload.platforms.base import Instance
from faultload.record.directory import RunDirectory, wall_time
from faultload.record.faults import FaultLine
from faultload.record.lines import append_line
from faultload.spec.target import TargetFile, target_from_json

PAUSE_AT_ENV = "FAULTLOAD_PAUSE_AT"
"""For tests of dying processes: a chaos process stops itself (SIGSTOP) when it has `injected` or `witnessed`, or
right after it wrote a state of this name, so that it can be killed at that very moment."""
LOCK_PATIENCE_S = 150.0
"""So long is another process left alone that undoes the same fault, unless it is stopped."""
_NEEDED = ("fault", "k", "state", "target", "request", "instances", "plan", "one_shot", "max_duration_s", "journal")


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
    def on_engine(self) -> bool:
        """Whether its helpers are made by an engine or a cluster, not by the process that asks for them."""
        return bool(self.entry["target"]["platform"] != "local")

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
    def began_ns(self) -> int:
        """Where its time begins, on the monotonic clock: it is active, or else as far as it has come."""
        moments = (self.entry.get(name) for name in ("active_ns", "injected_ns", "planned_ns"))
        return int(next(moment for moment in moments if moment))

    @property
    def overdue_s(self) -> float:
        """Seconds since the fault's maximum duration was over; negative before, infinite after a reboot."""
        elapsed_s = (time.monotonic_ns() - self.began_ns) / 1e9
        return math.inf if elapsed_s < 0 else elapsed_s - float(self.entry["max_duration_s"])

    @property
    def injector(self) -> ProcessId | None:
        """The process that injects the fault; None where an older version did not note it."""
        value = self.entry.get("process")
        return None if value is None else ProcessId.from_json(value)

    @property
    def written_by(self) -> str:
        """The version that wrote this entry."""
        return str(self.entry.get("version", "an older version"))

    def handler(self) -> PlatformFault:
        """The platform's fault that can undo this entry. Raises NotUndone when this version cannot read it."""
        try:
            target = target_from_json(self.entry["target"])
            return fault_for(target, FaultRequest.from_json(self.entry["request"]))
        except (ValidationError, KeyError, TypeError) as error:
            raise NotUndone(
                f"{self.label} was written by faultload {self.written_by}, and {__version__} cannot read its entry "
                f"({_first_line(error)}): undo it with that version, or look at the target and remove {self.path}"
            ) from None

    def mark(self, state: str, by: str, **fields: Any) -> OpenFault:
        """Write a new state to the journal and to the index; both are on disk before this returns."""
        entry = {**self.entry, "state": state, **fields}
        if state == "UNDONE":
            append_line(self.faults_path, _line(entry, by), sync=True)
            self._close()
        else:
            write_json(self.path, entry)
            append_line(self.faults_path, _line(entry, by), sync=True)
        if by == "chaos":
            pause_for_test(state)
        return OpenFault(self.path, entry)

    def mark_undo(self, state: str, by: str, **fields: Any) -> OpenFault:
        """`mark`, for undo: no full disk, no lost run directory, no odd entry keeps a fault in place."""
        try:
            return self.mark(state, by, **fields)
        except (OSError, KeyError, TypeError, ValueError):
            entry = {**self.entry, "state": state, **fields}
            with suppress(OSError):
                if state == "UNDONE":
                    self._close()
                else:
                    write_json(self.path, entry)
            return OpenFault(self.path, entry)

    def forget(self) -> None:
        """Take away the entry of a fault that is undone; not of one that was just planned under the same name."""
        if self.state.startswith("UNDO"):
            with suppress(OSError):
                self._close()

    def _close(self) -> None:
        """Take the entry out of the index, and what its undo noted."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            started_file(self.fault_id).unlink(missing_ok=True)
        sync_folder(self.path.parent)

    @contextmanager
    def locked(self) -> Iterator[OpenFault | None]:
        """The fault's own lock; gives the entry as it is now, or None when it has been undone meanwhile.

        A lock is an aid: where none can be had, on a full or read-only disk or from a process that was stopped
        with it, the fault is undone without.
        """
        lock = locks_dir() / f"{file_name(self.fault_id)}.lock"
        descriptor = _opened(lock, self.path.parent)
        try:
            if descriptor is not None:
                lock_from_the_living(descriptor, LOCK_PATIENCE_S)
            current = read_json(self.path)
            yield None if current is None else OpenFault(self.path, current)
            if not self.path.exists():
                with suppress(OSError):
                    lock.unlink(missing_ok=True)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _opened(lock: Path, folder: Path) -> int | None:
    """A lock file, made where it is not there yet; else the index's folder, which needs no writing; else None."""
    with suppress(OSError, Refused):
        make_folder(lock.parent)
        return lock_file(lock)
    with suppress(OSError):
        return os.open(folder, os.O_RDONLY)
    return None


def entry_path(target_id: str, fault_id: str) -> Path:
    """Where the index of open faults keeps a fault."""
    return open_faults_dir(target_id) / f"{file_name(fault_id)}.json"


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
    """Open the index entry and write PLANNED, before anything is touched.

    Raises Refused where the state folder is on a disk that does not keep whose a file is: undo would not trust it.
    """
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
        "process": myself().to_json(),
        "version": __version__,
        "t0_ns": run.clock.t0_ns,
        "journal": str(run.faults_path),
        "run": str(run.path),
    }
    path = entry_path(target.id, request.fault_id)
    write_json(path, entry)
    why = not_ours(path)
    if why is not None:
        path.unlink()
        raise Refused(f"undo would not trust its own entry ({path}: {why}): point XDG_STATE_HOME elsewhere")
    append_line(run.faults_path, _line(entry, "chaos"), sync=True)
    sync_folder(run.path)
    return OpenFault(path, entry)


def _line(entry: Mapping[str, Any], by: str) -> dict[str, Any]:
    return FaultLine(
        t=round((time.monotonic_ns() - int(entry["t0_ns"])) / 1e9, 6),
        wall=wall_time(),
        fault=entry["fault"],
        k=entry["k"],
        state=entry["state"],
        kind=entry["request"]["kind"],
        platform=entry["target"]["platform"],
        target_id=entry["target"]["id"],
        instances=tuple({name: one[name] for name in ("id", "started", "name")} for one in entry["instances"]),
        undo={key: value for key, value in entry["plan"].items() if key != "private"},
        one_shot=entry["one_shot"],
        max_duration_s=entry["max_duration_s"],
        by=by,
        **(_ended(entry) if entry["state"] == "ENDED" else {}),
    ).to_json()


def _ended(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Until when a fault that ended early was seen, and what was seen then."""
    seen_s = (int(entry["seen_ns"]) - int(entry["t0_ns"])) / 1e9
    return {"seen_until": round(seen_s, 6), "what": entry["ended"]}


def pause_for_test(moment: str) -> None:
    """Stop this process here when a test of dying processes asked for it."""
    if os.environ.get(PAUSE_AT_ENV) == moment:
        os.kill(os.getpid(), signal.SIGSTOP)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return f"{type(error).__name__}: {error}"


def _entry(path: Path) -> dict[str, Any] | None:
    """An index entry, or None when it has gone meanwhile. Raises NotUndone for one that cannot be read."""
    try:
        why = not_ours(path)
        if why is not None:
            raise ValueError(f"{why}, and undo would start what it names")
        entry: dict[str, Any] | None = read_json(path)
        if entry is None:
            return None
        missing = [key for key in _NEEDED if key not in entry]
        if missing:
            by = entry.get("version", "another version")
            raise KeyError(f"it lacks {', '.join(missing)}; faultload {by} wrote it, this is {__version__}")
        return {**entry, "planned_ns": int(entry["planned_ns"]), "run": str(entry["run"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        said = error.args[0] if isinstance(error, KeyError) else error
        raise NotUndone(
            f"{path} names an open fault but cannot be read ({said}): look at the target, then remove the file"
        ) from None


def open_faults(target_id: str | None = None, run: Path | None = None) -> list[OpenFault]:
    """Open faults, last in first; of one target or one run when asked.

    Raises NotUndone when an entry cannot be read: nothing may go on as if it were not there.
    """
    found, unreadable = readable_faults(target_id, run)
    if unreadable:
        raise NotUndone("; ".join(unreadable))
    return found


def readable_faults(target_id: str | None = None, run: Path | None = None) -> tuple[list[OpenFault], list[str]]:
    """Open faults, last in first, and what is wrong with the entries that cannot be read."""
    root = state_home() / "open"
    folders = [open_faults_dir(target_id)] if target_id is not None else sorted(root.glob("*"))
    found, unreadable = [], []
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            try:
                entry = _entry(path)
            except NotUndone as error:
                unreadable.append(str(error))
                continue
            if entry is not None and (run is None or Path(entry["run"]).resolve() == run.resolve()):
                found.append(OpenFault(path, entry))
    return sorted(found, key=lambda fault: int(fault.entry["planned_ns"]), reverse=True), unreadable


def still_open(run: RunDirectory) -> list[OpenFault]:
    """The open faults of a run, but for those whose undo is on record; their entries go.

    An entry stays behind on a read-only disk, or where its process was killed before it could take it away.
    """
    found, _ = readable_faults(run=run.path)
    with suppress(OSError, InvalidInput):
        lines = run.faults() if found else []
        times = Counter((line.label, line.state) for line in lines)
        undone = [one for one in found if 0 < times[one.label, "PLANNED"] <= times[one.label, "UNDONE"]]
        for fault in undone:
            fault.forget()
        return [one for one in found if one not in undone]
    return found


def entry_stays(fault: OpenFault) -> str:
    """What to do about the entry of a fault that is undone, in a state folder that cannot be written."""
    return f"{fault.path} cannot be removed: `faultload undo` removes it when that folder can be written again"


def others_open() -> list[str]:
    """What other users of this machine left open where they keep it by default, as far as this user may look."""
    found = {}
    for user in pwd.getpwall():
        home = Path(user.pw_dir) / ".local" / "state" / "faultload"
        if user.pw_uid != os.geteuid() and home != state_home():
            with suppress(OSError):
                found[home] = (user.pw_name, len([*home.glob("open/*/*.json")]))
    return [
        f"{number} open fault{'s' if number > 1 else ''} of {name} in {home}: `faultload undo` as {name}"
        for home, (name, number) in found.items()
        if number
    ]
