"""One connection from inside a namespace that can ask the far side of a link for an answer."""

from __future__ import annotations

import errno
import os
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

PROBE_S = 1.0
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_HTTP_REQUEST = b"HEAD /health HTTP/1.1\r\nHost: probe\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")

A = TypeVar("A")
B = TypeVar("B")


def together(do: Callable[[A], B], of: list[A]) -> list[B]:
    """The same for all at once."""
    with ThreadPoolExecutor(max(1, min(32, len(of)))) as pool:
        return list(pool.map(do, of))


class Probe:
    """A connection to one end of a link.

    HTTP is asked a HEAD request; PostgreSQL the SSLRequest packet, which every server answers with one byte and
    without a login (PostgreSQL documentation, "Message Formats"). Plain TCP has no question to ask.
    """

    def __init__(self, host: str, port: int, protocol: str, timeout_s: float = PROBE_S) -> None:
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.protocol = protocol
        self.status: int | None = None
        self._socket = socket.create_connection((host, port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, timeout_s: float = PROBE_S) -> float | None:
        """Seconds until the far side answered, or None within the time-out. Raises OSError when cut off."""
        question = {"http": _HTTP_REQUEST, "postgres": _SSL_REQUEST}.get(self.protocol)
        if question is None:
            return None
        self._socket.settimeout(timeout_s)
        started = time.monotonic()
        try:
            self._socket.sendall(question)
            answer = self._socket.recv(4096)
        except TimeoutError:
            return None
        if not answer:
            raise ConnectionResetError(errno.ECONNRESET, "closed by the far side")
        found = _STATUS.match(answer)
        self.status = int(found[1]) if found else None
        return time.monotonic() - started

    def reset(self, timeout_s: float = PROBE_S) -> bool:
        """Whether the connection was reset or closed within the time-out."""
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


@contextmanager
def _probe(host: str, port: int, protocol: str, timeout_s: float) -> Iterator[Probe]:
    probe = Probe(host, port, protocol, timeout_s)
    try:
        yield probe
    finally:
        probe.close()


def round_trip(host: str, port: int, protocol: str, timeout_s: float = 2.0) -> float | None:
    """Seconds for one question and answer over a new connection; None when there was no answer."""
    try:
        with _probe(host, port, protocol, timeout_s) as probe:
            return probe.ask(timeout_s)
    except OSError:
        return None


def status(host: str, port: int, timeout_s: float = 2.0) -> int | None:
    """The HTTP status that a new connection's request is answered with; None for no answer."""
    try:
        with _probe(host, port, "http", timeout_s) as probe:
            probe.ask(timeout_s)
            return probe.status
    except OSError:
        return None


def reachable(host: str, port: int, protocol: str, timeout_s: float = PROBE_S) -> bool:
    """Whether a new connection completes, and is answered where the protocol has a question."""
    if protocol in ("http", "postgres"):
        return round_trip(host, port, protocol, timeout_s) is not None
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True


def resolvers(file: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The name servers that this namespace's processes ask (resolv.conf(5))."""
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


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
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, 0x40000000) != 0:  # CLONE_NEWNET
            number = ctypes.get_errno()
            raise OSError(number, f"setns: {os.strerror(number)}")
    finally:
        os.close(descriptor)
