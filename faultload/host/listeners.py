"""Which process on this machine listens on a port; it searches again only if something has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from faultload.host.processes import ProcessId, identify

_LISTEN = "0A"
"""The state of a socket in /proc/net/tcp."""
_owners: dict[int, ProcessId] = {}
"""Who had a listening socket, by its inode, at the last look; it must still have it to be believed."""


def listeners(ports: set[int]) -> dict[int, ProcessId]:
    """The process that listens on each TCP port, as far as this user may see it.

    Several processes may share a listener: the oldest owns it.
    """
    inodes = _listening(ports)
    owners = {inode: owner for inode in inodes if (owner := _owners.get(inode)) and _has(owner, inode)}
    owners |= _looked_up(inodes.keys() - owners.keys())
    _owners.update(owners)
    found: dict[int, ProcessId] = {}
    for inode, owner in owners.items():
        port = inodes[inode]
        if port not in found or owner.started < found[port].started:
            found[port] = owner
    return found


def _listening(ports: set[int]) -> dict[int, int]:
    """The inodes of the sockets that listen on these ports, with their port."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError), open(table) as lines:
            next(lines)
            for line in lines:
                fields = line.split(maxsplit=10)
                if fields[3] != _LISTEN:
                    break  # the kernel writes those that listen first
                port = int(fields[1].rpartition(":")[2], 16)
                if port in ports:
                    found[int(fields[9])] = port
    return found


def _has(process: ProcessId, inode: int) -> bool:
    return process.alive() and inode in _sockets(process.pid)


def _sockets(pid: int) -> Iterator[int]:
    """The inodes of a process's sockets; none of a process that this user may not look into."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(FileNotFoundError, ProcessLookupError):
                kind, _, inode = str(Path(entry.path).readlink()).partition(":[")
                if kind == "socket":
                    yield int(inode[:-1])


def _looked_up(inodes: set[int]) -> dict[int, ProcessId]:
    """Who has these sockets open now: the oldest of each."""
    found: dict[int, ProcessId] = {}
    for pid in psutil.pids() if inodes else ():
        for inode in inodes.intersection(_sockets(pid)):
            process = identify(pid)
            if process is not None and (inode not in found or process.started < found[inode].started):
                found[inode] = process
    return found
