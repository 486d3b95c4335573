"""Questions through a link that show how its network is: answers, round trips, transfer times, HTTP statuses.

HTTP: HEAD requests; PostgreSQL: the SSLRequest packet, which every server answers with one byte and without a
login, and for transfers a StartupMessage, which it answers with a demand to authenticate (PostgreSQL
documentation, "Message Formats"). Plain TCP has no question to ask: there only connecting is seen.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from faultload.platforms.links import Pair

PROBE_S = 1.0
ASKABLE = ("http", "postgres")
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_HTTP_REQUEST = b"HEAD /health HTTP/1.1\r\nHost: probe\r\n\r\n"
_LARGEST = {"http": 3500, "postgres": 8000}
"""Bytes of the largest question: header limits of usual servers begin at 4 kB, the startup limit is 10 kB."""


class Probe:
    """One connection through a link's listener that can ask the far side for an answer."""

    def __init__(self, pair: Pair, timeout_s: float = PROBE_S) -> None:
        self.pair = pair
        self._socket = socket.create_connection((pair.host, pair.port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, timeout_s: float = PROBE_S) -> float | None:
        """Seconds until the far side answered, or None within the time-out. Raises OSError when cut off."""
        question = {"http": _HTTP_REQUEST, "postgres": _SSL_REQUEST}.get(self.pair.protocol)
        if question is None:
            return None
        started = time.monotonic()
        try:
            self._exchange(question, timeout_s)
        except TimeoutError:
            return None
        return time.monotonic() - started

    def settle(self) -> None:
        """Wait until the connection is established as far as the server, where an answer can tell."""
        with suppress(OSError):
            if self.pair.protocol == "http":
                self.head()
            else:
                self.ask()

    def head(self, timeout_s: float = PROBE_S, question: bytes = _HTTP_REQUEST) -> bytes:
        """The head of the answer to a HEAD request. Raises OSError when there is none in time."""
        answer = self._exchange(question, timeout_s)
        deadline = time.monotonic() + timeout_s
        while b"\r\n\r\n" not in answer and len(answer) < 65536:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            if not (more := self._socket.recv(4096)):
                break
            answer += more
        return answer

    def carry(self, size: int, timeout_s: float) -> bool:
        """Send a question of so many bytes and wait for its answer; whether another may follow. Raises OSError."""
        if self.pair.protocol == "postgres":
            body = b"user\0faultload_probe\0database\0postgres\0application_name\0"
            body += b"x" * max(1, size - len(body) - 10) + b"\0\0"
            self._exchange(struct.pack("!ii", len(body) + 8, 196608) + body, timeout_s)
            return False
        pad = max(1, size - len(_HTTP_REQUEST) - 13)
        answer = self.head(timeout_s, _HTTP_REQUEST[:-2] + b"x-padding: " + b"x" * pad + b"\r\n\r\n")
        return answer.startswith(b"HTTP/1.1") and b"\r\nconnection: close" not in answer.lower()

    def _exchange(self, question: bytes, timeout_s: float) -> bytes:
        self._socket.settimeout(timeout_s)
        self._socket.sendall(question)
        answer = self._socket.recv(4096)
        if not answer:
            raise ConnectionResetError(errno.ECONNRESET, "closed by the far side")
        return answer

    def was_reset(self, timeout_s: float = PROBE_S) -> bool:
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

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def established(pairs: list[Pair]) -> list[Probe]:
    """A connection a pair, as far as they can be had."""
    found = []
    for pair in pairs:
        with suppress(OSError):
            found.append(Probe(pair))
    for probe in found:
        probe.settle()
    return found


def round_trip(pair: Pair, timeout_s: float = 2.0) -> float | None:
    """Seconds for one question and answer over a new connection; None when there was no answer."""
    try:
        with Probe(pair, timeout_s) as probe:
            return probe.ask(timeout_s)
    except OSError:
        return None


def past(pair: Pair) -> Pair:
    """The same question asked past the proxy."""
    return replace(pair, host=pair.upstream[0], port=pair.upstream[1])


def connects(pair: Pair) -> bool:
    """Whether a connection to a pair's listener completes."""
    try:
        socket.create_connection((pair.host, pair.port), PROBE_S).close()
    except OSError:
        return False
    return True


def reachable(pair: Pair) -> bool:
    """Whether the far side of a pair answers; of plain TCP, whether the listener does."""
    return round_trip(pair) is not None if pair.protocol in ASKABLE else connects(pair)


def as_open_as_past(pair: Pair) -> bool:
    """Whether a pair is as reachable as its server is past the proxy: a dead server is nobody's partition."""
    return reachable(pair) or (pair.protocol in ASKABLE and not reachable(past(pair)) and connects(pair))


def silence_of(probes: list[Probe], pairs: list[Pair]) -> list[str]:
    """Why established connections and new ones are not silent; empty when all are."""
    if not probes and not pairs:
        return []
    with ThreadPoolExecutor(len(probes) + len(pairs)) as pool:
        problems = [*pool.map(_still_talks, probes), *pool.map(_still_accepts, pairs)]
    return [problem for problem in problems if problem is not None]


def _still_talks(probe: Probe) -> str | None:
    try:
        answered = probe.ask() is not None
    except OSError as error:
        return f"{probe.pair.name} was cut off ({error}), not silent"
    return f"an established connection of {probe.pair.name} still answers" if answered else None


def _still_accepts(pair: Pair) -> str | None:
    try:
        socket.create_connection((pair.host, pair.port), PROBE_S).close()
    except TimeoutError:
        return None
    except OSError as error:
        return f"{pair.name} refuses ({error}), it is not silent"
    return f"{pair.name} still accepts connections"


def transfer_s(pair: Pair, size: int, timeout_s: float) -> float | None:
    """Seconds in which `size` bytes were carried to the far side, in questions that were all answered."""
    started, left = time.monotonic(), size
    largest = _LARGEST.get(pair.protocol)
    if largest is None:
        return None
    probe: Probe | None = None
    try:
        while left > 0:
            if time.monotonic() - started > timeout_s:
                return None
            probe = probe or Probe(pair, timeout_s)
            if not probe.carry(min(left, largest), timeout_s):
                probe.close()
                probe = None
            left -= largest
    except OSError:
        return None
    finally:
        if probe is not None:
            probe.close()
    return time.monotonic() - started


@dataclass(frozen=True, slots=True)
class Statuses:
    """The answers to so many HEAD requests: how many had the status, and how many were made by the proxy."""

    asked: int
    with_status: int
    by_proxy: int


def statuses(pair: Pair, status: int, count: int, within_s: float, first: Probe | None = None) -> Statuses:
    """Ask again and again, over one connection as far as the server keeps it, over `first` at first."""
    deadline = time.monotonic() + within_s
    asked = with_status = by_proxy = 0
    probe = first
    wanted = f"{status}".encode()
    try:
        while asked < count and time.monotonic() < deadline:
            try:
                probe = probe or Probe(pair)
                head = probe.head()
            except OSError:
                # the server may end an idle connection; one that never answers uses up the time
                if probe is not None:
                    probe.close()
                probe = None
                continue
            asked += 1
            with_status += head[9:12] == wanted
            by_proxy += b"\r\nx-faultload: http_error\r\n" in head
    finally:
        if probe is not None and probe is not first:
            probe.close()
    return Statuses(asked, with_status, by_proxy)
