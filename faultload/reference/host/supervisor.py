"""The parent of a reference system's processes: starts them, restarts the dead, says when all is ready."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from faultload.host import state
from faultload.host.processes import ProcessId, identify, myself, spawn
from faultload.reference.host import startrecord, sweep
from faultload.reference.host.targetfile import write_target
from faultload.reference.kit.program import Program

log = logging.getLogger("supervisor")


class System(Protocol):
    """What a reference system's `system` module plans."""

    def programs(self) -> list[Program]: ...
    async def not_ready(self) -> str | None: ...
    async def when_ready(self) -> None: ...
    def target(self) -> dict[str, Any]: ...


class Supervisor:
    """One system in one folder."""

    def __init__(self, name: str, target_id: str, folder: Path, logs: Path, system: System) -> None:
        self._identity = {"id": target_id, "name": name, "platform": "local"}
        self._folder = folder
        self._logs = logs
        self._system = system
        self._started: dict[str, ProcessId] = {"supervisor": myself()}
        self._ready = False

    async def run(self) -> None:
        """Until SIGTERM; raises when a program dies before everything is ready."""
        lifeline = self._start_sweeper()
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        programs = self._system.programs()
        tasks = [asyncio.create_task(self._keep(program)) for program in programs]
        tasks.append(asyncio.create_task(self._become_ready()))
        tasks.append(asyncio.create_task(stop.wait()))  # type: ignore[arg-type]
        try:
            while not stop.is_set():
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                tasks = [task for task in tasks if task not in done]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            sweep.kill([p for name, p in self._started.items() if name not in ("supervisor", "sweeper")])
            os.close(lifeline)

    async def _keep(self, program: Program) -> None:
        """Start a program, again and again."""
        if program.after_port is not None:
            await _listened_on(program.after_port)
        while True:
            await self._until_free(program)
            child = spawn(
                program.argv,
                log=self._logs / f"{program.name}.log",
                env={**program.env, sweep.MARK: str(self._folder)},
                cwd=self._folder,
            )
            self._record(program.name, child)
            code = await _ended(child)
            log.warning("%s ended with %s", program.name, code)
            if not self._ready:
                raise RuntimeError(f"{program.name} ended with {code} before everything was ready")
            if program.takes_with_it is not None:
                mine = sweep.with_argument(sweep.belonging(self._folder), program.takes_with_it)
                await asyncio.to_thread(sweep.kill, mine)
            await asyncio.sleep(program.restart_after_s)

    async def _until_free(self, program: Program) -> None:
        """Until nobody else runs the program: an undo may have started it again before its time."""
        while await asyncio.to_thread(sweep.runs, self._folder, program.argv):
            await asyncio.sleep(0.5)

    async def _become_ready(self) -> None:
        """Wait for the whole path, then write the target file: others take it as the sign."""
        said: str | None = ""
        while True:
            missing = await self._system.not_ready()
            if missing is None:
                break
            if missing != said:
                log.info("%s", missing)
                said = missing
            await asyncio.sleep(0.2)
        await self._system.when_ready()
        self._ready = True
        write_target(self._folder / "target.yaml", {**self._identity, **self._system.target()})
        log.info("ready")

    def _start_sweeper(self) -> int:
        """A process that ends everything when we die: it reads from a pipe that only we can write to."""
        read, write = os.pipe()
        argv = [sys.executable, "-m", "faultload.reference.host.sweep", str(self._folder)]
        child = spawn(argv, log=self._logs / "sweeper.log", stdin=read)
        os.close(read)
        self._record("sweeper", child)
        return write

    def _record(self, name: str, child: subprocess.Popen[bytes]) -> None:
        process = identify(child.pid)
        if process is not None:
            self._started[name] = process
            found = {name: process.to_json() for name, process in self._started.items()}
            state.write_json(sweep.processes_file(self._folder), found)


async def _listened_on(port: int) -> None:
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)


async def _ended(child: subprocess.Popen[bytes]) -> int:
    """The exit code of a child, once it has one."""
    loop = asyncio.get_running_loop()
    handle = os.pidfd_open(child.pid)
    gone = asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return child.wait()


def main() -> None:
    """Run until SIGTERM; a failed start leaves its reason in `failed.json`."""
    given = startrecord.arguments("faultload.reference.host.supervisor")
    try:
        module = importlib.import_module(f"faultload.reference.systems.{given.name}.system")
        system = module.System.plan(given.folder, frozenset(given.defect))
        asyncio.run(Supervisor(given.name, given.id, given.folder, given.logs, system).run())
    except Exception as error:
        log.exception("the start failed")
        startrecord.failed(given.folder, str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
