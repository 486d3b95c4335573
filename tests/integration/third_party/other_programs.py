"""Starts a system of `workspace/` on free ports, plays its scenarios, and ends whatever is left of it.

A system is a folder with a `Procfile` (what to start), a target file written by hand, and its programs' own
configuration. The ports in all of them are replaced by free ones.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from faultload.errors import ExitCode
from faultload.host.processes import ProcessId, identify
from faultload.host.trees import stopped, tree
from faultload.opened import Run, open_run
from faultload.platforms.local.processes import instances_of, not_ready, process_of
from faultload.record.directory import RunDirectory
from faultload.record.measured import FaultTimes
from faultload.reference.kit.ports import free_ports
from faultload.spec.target import TargetFile, read_target, target_from_json

WORKSPACE = Path(__file__).parent / "workspace"
_PORT = re.compile(r"\b(8080|8081|6380|2[345]79|2[345]80|900[0-3])\b")
"""The ports that the files of the systems name."""
_READY_S = 60.0
_LATE = "the load generator was the limit"


@dataclass(frozen=True)
class Played:
    """A run that ended, and what it left in its run directory."""

    before: Mapping[str, set[ProcessId]]
    """The roots of each service when the run began."""
    path: Path
    exit_code: int
    output: str

    @cached_property
    def run(self) -> Run:
        return open_run(self.path)

    @cached_property
    def fault(self) -> FaultTimes:
        """Its only fault, which was injected, witnessed and undone."""
        states = [line.state for line in RunDirectory(self.path).faults()]
        assert states == ["PLANNED", "INJECTING", "ACTIVE", "UNDOING", "UNDONE"], self.output
        [fault] = self.run.faults
        assert fault.witnessed, self.output
        return fault

    @cached_property
    def requests(self) -> list[Request]:
        """Every request, in the order of their beginnings."""
        fault, table = self.fault, self.run.table("samples")
        columns = (table[name].to_pylist() for name in ("started_ns", "service_us", "outcome", "status"))
        assert fault.injected_at is not None and fault.undone_at is not None
        found = []
        for started_ns, service_us, outcome, status in zip(*columns, strict=True):
            started, seconds = started_ns / 1e9, service_us / 1e6
            meanwhile = started + seconds >= fault.injected_at and started <= fault.undone_at
            found.append(Request(meanwhile, outcome, status, seconds, started - fault.undone_at))
        return found

    def failed(self, *, during: bool) -> Counter[int | str]:
        """Requests that were not `ok` by status, or outcome where there was no answer: during the fault, or not."""
        return Counter(
            one.status or one.outcome for one in self.requests if one.outcome != "ok" and one.during is during
        )

    def most_failed_with(self, status: int, least: int) -> bool:
        """Whether at least so many requests got this status during the fault, and hardly one failed otherwise."""
        failed = self.failed(during=True)
        return failed[status] >= max(least, 0.9 * failed.total())

    def hurts_nobody_else(self, back_s: float = 0.0) -> bool:
        """Whether users who came before the fault or after it were served, but for a few on a busy machine.

        `back_s`: how long after the fault the system itself may take to serve again.
        """
        others = [one for one in self.requests if not one.during and not 0 <= one.after_s <= back_s]
        return len(others) > 100 and sum(one.outcome != "ok" for one in others) <= len(others) // 50


class Request(NamedTuple):
    """One request of the load."""

    during: bool
    """It had not ended when the fault was injected, and began before the fault was gone."""
    outcome: str
    status: int
    seconds: float
    after_s: float
    """From when the fault was gone to when it began; negative before."""


class System:
    """One system of the workspace, with a home and a state folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.workspace = folder / "workspace"
        self.folder = self.workspace / name
        shutil.copytree(WORKSPACE, self.workspace)
        self._use_free_ports()
        for file in self.folder.glob("links.json"):
            file.chmod(0o600)
        home = folder / "home"
        home.mkdir()
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        self._env = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(folder / "state"), "PATH": programs}
        self._started: list[subprocess.Popen[bytes]] = []

    def _use_free_ports(self) -> None:
        files = [file for file in self.folder.iterdir() if file.is_file()]
        named = sorted({port for file in files for port in _PORT.findall(file.read_text() + file.name)})
        given = dict(zip(named, map(str, free_ports(len(named))), strict=True))
        for file in files:
            file.write_text(_PORT.sub(lambda match: given[match[0]], file.read_text()))
            file.rename(file.with_name(_PORT.sub(lambda match: given[match[0]], file.name)))

    def start(self) -> None:
        """Start every line of the Procfile, and wait until all is ready; skips where a program is not installed."""
        lines = (self.folder / "Procfile").read_text().splitlines()
        commands = [shlex.split(line.partition(": ")[2]) for line in lines]
        for argv in commands:
            program = next(word for word in argv if not word.startswith("./"))
            if shutil.which(program, path=self._env["PATH"]) is None:
                pytest.skip(f"{program} is not installed (.ci/run installs it)")
        for argv in commands:
            with open(self.folder / "log", "ab") as log:
                self._started.append(
                    subprocess.Popen(
                        argv, cwd=self.folder, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                    )
                )
        self.wait_for(lambda: not self.problems(), "every service is ready")

    @property
    def target(self) -> TargetFile:
        return read_target(self.folder / "target.yaml")

    def without(self, service: str, *keys: str) -> TargetFile:
        """The target with less said of a service."""
        value = self.target.to_json()
        value["services"][service] = {k: v for k, v in value["services"][service].items() if k not in keys}
        return target_from_json(value)

    def port_of(self, service: str) -> int:
        """The first port of a service."""
        port = self.target.services[service].instance_ports[0]
        assert port is not None
        return port

    def problems(self) -> list[str]:
        """Why it is not ready, by what the target file declares."""
        return [problem for name in self.target.services for problem in not_ready(self.target, name)]

    def roots(self, service: str) -> set[ProcessId]:
        """The process that each instance of a service is, or the one above all of its processes."""
        return {process_of(one) for one in instances_of(self.target, service)}

    def processes(self, service: str) -> int:
        """How many processes the service has, with all below its roots."""
        return len(tree(list(self.roots(service))))

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds; fails the test, with what the programs wrote, if it never does."""
        deadline = time.monotonic() + _READY_S
        while not condition():
            if time.monotonic() > deadline:
                log = (self.folder / "log").read_text(errors="replace")[-3000:]
                pytest.fail(f"not within {_READY_S:g} s: {what}: {self.problems()}\n{log}")
            time.sleep(0.1)

    def play(self, scenario: str) -> Played:
        """Run a scenario of the system to its end; once more if this machine was too busy to bring the load.

        Skips the test where it was too busy twice: the run says that it cannot tell.
        """
        for name in ("first", "again"):
            played = self._played(scenario, name)
            if played.exit_code not in (ExitCode.INVALID, ExitCode.REFUSED) or _LATE not in played.output:
                return played
        pytest.skip(f"this machine was twice too busy for the load: {'; '.join(played.run.spoiled.reasons)}")

    def _played(self, scenario: str, name: str) -> Played:
        run = self.workspace / name
        self.wait_for(lambda: not self.problems(), "ready for a run")
        before = {service: self.roots(service) for service in self.target.services}
        done = self._faultload("run", f"scenarios/{self.name}/{scenario}.yaml", "--out", str(run))
        return Played(before, run, done.returncode, done.stdout + done.stderr)

    def is_as_before(self, processes: Mapping[str, int]) -> None:
        """Fails the test unless all is ready with so many processes, none frozen, and nothing of a run is left."""
        self.wait_for(
            lambda: not self.problems() and {name: self.processes(name) for name in processes} == dict(processes),
            f"as before: {processes}",
        )
        assert [one for one in _running_in(self.folder) if stopped(one)] == []
        beside = set(_running_in(self.workspace)) - set(_running_in(self.folder))
        assert beside == set(), "something of faultload is left"
        assert self._faultload("undo", "--list").stdout.strip() == "nothing is open"

    def _faultload(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "faultload", *arguments],
            cwd=self.workspace,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def end(self) -> None:
        """End every process of the system: those of the Procfile, those that an undo started, those of a run."""
        while left := list(_running_in(self.workspace)):
            for process in left:
                process.signal(9)
            for one in self._started:
                with suppress(subprocess.TimeoutExpired):
                    one.wait(0.1)


def _running_in(folder: Path) -> Iterator[ProcessId]:
    """The processes whose folder is this one, or below it."""
    for pid in psutil.pids():
        try:
            where = Path(f"/proc/{pid}/cwd").readlink()
        except OSError:
            continue
        if where.is_relative_to(folder) and (process := identify(pid)) is not None:
            yield process
