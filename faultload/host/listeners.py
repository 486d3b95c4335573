"""Which processes on this machine listen on a port and address; it searches again only if something has changed."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from faultload.host.processes import ProcessId, identify
from faultload.host.trees import Family, family

_LISTEN = "0A"
"""The state of a socket in /proc/net/tcp."""
_INIT = 1
_SOCKET = "socket:["
"""What the name of a descriptor begins with that is a socket, before its inode."""
LOOPBACK = ("127.0.0.1", "::1")
_EVERY = ("0.0.0.0", "::")
_roots: dict[int, tuple[ProcessId, ProcessId]] = {}
"""Who had a listening socket at the last look, by its inode: the root, and a process that must still have it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens, as the kernel lists it."""

    address: str
    port: int
    inode: int
    uid: int


def listeners(ports: set[int], addresses: Sequence[str] = LOOPBACK) -> dict[int, ProcessId]:
    """The process that answers on each TCP port of these addresses, as far as this user may see it.

    Of a process tree that shares a listener it is the root; of several trees the one that is oldest.
    """
    sockets = listening(ports)
    chosen = {port: answering(sockets, port, addresses) for port in ports}
    inodes = {one.inode for found in chosen.values() for one in found}
    known = {inode: kept[0] for inode in inodes if (kept := _roots.get(inode)) and _holds_still(kept, inode)}
    if missing := inodes - known.keys():
        owners, now = holders(missing), family()
        for found in chosen.values():
            wanted = {one.inode: owners.get(one.inode, set()) for one in found if one.inode in missing}
            roots = roots_of(wanted, now)
            for inode, pids in wanted.items():
                root = next((top for top in roots if pids & set(now.below(top))), None)
                if root is not None:
                    holder = root if root in pids else min(pids)
                    known[inode] = now.process(root)
                    _roots[inode] = (now.process(root), now.process(holder))
    return {
        port: min((known[one.inode] for one in found if one.inode in known), key=lambda process: process.started)
        for port, found in chosen.items()
        if any(one.inode in known for one in found)
    }


def _holds_still(kept: tuple[ProcessId, ProcessId], inode: int) -> bool:
    root, holder = kept
    return root.alive() and holder.alive() and inode in _sockets(holder.pid)


def answering(sockets: Iterable[Listener], port: int, addresses: Sequence[str]) -> list[Listener]:
    """The sockets that get the connections to a port of the first of these addresses where anything listens.

    The kernel prefers the socket of the very address to one of all addresses. More than one are there when they
    share it by SO_REUSEPORT.
    """
    at: dict[str, list[Listener]] = {}
    for one in sockets:
        if one.port == port:
            at.setdefault(one.address, []).append(one)
    for address in addresses:
        general = _EVERY if ":" not in address else ("::",)
        for place in (address, *general) if is_ours(address) else (address,):
            if place in at:
                return at[place]
    return []


def is_ours(address: str) -> bool:
    """Whether an address is one of this machine's own: a socket can be bound to it."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def listening(ports: Collection[int] | None = None) -> list[Listener]:
    """The sockets that listen on these ports, or on any, in the network namespace of this process."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError), open(table) as lines:
            next(lines)
            for line in lines:
                fields = line.split(maxsplit=10)
                if fields[3] != _LISTEN:
                    break  # the kernel writes those that listen first
                address, _, port = fields[1].rpartition(":")
                if ports is None or int(port, 16) in ports:
                    found.append(Listener(_readable(address), int(port, 16), int(fields[9]), int(fields[7])))
    return found


def _readable(address: str) -> str:
    """An address that the kernel wrote in words of four bytes, in the machine's own order; mapped IPv4 as IPv4."""
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    known = ipaddress.ip_address(packed)
    mapped = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return str(mapped or known)


def holders(inodes: Collection[int]) -> dict[int, set[int]]:
    """The pids that have these sockets open now, by inode, as far as this user may see them."""
    wanted = set(inodes)
    found: dict[int, set[int]] = {}
    for pid in psutil.pids() if wanted else ():
        for inode in wanted.intersection(_sockets(pid)):
            if identify(pid) is not None:
                found.setdefault(inode, set()).add(pid)
    return found


def held_by(pids: Iterable[int]) -> list[Listener]:
    """The listening sockets that these processes have open, as far as this user may see them."""
    mine = {inode for pid in pids for inode in _sockets(pid)}
    return [one for one in listening() if one.inode in mine] if mine else []


def program_of(pid: int) -> str | None:
    """The file that a process runs; None where this user may not look, or it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 - a deleted program has no path
    except OSError:
        return None


def roots_of(
    owners: Mapping[int, set[int]], now: Family, program: Callable[[int], str | None] = program_of
) -> list[int]:
    """The roots of the trees behind sockets that share an address and port; several when they are not related.

    The root is the highest process that holds a socket. Processes that hold different sockets (SO_REUSEPORT) have
    it in their common parent, if that runs the same program. Never process 1: it holds sockets for services that
    it starts, and is none of them.
    """
    tops = now.tops(pid for pids in owners.values() for pid in pids & now.started.keys() - {_INIT})
    if len(tops) < 2 or len(owners) < 2:
        return tops
    parents = {now.parents.get(top, 0) for top in tops}
    parent = parents.pop()
    programs = {program(pid) for pid in (parent, *tops)}
    if parents or parent <= _INIT or len(programs) != 1 or None in programs:
        return tops
    return [parent]


def _sockets(pid: int) -> Iterator[int]:
    """The inodes of a process's sockets; none of a process that this user may not look into."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(FileNotFoundError, ProcessLookupError):
                name = os.readlink(entry.path)  # noqa: PTH115 - of every descriptor of the machine, and no path
                if name.startswith(_SOCKET):
                    yield int(name[len(_SOCKET) : -1])
