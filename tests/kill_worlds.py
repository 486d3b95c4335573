"""Light systems for the kill matrix: a target with faults, what it looks like, and what of it is not ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import ProxyHandler, build_opener

sys.path.insert(0, str(Path(__file__).parent / "integration" / "run"))

sys.path.insert(0, str(Path(__file__).parent / "integration" / "faults"))

import psutil
import psycopg
import yaml
from database_pair import RunningPair
from own_processes import PREFORK
from standin import SERVER, TOKEN, StandIn, Workspace, processes_in, wait_for

from faultload.errors import FaultloadError
from faultload.host.processes import ProcessId, identify, state_of
from faultload.platforms.databases.patroni import cluster_problems
from faultload.platforms.local.links import LinkProxy

_direct = build_opener(ProxyHandler({}))
_SLOW_S = 0.2
_HELPERS = ("stress", "holder", "filler", "burn")
"""Parts of the command lines of processes that faults leave working."""

Facts = dict[str, Any]


class World(ABC):
    """A running target with foreign faults beside it; `facts` must be after a cell as they were before."""

    platform: ClassVar[str]
    shows: ClassVar[Mapping[str, Mapping[str, Any]]]
    """The kinds that this world can show, and their arguments."""
    target_file: Path
    duration_s = 4.0
    """Of a fault: longer than it takes to inject it, and short, as one-shot faults have it to come back."""

    def arguments(self, kind: str) -> dict[str, Any]:
        """The arguments of a fault here."""
        return dict(self.shows[kind])

    @abstractmethod
    def facts(self) -> Facts:
        """What the target looks like from outside, and what of others is beside it; equal when all is as before."""

    def traces(self) -> Facts:
        """What a fault changes for good, as a restart does: it shows one that is over by itself already."""
        return {}

    @abstractmethod
    def end(self) -> None:
        """End what was started."""


NOTHING_LASTS = {
    "restart": "its instances are back when it is active",
    "reset_connections": "over at once",
    "switchover_database": "another member leads and nothing is broken",
    "failover_database": "another member may lead, and the old one follow it, when it is active",
}
"""Kinds of which nothing stays to be seen while they are open."""


_STORE, _LINK = {"service": "store"}, {"link": "web -> store"}


class LocalWorld(World):
    """Plain servers behind a link proxy; beside them a stopped process, a link fault and a file of others."""

    platform = "local"
    shows: ClassVar = {
        "kill": _STORE,
        "terminate": {**_STORE, "grace_s": 2},
        "restart": _STORE,
        "pause": _STORE,
        "partition": _LINK,
        "isolate": {"service": "cache"},
        "latency": {**_LINK, "delay_ms": 400},
        "bandwidth": {**_LINK, "bytes_per_s": 200},
        "reset_connections": _LINK,
        "http_error": {**_LINK, "status": 503},
        "cpu_stress": {**_STORE, "workers": 1, "load": 0.3},
        "memory_stress": {**_STORE, "bytes": "16MB"},
        "io_stress": _STORE,
        "fill_disk": _STORE,
    }

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.standin = self._standin(workspace.folder)
        self.target_file = self.standin.target_file
        self.proxy = LinkProxy(f"http://127.0.0.1:{self.standin.control}", TOKEN)
        self.disk = Path(tempfile.mkdtemp(prefix="kill-matrix-", dir="/dev/shm"))
        self.mounted = os.geteuid() == 0  # a disk of its own, that cells beside this one do not fill
        if self.mounted:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "kill-matrix", self.disk], check=True)
        self.written = workspace.folder / "written"  # memory is no disk that could be slow
        self.written.mkdir()
        (self.disk / "of-others").write_text("stays")
        self.bystander = _stopped_process()
        self.proxy.add(
            "cache -> store", "of-others#1@elsewhere", "latency", {"delay_ms": 1.0, "jitter_ms": 0.0}, 3600
        )
        try:
            wait_for(lambda: set(self.facts()["links"].values()) == {"200"}, 30, "the links pass on")
        except BaseException:
            self.end()
            raise

    def _standin(self, folder: Path) -> StandIn:
        return StandIn(folder, {})

    def arguments(self, kind: str) -> dict[str, Any]:
        found = super().arguments(kind)
        if kind == "io_stress":
            found["path"] = str(self.written)
        if kind == "fill_disk":
            found |= {"path": str(self.disk), "floor": shutil.disk_usage(self.disk).free - 32_000_000}
        return found

    def facts(self) -> Facts:
        return {
            "ready": {name: status_of(f"http://127.0.0.1:{port}/health") for name, port in self._ports().items()},
            "link faults": {
                link: [fault["id"] for fault in entry["faults"]] for link, entry in self.proxy.links().items()
            },
            "links": {
                "web -> store": status_of(f"http://127.0.0.1:{self.standin.to_store}/"),
                "web -> cache": status_of(f"http://127.0.0.1:{self.standin.to_cache}/"),
            },
            "files": sorted(path.name for folder in (self.disk, self.written) for path in folder.rglob("*")),
            "helpers": helpers_in(self.workspace.folder),
            "bystander": state_of_pid(self.bystander.pid),
            "file of others": (self.disk / "of-others").read_text(),
        }

    def _ports(self) -> dict[str, int]:
        one = self.standin
        return {"web:1": one.web[0], "web:2": one.web[1], "store": one.store, "cache": one.cache}

    def end(self) -> None:
        self.bystander.kill()
        self.bystander.wait()
        self.standin.end()
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.disk], check=True)
        shutil.rmtree(self.disk, ignore_errors=True)


class OtherStore(StandIn):
    """The stand-in with another store: a process tree, or one that a supervisor of its own brings back."""

    def __init__(self, folder: Path, argv: Sequence[str], **declared: Any) -> None:
        self._argv, self._declared = argv, declared
        super().__init__(folder, {})

    def _with_port(self, part: str) -> str:
        return part.replace("{port}", str(self.store))

    def start_server(self, port: int) -> ProcessId:
        if port != self.store:
            return super().start_server(port)
        found = identify(self._start([self._with_port(part) for part in self._argv]).pid)
        assert found is not None
        return found

    def write_target(self, **changes: Any) -> None:
        super().write_target(**changes)
        target = yaml.safe_load(self.target_file.read_text())
        target["services"]["store"] = {"ports": [self.store], "health": "/health", **self._declared}
        self.target_file.write_text(yaml.safe_dump(target))

    def of_store(self) -> list[psutil.Process]:
        """The processes of the store, however they were started."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            argv = process.info["cmdline"] or []
            if str(self.store) in argv and (PREFORK in argv or SERVER in argv):
                found.append(process)
        return found

    def end(self) -> None:
        super().end()
        for process in self.of_store():
            process.kill()


class _StoreWorld(LocalWorld):
    """A world whose store shows by its pids that a fault was there: it may be back before anybody looks."""

    standin: OtherStore

    def traces(self) -> Facts:
        return {"pids of the store": sorted(process.pid for process in self.standin.of_store())}


class TreeWorld(_StoreWorld):
    """The store is a master with two workers: faults take the whole tree."""

    shows: ClassVar = {
        kind: LocalWorld.shows[kind]
        for kind in ("kill", "terminate", "restart", "pause", "cpu_stress", "memory_stress")
    }

    def _standin(self, folder: Path) -> OtherStore:
        return OtherStore(folder, [sys.executable, PREFORK, "{port}", "2"])

    def facts(self) -> Facts:
        states = []
        for process in self.standin.of_store():
            with suppress(psutil.Error):
                states.append(process.status() == psutil.STATUS_STOPPED)
        return {**super().facts(), "stopped processes of the store": states}


class WorkerWorld(TreeWorld):
    """The store is a master with two workers: faults take one worker."""

    shows: ClassVar = {kind: {**LocalWorld.shows[kind], "worker": True} for kind in ("kill", "terminate", "pause")}


class SupervisedWorld(_StoreWorld):
    """The store has a supervisor of its own, which waits before it starts it again: there must never be two."""

    shows: ClassVar = {kind: LocalWorld.shows[kind] for kind in ("kill", "terminate", "restart", "pause")}

    def _standin(self, folder: Path) -> OtherStore:
        loop = f"while :; do {sys.executable} {SERVER} --port {{port}}; sleep 2; done"
        return OtherStore(folder, ["sh", "-c", loop], supervisor="external")

    def facts(self) -> Facts:
        supervisor = self.standin.servers[self.standin.store].pid
        parents = []
        for process in self.standin.of_store():
            with suppress(psutil.Error):
                parents.append(process.ppid() == supervisor)
        return {**super().facts(), "started by the store's supervisor": parents}


class DatabaseWorld(World):
    """A PostgreSQL pair under Patroni, a web server for the load, and a stopped process of others."""

    platform = "local"
    shows: ClassVar = {
        kind: {"service": "db"}
        for kind in ("failover_database", "switchover_database", "pause_replication", "exhaust_connections")
    }

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        with ExitStack() as made:
            self.standin = StandIn(workspace.folder, {})
            made.callback(self.standin.end)
            self.pair = self._pair()
            made.callback(self.pair.stop)
            self.standin.write_target(**self._declared())
            self.target_file = self.standin.target_file
            self.bystander = _stopped_process()
            made.callback(self._end_bystander)
            self.pair.wait_whole()
            made.pop_all()

    def _pair(self) -> Any:
        return RunningPair(self.workspace.folder / "pair")

    def _declared(self) -> dict[str, Any]:
        """What the target file says of it."""
        web = {"command": self.standin.command(), "ports": list(self.standin.web), "health": "/health"}
        return {"services": {"web": web, "db": {"patroni": self.pair.urls, "dsn": self.pair.dsn}}, "links": {}}

    def facts(self) -> Facts:
        return {
            "pair": cluster_problems("db", self.pair.urls),
            "maintenance": self._asked(self.pair.paused),
            "write": self._asked(self._write),
            "replay": self._asked(self._replays),
            "sessions of ours": self._asked(self._sessions),
            "helpers": helpers_in(self.workspace.folder),
            "bystander": state_of_pid(self.bystander.pid),
        }

    @staticmethod
    def _asked(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (FaultloadError, OSError, StopIteration, psycopg.Error):
            return "no answer"

    def _write(self) -> str:
        """A write with the synchronous commit that the pair is configured for."""
        with self.pair.sql(self.pair.port_of(leads=True)) as session:
            session.execute("SET statement_timeout = 1000")
            session.execute("SET synchronous_commit = on")
            session.execute("INSERT INTO kept VALUES (1)")
        return "done"

    def _replays(self) -> bool:
        """Whether the standby shows what the leader has just written."""
        leader, standby = self.pair.port_of(leads=True), self.pair.port_of(leads=False)
        with self.pair.sql(leader) as session:
            session.execute("SET statement_timeout = 1000")
            session.execute("INSERT INTO kept VALUES (2)")
        wanted = self.pair.ask(leader, "SELECT count(*) FROM kept")
        for _ in range(20):
            if self.pair.ask(standby, "SELECT count(*) FROM kept") >= wanted:
                return True
            time.sleep(0.05)
        return False

    def _sessions(self) -> int:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'faultload%'"
        return int(self.pair.ask(self.pair.port_of(leads=True), statement))

    def _end_bystander(self) -> None:
        self.bystander.kill()
        self.bystander.wait()

    def end(self) -> None:
        self._end_bystander()
        self.pair.stop()
        self.standin.end()


def _stopped_process() -> subprocess.Popen[bytes]:
    """A process of somebody else's, stopped; in a session of its own, as the kernel wakes an orphaned group's."""
    process = subprocess.Popen(["sleep", "3600"], env={"PATH": os.environ["PATH"]}, start_new_session=True)
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: state_of_pid(process.pid) == "T", 10.0, "it is stopped")
    return process


def state_of_pid(pid: int) -> str | None:
    """The state letter of a process."""
    found = identify(pid)
    return None if found is None else state_of(found)


def command_lines(folder: Path) -> list[str]:
    """The command lines of the processes of a workspace's runs; those that end meanwhile are left out."""
    found = []
    for process in processes_in(folder):
        with suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return sorted(found)


def helpers_in(folder: Path) -> list[str]:
    """Processes that a fault left working, by command line."""
    return [argv for argv in command_lines(folder) if any(part in argv for part in _HELPERS)]


def status_of(url: str) -> str:
    """What a GET gives: its status, `slow`, or `nothing`; the best of three, as the machine may be busy."""
    seen = "nothing"
    for _ in range(3):
        started = time.monotonic()
        try:
            with _direct.open(url, timeout=1.0) as response:
                response.read()
                took = time.monotonic() - started
                seen = str(response.status) if took < _SLOW_S else "slow"
        except (OSError, HTTPException) as error:
            seen = str(getattr(error, "code", "nothing"))
        if seen in ("200", "nothing"):
            break
    return seen
