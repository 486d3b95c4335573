"""Faults on the links of a local target, through its link proxy: partition, latency, reset_connections."""

from __future__ import annotations

import errno
import socket
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from faultload.errors import Refused, TargetError
from faultload.faults import makes
from faultload.platforms.base import FaultRequest, Instance, PlatformFault, Sight
from faultload.platforms.links import LinkProxy, Pair
from faultload.target import TargetFile

EXPIRY_MARGIN_S = 5.0
_PROBE_S = 1.0
_SSL_REQUEST = bytes.fromhex("00000008 04d2162f".replace(" ", ""))
_HTTP_REQUEST = b"HEAD /health HTTP/1.1\r\nHost: probe\r\n\r\n"


class Probe:
    """One connection through a link's listener that can ask the far side for an answer.

    HTTP: a HEAD request; PostgreSQL: the SSLRequest packet, which every server answers with one byte and
    without a login (PostgreSQL documentation, "Message Formats"). Plain TCP has no question to ask: there
    only connecting is seen.
    """

    def __init__(self, pair: Pair, timeout_s: float = _PROBE_S) -> None:
        self.pair = pair
        self._socket = socket.create_connection((pair.host, pair.port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, timeout_s: float = _PROBE_S) -> float | None:
        """Seconds until the far side answered, or None within the time-out. Raises OSError when cut off."""
        question = {"http": _HTTP_REQUEST, "postgres": _SSL_REQUEST}.get(self.pair.protocol)
        if question is None:
            return None
        self._socket.settimeout(timeout_s)
        started = time.monotonic()
        try:
            self._socket.sendall(question)
            if not self._socket.recv(4096):
                raise ConnectionResetError(errno.ECONNRESET, "closed by the far side")
        except TimeoutError:
            return None
        return time.monotonic() - started

    def reset(self, timeout_s: float = _PROBE_S) -> bool:
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


def round_trip(pair: Pair, timeout_s: float = 2.0) -> float | None:
    """Seconds for one question and answer over a new connection; None when there was no answer."""
    try:
        probe = Probe(pair, timeout_s)
    except OSError:
        return None
    try:
        return probe.ask(timeout_s)
    except OSError:
        return None
    finally:
        probe.close()


class _OnLink(PlatformFault):
    kind = ""

    def __init__(self, target: TargetFile, request: FaultRequest) -> None:
        super().__init__(target, request)
        self.link = str(request.arguments["link"])
        declared = target.links.get(self.link)
        if declared is None or declared.proxy is None:
            raise Refused(f"link '{self.link}' has no link proxy in the target file")
        self.proxy = LinkProxy(declared.proxy)
        self._probes: list[Probe] = []

    def gate(self) -> list[str]:
        open_faults = self.proxy.links().get(self.link, {}).get("faults") or []
        if open_faults:
            return [f"link '{self.link}' has an open fault already"]
        return []

    def resolve(self) -> list[Instance]:
        pairs = self.proxy.listeners(self.link)
        if not pairs:
            raise Refused(f"link '{self.link}' has no instance pairs")
        return [Instance(self.link, pair.name, 0.0, pair.name, pair.port) for pair in pairs]

    def undo_plan(self, instances: Sequence[Instance]) -> dict[str, Any]:
        return {"proxy": self.proxy.url, "link": self.link, "id": self.request.fault_id}

    def _pairs(self) -> list[Pair]:
        return self.proxy.listeners(self.link)

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Open a connection a pair before the fault: what is established must feel it too."""
        for pair in self._pairs():
            with suppress(OSError):
                self._probes.append(Probe(pair))

    def _parameters(self) -> dict[str, Any]:
        return {}

    def inject(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        self.proxy.add(
            self.link,
            self.request.fault_id,
            self.kind,
            self._parameters(),
            self.request.duration_s + EXPIRY_MARGIN_S,
        )

    def undo(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> None:
        try:
            self.proxy.remove(self.link, self.request.fault_id)
        except TargetError:
            # with the proxy process gone, its faults are gone; a new one knows none
            if _listens(self.proxy.url):
                raise

    def _close_probes(self) -> None:
        while self._probes:
            self._probes.pop().close()

    def gone(self, instances: Sequence[Instance], plan: Mapping[str, Any]) -> Sight:
        self._close_probes()
        if not _listens(self.proxy.url):
            return Sight(True, "the link proxy has ended, and its faults with it")
        with ThreadPoolExecutor(max(1, len(instances))) as pool:
            reachable = sum(pool.map(_reachable, self._pairs()))
        what = "answers again" if reachable else "does not answer"
        return Sight(reachable > 0, f"{self.link} {what} ({reachable} of {len(instances)} pairs)")


@makes("partition", "local")
class Partition(_OnLink):
    """Silent both ways; new connections do not complete and established ones stall."""

    kind = "partition"

    def _parameters(self) -> dict[str, Any]:
        return {"mode": "drop", "on_heal": self.request.argument("on_heal", "deliver")}

    def witness(self, instances: Sequence[Instance]) -> Sight:
        pairs = self._pairs()
        with ThreadPoolExecutor(max(1, len(self._probes) + len(pairs))) as pool:
            problems = [*pool.map(_still_talks, self._probes), *pool.map(_still_accepts, pairs)]
        established = len(self._probes)
        self._close_probes()
        seen = [problem for problem in problems if problem is not None]
        if seen:
            return Sight(False, seen[0])
        what = f"{len(pairs)} pairs let no new connection complete"
        return Sight(True, f"{what}, {established} established ones are silent")


@makes("latency", "local")
class Latency(_OnLink):
    """More time for each round trip."""

    kind = "latency"
    _before: float | None = None

    def _parameters(self) -> dict[str, Any]:
        return {
            "delay_ms": float(self.request.arguments["delay_ms"]),
            "jitter_ms": float(self.request.argument("jitter_ms", 0.0)),
        }

    def _measure(self) -> float | None:
        times = [seconds for pair in self._pairs() for _ in range(2) if (seconds := round_trip(pair)) is not None]
        return statistics.median(times) if times else None

    def prepare(self, instances: Sequence[Instance]) -> None:
        self._before = self._measure()

    def witness(self, instances: Sequence[Instance]) -> Sight:
        after = self._measure()
        if after is None or self._before is None:
            return Sight(False, "no round trip could be measured on the link")
        wanted = float(self.request.arguments["delay_ms"]) / 1000
        added = after - self._before
        what = f"a round trip takes {after * 1000:.1f} ms, {added * 1000:.1f} ms more than before"
        return Sight(added >= wanted / 2, what)


@makes("reset_connections", "local")
class ResetConnections(_OnLink):
    """Established connections are reset, once."""

    kind = "reset_connections"

    def witness(self, instances: Sequence[Instance]) -> Sight:
        if not self._probes:
            return Sight(False, "no connection could be opened before the fault")
        alive = [probe.pair.name for probe in self._probes if not probe.reset()]
        count = len(self._probes)
        self._close_probes()
        if alive:
            return Sight(False, f"still established: {', '.join(alive)}")
        return Sight(True, f"{count} connections opened before were reset")


def _still_talks(probe: Probe) -> str | None:
    """Why an established connection is not silent, or None."""
    try:
        answered = probe.ask() is not None
    except OSError as error:
        return f"{probe.pair.name} was cut off ({error}), not silent"
    return f"an established connection of {probe.pair.name} still answers" if answered else None


def _still_accepts(pair: Pair) -> str | None:
    """Why new connections of a pair are not silent, or None."""
    try:
        socket.create_connection((pair.host, pair.port), _PROBE_S).close()
    except TimeoutError:
        return None
    except OSError as error:
        return f"{pair.name} refuses ({error}), it is not silent"
    return f"{pair.name} still accepts connections"


def _reachable(pair: Pair) -> bool:
    if pair.protocol in ("http", "postgres"):
        return round_trip(pair) is not None
    try:
        socket.create_connection((pair.host, pair.port), _PROBE_S).close()
    except OSError:
        return False
    return True


def _listens(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port.rstrip("/"))), 1.0).close()
    except OSError:
        return False
    return True
