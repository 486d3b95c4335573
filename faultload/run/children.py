"""The processes a conductor starts for a run: recorded, told to begin, told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from faultload.chaos.session import (
    AT_ENV,
    CHANCE_ENV,
    FAULT_ENV,
    K_ENV,
    LIFE_ENV,
    MAX_DURATION_ENV,
    OVERLAP_ENV,
    SEED_ENV,
    TARGET_ENV,
    process_name,
)
from faultload.host.processes import Process, Spawn, identify, spawn
from faultload.record.directory import RUN_ENV, RunDirectory

LEAD_S = 12.0
"""How long before its fault a chaos process is started: it waits inside its first action."""


@dataclass
class Child:
    """A process of the run, known by its name in the record."""

    name: str
    process: Process
    told_to_stop: bool = False

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def interrupt(self) -> None:
        """SIGINT, once; Chaos Toolkit goes on after a SIGTERM."""
        if self.running and not self.told_to_stop:
            self.told_to_stop = True
            self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        if self.running:
            self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5.0)

    def tell(self, line: str) -> None:
        """Write an order to the child's standard input."""
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.write(line.encode() + b"\n")
                self.process.stdin.flush()


@dataclass(frozen=True, slots=True)
class Injection:
    """One injection of a fault: which experiment, when, and what is laid over its configuration."""

    fault: str
    k: int
    experiment: Path
    at_s: float
    variables: Mapping[str, object]
    overlap: bool
    max_duration_s: float
    seed: int = 1
    by_chance: bool = False

    @property
    def name(self) -> str:
        return process_name(self.fault, self.k)

    @property
    def label(self) -> str:
        return f"{self.fault}#{self.k}"

    def to_json(self) -> dict[str, object]:
        """What `run.json` says of it before anything starts."""
        return {
            "fault": self.fault,
            "k": self.k,
            "at_s": self.at_s,
            "by_chance": self.by_chance,
            "process": self.name,
        }


@dataclass
class Children:
    """All processes of one run; the pipe whose end tells chaos processes that the conductor is gone."""

    run: RunDirectory
    target_file: Path | None
    env: Mapping[str, str]
    spawn_load: Spawn = spawn
    spawn_chaos: Spawn = spawn
    load: list[Child] = field(default_factory=list)
    chaos: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._life_reading, self._life_writing = os.pipe()

    def _environment(self) -> dict[str, str]:
        env = {**self.env, RUN_ENV: str(self.run.path)}
        if self.target_file is not None:
            env[TARGET_ENV] = str(self.target_file)
        return env

    def record(self, name: str, pid: int) -> None:
        """Write a process into the record, so that a warden or `undo` can end it."""
        process = identify(pid)
        if process is not None:
            self.run.event("process", process=name, state="started", pid=pid, started=process.started)

    def start_load(self, workers: int) -> None:
        """Start the load processes; each says `ready` in the record and waits for `start`."""
        for worker in range(workers):
            name = f"load-{worker}"
            argv = [sys.executable, "-m", "faultload.load.worker", str(self.run.path), str(worker)]
            process = self.spawn_load(argv, log=self.run.log(name), env=self._environment(), stdin=subprocess.PIPE)
            self.load.append(Child(name, process))
            self.record(name, process.pid)

    def start_chaos(self, injection: Injection) -> None:
        """Start the Chaos Toolkit process of one injection; its first action waits for the moment."""
        argv = [sys.executable, "-m", "chaostoolkit", "--no-version-check", "--no-log-file", "run"]
        argv += ["--journal-path", str(self.run.chaos_journal(injection.fault, injection.k))]
        for name, value in injection.variables.items():
            argv += ["--var", f"{name}{_type_of(value)}={value}"]
        argv.append(str(injection.experiment))
        env = {
            **self._environment(),
            FAULT_ENV: injection.fault,
            K_ENV: str(injection.k),
            AT_ENV: str(injection.at_s),
            OVERLAP_ENV: "1" if injection.overlap else "0",
            SEED_ENV: str(injection.seed),
            CHANCE_ENV: "1" if injection.by_chance else "0",
            MAX_DURATION_ENV: str(injection.max_duration_s),
            LIFE_ENV: str(self._life_reading),
        }
        process = self.spawn_chaos(
            argv, log=self.run.log(injection.name), env=env, cwd=self.run.path, pass_fds=[self._life_reading]
        )
        self.chaos.append(Child(injection.name, process))
        self.record(injection.name, process.pid)

    def verify_writes(self) -> Child:
        """Start the process that reads acknowledged writes back."""
        argv = [sys.executable, "-m", "faultload.load.verify", str(self.run.path)]
        process = self.spawn_load(argv, log=self.run.log("verify"), env=self._environment())
        self.record("verify", process.pid)
        return Child("verify", process)

    def close(self) -> None:
        """End what still runs, without asking."""
        for child in [*self.chaos, *self.load]:
            child.kill()
        for descriptor in (self._life_reading, self._life_writing):
            with suppress(OSError):
                os.close(descriptor)


def _type_of(value: object) -> str:
    """Chaos Toolkit's type mark of a `--var`."""
    if isinstance(value, bool):
        return ":bool"
    if isinstance(value, int):
        return ":int"
    return ":float" if isinstance(value, float) else ""
