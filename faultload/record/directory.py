"""The run directory: the one place that knows its file names and formats."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from faultload.errors import InvalidInput, Mistake, Refused
from faultload.host.private import close_to_others, make_folder, neither_file_nor_folder, replace_text
from faultload.host.state import read_json, write_json
from faultload.record.entry import DAMAGED, Entry
from faultload.record.events import Event, event_of, events_in
from faultload.record.faults import FaultLine
from faultload.record.info import RunInfo
from faultload.record.lines import append_line, numbered_lines
from faultload.record.redactor import Redactor, plain
from faultload.record.visible import visible
from faultload.record.writes import WriteChecks

E = TypeVar("E", bound=Event)
RUN_ENV = "FAULTLOAD_RUN"
LOG_LIMIT_BYTES = 10_000_000
OUTCOMES = (
    "ok",
    "http_error",
    "check_failed",
    "timeout",
    "connect_error",
    "reset",
    "protocol_error",
    "client_error",
    "unfinished",
    "dropped",
)
RECORD = 2
"""What a record promises, as run.json says it. 1: every planned injection, and what of a fault the judge needs.
2: the counts of everything that tables hold, in `events.jsonl`."""
_RESULTS = ("verdict.json", "junit.xml", "summary.md", "report.html")
_PACKAGES = ("faultload", "locust", "chaostoolkit-lib", "numpy", "scipy", "pyarrow")


@dataclass(frozen=True, slots=True)
class Clock:
    """The run's clock: CLOCK_MONOTONIC since the run's zero."""

    t0_ns: int

    def now_ns(self) -> int:
        return time.monotonic_ns() - self.t0_ns

    def now(self) -> float:
        """Seconds since the run's zero."""
        return self.now_ns() / 1e9


class RunDirectory:
    """One run's folder; open it anywhere, any number of times."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._clock: Clock | None = None

    @classmethod
    def create(cls, path: Path) -> RunDirectory:
        """Make a new run directory. Raises InvalidInput when something is in it already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InvalidInput(f"{path} is not empty: a run directory must be new or empty")
        try:
            make_folder(path / "logs")
            close_to_others(path)
        except OSError as error:
            raise InvalidInput(f"cannot make the run directory {path}: {error.strerror}") from None
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> RunDirectory:
        """Open a run directory. Raises InvalidInput when it is none, or when its run.json cannot be read."""
        run = cls(path)
        if not run.info_path.exists():
            raise InvalidInput(f"{path} is not a run directory: it has no run.json")
        run.info()
        return run

    @classmethod
    def of_anybody(cls, path: Path) -> RunDirectory:
        """Open a run directory that may come from anybody, looking at what is in it before anything is read.

        Raises InvalidInput as `existing` does, and Refused for one with links, FIFOs or devices in it.
        """
        odd = neither_file_nor_folder(path.resolve()) if cls(path).info_path.exists() else None
        if odd is not None:
            raise Refused(f"{odd} is neither a file nor a folder: no run wrote it; remove it first")
        return cls.existing(path)

    @classmethod
    def from_environment(cls) -> RunDirectory | None:
        """The run that this process belongs to, or None outside a run."""
        path = os.environ.get(RUN_ENV)
        return cls(Path(path)) if path else None

    # -- run.json

    @property
    def info_path(self) -> Path:
        return self.path / "run.json"

    def info(self) -> RunInfo:
        """What run.json says; nothing where there is none. Raises InvalidInput for one that cannot be read."""
        return RunInfo.from_json(self._raw_info(), self.info_path)

    def _raw_info(self) -> dict[str, Any]:
        return _json_object(self.info_path) or {}

    def begin(self, fields: Mapping[str, Any]) -> Clock:
        """Write run.json before anything starts, with the run's zero."""
        zero = {"monotonic_ns": time.monotonic_ns(), "wall": wall_time()}
        also = {"versions": versions(), "machine": machine(), "t0": zero, "started": zero["wall"]}
        self.update({"record": RECORD, **fields, **also})
        return self.clock

    def update(self, fields: Mapping[str, Any]) -> None:
        """Set fields of run.json; all others stay as they were written, also those of a newer version."""
        value = plain({**self._raw_info(), **fields})
        RunInfo.from_json(value, self.info_path)  # nothing is written that cannot be read
        write_json(self.info_path, value)

    @property
    def clock(self) -> Clock:
        """The run's clock. Raises InvalidInput where run.json does not say when it began."""
        if self._clock is None:
            zero = RunDirectory.existing(self.path).info().t0
            if zero is None:
                raise InvalidInput(Mistake("this key is missing", file=self.info_path, key="t0", hint=DAMAGED))
            self._clock = Clock(zero.monotonic_ns)
        return self._clock

    # -- events and faults

    def event(self, kind: str, **fields: Any) -> None:
        """Append to events.jsonl; `t` is now unless it is given."""
        line = {"t": round(self.clock.now(), 6), "wall": wall_time(), "kind": kind, **fields}
        append_line(self.events_path, event_of(line).to_json())

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    def events(self) -> list[Event]:
        """Every event. Raises InvalidInput for one that cannot be read."""
        return self.events_of(Event)

    def events_of(self, kind: type[E]) -> list[E]:
        """The events of one class; others are not looked at. Raises InvalidInput for one that cannot be read."""
        return list(events_in(self.events_path, kind))

    @property
    def faults_path(self) -> Path:
        return self.path / "faults.jsonl"

    def faults(self) -> list[FaultLine]:
        """Every line of faults.jsonl. Raises InvalidInput for one that cannot be read."""
        path = self.faults_path
        return [FaultLine.from_json(value, path, number) for number, value in numbered_lines(path)]

    # -- other files

    def log(self, process: str) -> Path:
        return self.path / "logs" / f"{process}.log"

    def write_order(self, process: str, order: Entry) -> Path:
        """Write what a process of the run is told before it starts; returns the file."""
        path = self.path / "orders" / f"{process}.json"
        write_json(path, plain(order.to_json()))
        return path

    def write_control(self, control: Mapping[str, Any]) -> Path:
        """Write which control the chaos processes of the run load; returns the file."""
        path = self.path / "orders" / "control.json"
        write_json(path, control)
        return path

    def chaos_journal(self, name: str, k: int) -> Path:
        return self.path / f"journal-{name}-{k}.json"

    @property
    def verdict_path(self) -> Path:
        return self.path / "verdict.json"

    def write_verdict(self, verdict: Mapping[str, Any]) -> None:
        text = json.dumps(plain(verdict), indent=2)
        self.write_text("verdict.json", text + "\n")

    def verdict(self) -> dict[str, Any] | None:
        value = read_json(self.verdict_path)
        return value if isinstance(value, dict) else None

    def withdraw_verdict(self) -> None:
        """Take away what was said of the run before it is judged anew: a judgement that fails leaves none."""
        for name in _RESULTS:
            (self.path / name).unlink(missing_ok=True)
        info = _json_object(self.info_path) or {}
        if info.get("verdict") is not None:
            self.update({"verdict": None})

    def write_text(self, name: str, text: str) -> Path:
        """Write a result file (report.html, junit.xml, summary.md, verdict.json)."""
        clean = visible(Redactor.from_environment().text(text))
        return replace_text(self.path / name, clean)

    @property
    def write_checks_path(self) -> Path:
        """writes.json: what each verifier found of the acknowledged keys."""
        return self.path / "writes.json"

    def write_checks(self) -> WriteChecks | None:
        """What writes.json says; None where nothing was read back. Raises InvalidInput where it cannot be read."""
        value = _json_object(self.write_checks_path)
        return None if value is None else WriteChecks.from_json(value, self.write_checks_path)

    def redact_foreign_files(self) -> None:
        """Replace secrets in what others wrote (logs, journals, what verifiers found); close it to other users."""
        redactor = Redactor.from_environment()
        for pattern in ("logs/*.log", "journal-*.json", self.write_checks_path.name):
            for path in self.path.glob(pattern):
                redactor.file(path)
                close_to_others(path)

    def trim_logs(self) -> None:
        """Cut every log that has passed its limit back to its last half, from a whole line on."""
        for path in self.path.glob("logs/*.log"):
            if path.stat().st_size > LOG_LIMIT_BYTES:
                with open(path, "rb+") as file:
                    file.seek(-LOG_LIMIT_BYTES // 2, os.SEEK_END)
                    tail = file.read()
                    tail = tail[tail.find(b"\n") + 1 :]
                    file.seek(0)
                    file.write(tail)
                    file.truncate()


def _json_object(path: Path) -> dict[str, Any] | None:
    """A JSON object of the record; None where there is no such file. Raises InvalidInput for anything else."""
    try:
        value = read_json(path)
    except ValueError as error:
        raise InvalidInput(Mistake(f"this is no JSON: {error}", file=path, hint=DAMAGED)) from None
    if not isinstance(value, dict | None):
        raise InvalidInput(Mistake("this is no JSON object", file=path, hint=DAMAGED))
    return value


def wall_time() -> str:
    """Now, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """What the run was made on, as far as it bears on the figures."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_bytes": memory,
    }
