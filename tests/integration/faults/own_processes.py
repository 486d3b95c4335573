"""Starts processes in folders of a test, finds them by these folders, and ends whatever is left there."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from light_system import HERE, wait_for

from faultload.host.processes import ProcessId, identify
from faultload.host.trees import stopped, tree
from faultload.platforms.local.matching import all_argv
from faultload.platforms.local.processes import http_status
from faultload.spec.target import TargetFile

PREFORK = str(HERE / "prefork_server.py")
PLAIN = str(HERE / "light_server.py")


class Processes:
    """Processes below one folder: those that a test starts, and those that an undo starts again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.target: TargetFile

    def declare(self, url_port: int | None = None, **service: Any) -> TargetFile:
        """A target with one service `web`, which faults are made on from now on."""
        value: dict[str, Any] = {
            "id": f"own-{self.folder.name}",
            "name": "own",
            "platform": "local",
            "services": {"web": service},
        }
        if url_port is not None:
            value["url"] = f"http://127.0.0.1:{url_port}"
        self.target = TargetFile.model_validate(value)
        return self.target

    def start(self, *argv: object, folder: str = "mine", **options: Any) -> ProcessId:
        where = self.folder / folder
        where.mkdir(exist_ok=True)
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                [str(part) for part in argv],
                cwd=where,
                **{"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options},
            )
        self.started.append(process)
        found = identify(process.pid)
        assert found is not None
        # a program that is just being executed has no arguments yet
        wait_for(lambda: not found.alive() or any(pid == found.pid for pid, _ in all_argv()), 5, "it is executed")
        return found

    def prefork(self, port: int, workers: int = 3, *options: str, folder: str = "mine") -> ProcessId:
        """A master with workers, all of which are there when this returns."""
        master = self.start(sys.executable, PREFORK, port, workers, *options, folder=folder)
        wait_for(lambda: len(tree([master])) == workers + 1 and answers(port), 20, "the workers serve")
        return master

    def here(self) -> list[ProcessId]:
        """The processes that run in the test's folders, oldest first."""
        return sorted(_in(self.folder), key=lambda process: (process.started, process.pid))

    def frozen(self) -> list[int]:
        return [process.pid for process in self.here() if stopped(process)]

    def end(self) -> None:
        while left := self.here():
            for process in left:
                process.signal(9)
            for one in self.started:
                with suppress(subprocess.TimeoutExpired):
                    one.wait(0.1)


def _in(folder: Path) -> Iterator[ProcessId]:
    for pid in psutil.pids():
        try:
            where = Path(f"/proc/{pid}/cwd").readlink()
        except OSError:
            continue
        if where.is_relative_to(folder) and (process := identify(pid)) is not None:
            yield process


def answers(port: int, host: str = "127.0.0.1", timeout_s: float = 0.5) -> bool:
    return http_status(f"http://{f'[{host}]' if ':' in host else host}:{port}/health", timeout_s) == 200


def opens(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), 0.5).close()
    except OSError:
        return False
    return True


def pids(processes: Sequence[ProcessId]) -> set[int]:
    return {process.pid for process in processes}
