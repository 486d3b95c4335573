"""The processes a conductor starts for a run: recorded, told to begin, told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from faultload.host.processes import Process, Spawn, identify
from faultload.record.directory import RUN_ENV, RunDirectory
from faultload.record.logs import spawn
from faultload.record.orders import CONTROL, ORDER_ENV, ChaosOrder
from faultload.run.injections import Injection
from faultload.spec.target import TARGET_ENV

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


@dataclass
class Children:
    """All processes of one run; the pipe whose end tells chaos processes that the conductor is gone."""

    run: RunDirectory
    target_file: Path | None
    approved: Sequence[str] = ()
    """The ids of targets that a person confirmed for this run."""
    spawn_load: Spawn = spawn
    spawn_chaos: Spawn = spawn
    load: list[Child] = field(default_factory=list)
    chaos: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._life_reading, self._life_writing = os.pipe()

    def _environment(self) -> dict[str, str]:
        env = {RUN_ENV: str(self.run.path)}
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
        argv += ["--control-file", str(self.run.write_control(CONTROL))]
        for name, value in injection.variables.items():
            argv += ["--var", f"{name}{_type_of(value)}={value}"]
        argv.append(str(injection.experiment))
        order = ChaosOrder(
            process=injection.process,
            fault=injection.fault,
            k=injection.k,
            at_s=injection.at_s,
            overlap=injection.overlap,
            seed=injection.seed,
            by_chance=injection.by_chance,
            max_duration_s=injection.max_duration_s,
            life_fd=self._life_reading,
            approved=tuple(self.approved),
        )
        env = {**self._environment(), ORDER_ENV: str(self.run.write_order(injection.process, order))}
        process = self.spawn_chaos(
            argv, log=self.run.log(injection.process), env=env, cwd=self.run.path, pass_fds=[self._life_reading]
        )
        self.chaos.append(Child(injection.process, process))
        self.record(injection.process, process.pid)

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
