"""Probes that show how a link's network behaves: answers, round trips, transfer times, HTTP statuses.

HTTP: HEAD requests; PostgreSQL: the SSLRequest packet, which every server answers with one byte and without a
login, and for transfers a StartupMessage, which it answers with a demand to authenticate (PostgreSQL
documentation, "Message Formats"). Plain TCP has no question to ask: there only connecting is seen.

Also used by the network agents inside a target: standard library only.
"""

from __future__ import annotations

import errno
import socket
import statistics
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

PROBE_S = 1.0
_ROUND_TRIPS = 3
_MORE_ROUND_TRIPS = 9
_MORE_WITHIN_S = 0.3
ASKABLE = ("http", "postgres")
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_HTTP_REQUEST = b"HEAD /health HTTP/1.1\r\nHost: probe\r\n\r\n"
_LARGEST = {"http": 3500, "postgres": 8000}
"""Bytes of the largest question: header limits of usual servers begin at 4 kB, the startup limit is 10 kB."""


A = TypeVar("A")
B = TypeVar("B")


class Place(Protocol):
    """Where one end of a link takes connections, and what it speaks."""

    @property
    def name(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def protocol(self) -> str: ...


class Probe:
    """One connection to a place that can ask the far side for an answer."""

    def __init__(self, place: Place, timeout_s: float = PROBE_S) -> None:
        self.place = place
        self._socket = socket.create_connection((place.host, place.port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, timeout_s: float = PROBE_S) -> float | None:
        """Seconds until the far side answered, or None within the time-out. Raises OSError when cut off."""
        question = {"http": _HTTP_REQUEST, "postgres": _SSL_REQUEST}.get(self.place.protocol)
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
            if self.place.protocol == "http":
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
        if self.place.protocol == "postgres":
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


def together(do: Callable[[A], B], of: Sequence[A]) -> list[B]:
    """The same for all at once."""
    with ThreadPoolExecutor(max(1, min(32, len(of)))) as pool:
        return list(pool.map(do, of))


def opened(places: Sequence[Place]) -> list[Probe]:
    """A connection a place, as far as they can be had."""
    return [probe for probe in together(_opened, places) if probe is not None]


def established(places: Sequence[Place]) -> list[Probe]:
    """The same, established as far as the servers."""
    probes = opened(places)
    together(Probe.settle, probes)
    return probes


def close_all(probes: list[Probe]) -> None:
    """Close them and forget them."""
    while probes:
        probes.pop().close()


def _opened(place: Place) -> Probe | None:
    try:
        return Probe(place)
    except OSError:
        return None


def round_trip(place: Place, timeout_s: float = 2.0) -> float | None:
    """Seconds for one question and answer over a new connection; None when there was no answer."""
    try:
        with Probe(place, timeout_s) as probe:
            return probe.ask(timeout_s)
    except OSError:
        return None


def round_trips(places: Sequence[Place], delay_ms: float, jitter_ms: float = 0.0) -> dict[str, float]:
    """Seconds for a round trip to each place that answers, by its name; each may be delayed by a fault.

    The quickest of three, or of up to nine within 0.3 s: busy machines answer later, never sooner. The middle
    one where the delay, give or take its jitter, comes near the half of it that a witness wants to see.
    """
    usual: Callable[[list[float]], float] = statistics.median if jitter_ms > delay_ms / 4 else min
    timeout_s = 2.0 + 3 * delay_ms / 1000

    def ask(place: Place) -> float | None:
        times: list[float] = []
        until = time.monotonic() + _MORE_WITHIN_S
        while len(times) < _ROUND_TRIPS or (len(times) < _MORE_ROUND_TRIPS and time.monotonic() < until):
            seconds = round_trip(place, timeout_s)
            if seconds is None:
                break
            times.append(seconds)
        return usual(times) if times else None

    found = zip(places, together(ask, places), strict=True)
    return {place.name: seconds for place, seconds in found if seconds is not None}


def more_than(times: Mapping[str, float], before: Mapping[str, float]) -> list[float]:
    """How much longer each place takes than before, where both are known; the least first."""
    return sorted(seconds - before[name] for name, seconds in times.items() if name in before)


def connects(place: Place) -> bool:
    """Whether a connection completes."""
    try:
        Probe(place).close()
    except OSError:
        return False
    return True


def reachable(place: Place, timeout_s: float = 2.0) -> bool:
    """Whether the far side of a place answers in time; of plain TCP, whether it takes a connection."""
    return round_trip(place, timeout_s) is not None if place.protocol in ASKABLE else connects(place)


def silence_of(probes: Sequence[Probe], places: Sequence[Place]) -> list[str]:
    """Why established connections and new ones are not silent; empty when all are."""
    talking = [partial(_still_talks, probe) for probe in probes]
    accepting = [partial(_still_accepts, place) for place in places]
    found = together(lambda look: look(), [*talking, *accepting])
    return [problem for problem in found if problem is not None]


def _still_talks(probe: Probe) -> str | None:
    try:
        answered = probe.ask() is not None
    except OSError as error:
        return f"{probe.place.name} was cut off ({error}), not silent"
    return f"an established connection of {probe.place.name} still answers" if answered else None


def _still_accepts(place: Place) -> str | None:
    try:
        Probe(place).close()
    except TimeoutError:
        return None
    except OSError as error:
        return f"{place.name} refuses ({error}), it is not silent"
    return f"{place.name} still accepts connections"


def transfer_s(place: Place, size: int, timeout_s: float) -> float | None:
    """Seconds in which `size` bytes were carried to the far side, in questions that were all answered."""
    started, left = time.monotonic(), size
    largest = _LARGEST.get(place.protocol)
    if largest is None:
        return None
    probe: Probe | None = None
    try:
        while left > 0:
            if time.monotonic() - started > timeout_s:
                return None
            probe = probe or Probe(place, timeout_s)
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


def status(place: Place, timeout_s: float = 2.0) -> int | None:
    """The HTTP status that a new connection's request is answered with; None for no answer."""
    try:
        with Probe(place, timeout_s) as probe:
            head = probe.head(timeout_s)
    except OSError:
        return None
    return int(head[9:12]) if head.startswith(b"HTTP/1.") and head[9:12].isdigit() else None


def speaks_tls(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether a server takes up a TLS handshake, or ends one with an alert of its own."""
    import ssl  # only here: agents also run where Python was built without it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout_s) as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        return "ALERT" in str(error.reason)
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Statuses:
    """The answers to so many HEAD requests: how many had the status, and how many were made by the proxy."""

    asked: int
    with_status: int
    by_proxy: int


def statuses(place: Place, status: int, count: int, within_s: float, first: Probe | None = None) -> Statuses:
    """Ask again and again, over one connection as far as the server keeps it, over `first` at first."""
    deadline = time.monotonic() + within_s
    asked = with_status = by_proxy = 0
    probe = first
    wanted = f"{status}".encode()
    try:
        while asked < count and time.monotonic() < deadline:
            try:
                probe = probe or Probe(place)
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
