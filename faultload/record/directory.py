"""The run directory: the one place that knows its file names and formats."""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from faultload.errors import InvalidInput
from faultload.host.state import read_json, write_json

RUN_ENV = "FAULTLOAD_RUN"
SECRETS_ENV = "FAULTLOAD_SECRETS"
LOG_LIMIT_BYTES = 10_000_000
FAULT_STATES = ("PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE", "UNDO_FAILED")
OPEN_STATES = ("PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDO_FAILED")
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
RECORD = 1
"""What a record promises, as run.json says it. 1: every planned injection, and what of a fault the judge needs."""
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


class Redactor:
    """Replaces secret values in whatever is written."""

    def __init__(self, names: Iterable[str]) -> None:
        values = sorted(((os.environ.get(name, ""), name) for name in names), key=lambda one: -len(one[0]))
        self._pairs = [(value, f"***{name}***") for value, name in values if len(value) >= 8]

    @classmethod
    def from_environment(cls) -> Redactor:
        return cls(filter(None, os.environ.get(SECRETS_ENV, "").split(",")))

    @property
    def knows_secrets(self) -> bool:
        return bool(self._pairs)

    def text(self, text: str) -> str:
        for value, mark in self._pairs:
            text = text.replace(value, mark)
        return text

    def file(self, path: Path) -> None:
        """Replace secrets in a file that another program wrote, also where JSON or Python escaped them."""
        if self._pairs:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            clean = text
            for value, mark in self._pairs:
                for form in _escaped(value):
                    clean = clean.replace(form, mark)
            if clean != text:
                path.write_text(clean, encoding="utf-8", errors="surrogateescape")


def _escaped(text: str) -> Iterator[str]:
    """The forms that a text takes in a log or in a JSON file; the longest first."""
    forms = {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    yield from sorted(forms, key=len, reverse=True)


def append_line(path: Path, value: Mapping[str, Any], *, sync: bool = False) -> None:
    """Append one JSON line with one write under a lock; with `sync` it is on disk at return."""
    line = json.dumps(_plain(value), separators=(",", ":")) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _ends_torn(path):
            os.write(descriptor, b"\n")
        os.write(descriptor, line.encode())
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ends_torn(path: Path) -> bool:
    """Whether the file's last line was cut off by a crash."""
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file; a torn line is left out."""
    try:
        with open(path, "rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except ValueError:
                    continue
                if isinstance(value, dict):
                    yield value
    except FileNotFoundError:
        return


class LineTail:
    """Reads the JSON lines that were appended since the last look; a line under way waits for the next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """New whole lines since the last call."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = []
        for line in whole.splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found


def _plain(value: Any) -> Any:
    """A value as it may be written: without secrets, and "inf", "-inf" and null for what JSON does not have.

    Secrets are replaced before JSON escapes hide them.
    """
    return _cleaned(value, Redactor.from_environment())


def _cleaned(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {redactor.text(str(key)): _cleaned(item, redactor) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, redactor) for item in value]
    return value


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
            (path / "logs").mkdir(parents=True)
        except OSError as error:
            raise InvalidInput(f"cannot make the run directory {path}: {error.strerror}") from None
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> RunDirectory:
        """Open a run directory. Raises InvalidInput when it is none."""
        run = cls(path)
        if run.info() is None:
            raise InvalidInput(f"{path} is not a run directory: it has no run.json")
        return run

    @classmethod
    def from_environment(cls) -> RunDirectory | None:
        """The run that this process belongs to, or None outside a run."""
        path = os.environ.get(RUN_ENV)
        return cls(Path(path)) if path else None

    # -- run.json

    def info(self) -> dict[str, Any] | None:
        """The content of run.json, or None."""
        value = read_json(self.path / "run.json")
        return value if isinstance(value, dict) else None

    def begin(self, fields: Mapping[str, Any]) -> Clock:
        """Write run.json before anything starts, with the run's zero."""
        t0 = {"monotonic_ns": time.monotonic_ns(), "wall": wall_time()}
        fields = {
            "record": RECORD,
            **fields,
            "versions": versions(),
            "machine": machine(),
            "t0": t0,
            "started": t0["wall"],
        }
        self.update(fields)
        self._clock = Clock(int(str(t0["monotonic_ns"])))
        return self._clock

    def update(self, fields: Mapping[str, Any]) -> None:
        """Add fields to run.json."""
        write_json(self.path / "run.json", _plain({**(self.info() or {}), **fields}), mode=0o644)

    @property
    def clock(self) -> Clock:
        if self._clock is None:
            info = self.info()
            if info is None:
                raise InvalidInput(f"{self.path} is not a run directory: it has no run.json")
            self._clock = Clock(int(info["t0"]["monotonic_ns"]))
        return self._clock

    # -- events and faults

    def event(self, kind: str, **fields: Any) -> None:
        """Append to events.jsonl; `t` is now unless it is given."""
        line = {"t": round(self.clock.now(), 6), "wall": wall_time(), "kind": kind, **fields}
        append_line(self.path / "events.jsonl", line)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        lines = read_lines(self.path / "events.jsonl")
        return [line for line in lines if kind is None or line.get("kind") == kind]

    @property
    def faults_path(self) -> Path:
        return self.path / "faults.jsonl"

    def faults(self) -> list[dict[str, Any]]:
        return list(read_lines(self.faults_path))

    # -- other files

    def log(self, process: str) -> Path:
        return self.path / "logs" / f"{process}.log"

    def chaos_journal(self, name: str, k: int) -> Path:
        return self.path / f"journal-{name}-{k}.json"

    @property
    def verdict_path(self) -> Path:
        return self.path / "verdict.json"

    def write_verdict(self, verdict: Mapping[str, Any]) -> None:
        text = json.dumps(_plain(verdict), indent=2)
        self.write_text("verdict.json", text + "\n")

    def verdict(self) -> dict[str, Any] | None:
        value = read_json(self.verdict_path)
        return value if isinstance(value, dict) else None

    def write_text(self, name: str, text: str) -> Path:
        """Write a result file (report.html, junit.xml, summary.md, verdict.json)."""
        path = self.path / name
        path.write_text(Redactor.from_environment().text(text))
        return path

    @property
    def write_checks_path(self) -> Path:
        """writes.json: what each verifier found of the acknowledged keys."""
        return self.path / "writes.json"

    def redact_foreign_files(self) -> None:
        """Replace secrets in what other programs wrote: logs, Chaos Toolkit journals, what verifiers found."""
        redactor = Redactor.from_environment()
        for pattern in ("logs/*.log", "journal-*.json", self.write_checks_path.name):
            for path in self.path.glob(pattern):
                redactor.file(path)

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
