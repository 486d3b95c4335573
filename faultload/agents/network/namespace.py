"""Enters a network namespace, and finds the name servers its processes use."""

from __future__ import annotations

import ctypes
import os
import random
import socket
import struct
from pathlib import Path

from faultload.agents.probes import PROBE_S


def resolvers(file: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The name servers that this namespace's processes ask (resolv.conf(5))."""
    return [words[1] for words in _lines(file) if words[0] == "nameserver"]


def _lines(file: Path) -> list[list[str]]:
    """The words of each line that says something."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [words for line in lines if len(words := line.split()) > 1]


def asked_first(name: str, file: Path = Path("/etc/resolv.conf")) -> str:
    """What a process asks for first when it looks a name up: with the first search domain, if it has few dots.

    See search and ndots in resolv.conf(5). A cluster's DNS knows such names itself, and asks nobody beyond it.
    """
    domains: list[str] = []
    ndots = 1
    for words in _lines(file):
        if words[0] in ("search", "domain"):
            domains = words[1:]
        elif words[0] == "options":
            ndots = next((int(one[6:]) for one in words if one.startswith("ndots:")), ndots)
    return f"{name}.{domains[0]}" if domains and name.count(".") < ndots else name


def resolver_answers(server: str, name: str, timeout_s: float = PROBE_S) -> bool:
    """Whether a name server answers a question at all, be it with an error (RFC 1035, section 4)."""
    number = random.randrange(1 << 16)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".") if label)
    question = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.settimeout(timeout_s)
        try:
            asked.connect((server, 53))
            asked.send(question)
            return asked.recv(512)[:2] == struct.pack("!H", number)
        except OSError:
            return False


def enter(pid: int) -> None:
    """Go into the network namespace of a process; before any thread is started. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, 0x40000000) != 0:  # CLONE_NEWNET
            number = ctypes.get_errno()
            raise OSError(number, f"setns: {os.strerror(number)}")
    finally:
        os.close(descriptor)
