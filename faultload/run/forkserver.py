"""A fork server, `python -m faultload.run.forkserver SOCKET MODULES ROOM`: imports once for all its children.

SOCKET is a descriptor on which the client sends one request a child, with the child's descriptors beside it, and
gets the child's pid. The server keeps none of them. Its children are handed on: it forks twice, and whoever is
the subreaper (the client) becomes their parent, owns their exit codes and does not lose them with the server.
ROOM is only there to be written over: a child's command line is what `ps` would show of one started plainly.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import F_DUPFD_CLOEXEC, fcntl
from os import (
    close,
    fork,
    waitpid,
)  # the system's own: gevent puts others in their place, whose close waits for a loop
from pathlib import Path
from select import select
from socket import AF_UNIX, SOCK_SEQPACKET, recv_fds, socket
from typing import Any

from faultload.agents.lifeline import die_with_parent

LONGEST = 1 << 18
"""Bytes of a request, at most."""
MOST_DESCRIPTORS = 16


@dataclass(frozen=True, slots=True)
class Job:
    """What a child is to be: `entry` ("module:function") run as `python -m module arguments` would be."""

    module: str
    entry: str
    arguments: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    descriptors: tuple[int, ...]
    """The numbers that the descriptors sent with the request get in the child. One more comes before them, of
    which the child reads a byte first: without it nobody has taken the child over, and it ends."""

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Job:
        given = {**value, "arguments": tuple(value["arguments"]), "descriptors": tuple(value["descriptors"])}
        return cls(**given)

    def settle_in(self, received: list[int]) -> None:
        """Make the forked process what a fresh one would be: session, descriptors, environment, path, name."""
        waiting, *received = received
        if not os.read(waiting, 1):
            os._exit(1)
        close(waiting)
        os.setsid()
        above = max(self.descriptors, default=2) + 1
        moved = [fcntl(descriptor, F_DUPFD_CLOEXEC, above) for descriptor in received]
        for descriptor in received:
            close(descriptor)
        for descriptor, number in zip(moved, self.descriptors, strict=True):
            os.dup2(descriptor, number)
            close(descriptor)
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(self.cwd)
        sys.path[0] = self.cwd
        importlib.invalidate_caches()
        sys.argv = [self.module, *self.arguments]
        show_as([sys.executable, "-m", self.module, *self.arguments])

    def run(self) -> object:
        """Import the program, where that is still to be done, and run it; returns its exit code."""
        module, _, function = self.entry.partition(":")
        program: Callable[[], object] = getattr(importlib.import_module(module), function)
        return program()


def show_as(argv: list[str]) -> None:
    """Write a command line over this process's own, as far as there is room."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    text = b"\0".join(os.fsencode(part) for part in argv)
    if 0 < start < end:
        room = end - start
        ctypes.memmove(start, text[: room - 1].ljust(room, b"\0"), room)


def serve(client: socket, modules: list[str]) -> Job | None:
    """Import, fork what is asked for; returns the job in a child, None in the server at its end."""
    left = list(modules)
    while True:
        if left and not select([client], [], [], 0)[0]:
            importlib.import_module(left.pop(0))
            if not left:
                gc.freeze()
                client.send(json.dumps({"ready": True}).encode())
            continue
        data, received, _, _ = recv_fds(client, LONGEST, MOST_DESCRIPTORS)
        if not data:
            return None
        job = Job.from_json(json.loads(data))
        importlib.import_module(job.entry.partition(":")[0])
        pid = _handed_on()
        if pid is None:
            gc.enable()
            client.close()
            job.settle_in(received)
            return job
        for descriptor in received:
            close(descriptor)
        client.send(json.dumps({"pid": pid}).encode())


def _handed_on() -> int | None:
    """Fork a process whose parent ends at once: its pid, or None in the process. Raises OSError."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise OSError(f"an import started {threads - 1} threads, which a fork would not have")
    reading, writing = os.pipe()
    middle = fork()
    if middle == 0:
        pid = -1
        try:
            close(reading)
            pid = fork()
            if pid:
                os.write(writing, str(pid).encode())
        finally:
            if pid:
                os._exit(0)
        close(writing)
        return None
    close(writing)
    try:
        waitpid(middle, 0)
        pid = int(os.read(reading, 32) or 0)
    finally:
        close(reading)
    if not pid:
        raise OSError("no process could be forked")
    return pid


def main() -> object:
    """Entry of the server; in a child, entry of its program."""
    die_with_parent()
    gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of the time
    client = socket(AF_UNIX, SOCK_SEQPACKET, fileno=int(sys.argv[1]))
    modules = sys.argv[2].split(",")
    show_as([sys.executable, "-m", "faultload.run.forkserver", sys.argv[2]])
    try:
        job = serve(client, modules)
    except BrokenPipeError:
        return 0  # the client is gone
    except Exception as error:  # noqa: BLE001 - said to the client, who starts its processes without this server
        client.send(json.dumps({"lost": f"{type(error).__name__}: {error}"}).encode())
        return 1
    return 0 if job is None else job.run()


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[arg-type]
