"""faultload's fault proxy inside a namespace; nftables redirects the peers of a link to it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from faultload.agents.link.fault import BadFaultError
from faultload.agents.link.pair import Pair
from faultload.agents.link.proxy import Conflict, Link
from faultload.agents.network.nftables import MARK
from faultload.agents.network.spec import AgentError, Flow

_CALL_S = 5.0
_T = TypeVar("_T")


class FaultProxy:
    """A listener for each peer of a link, where a redirect leads; in a thread of its own."""

    def __init__(self, flow: Flow) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self.pairs = {peer: _pair(flow, peer) for peer in flow.peers}
        self.ports = {peer: pair.address[1] for peer, pair in self.pairs.items()}
        self._link = Link("link", list(self.pairs.values()))

    def start(self) -> None:
        """Listen. Raises AgentError."""
        self._thread.start()

        async def listen() -> None:
            for pair in self.pairs.values():
                pair.open()

        try:
            self._call(listen())
        except OSError as error:
            raise AgentError(f"the fault proxy cannot listen: {error}") from error

    def add(self, fault_id: str, kind: str, parameters: Mapping[str, Any], expires_s: float) -> None:
        """Open a fault on what passes. Raises AgentError."""
        try:
            self._call(self._link.add(fault_id, {"kind": kind, "params": dict(parameters), "expires_s": expires_s}))
        except (BadFaultError, Conflict) as error:
            raise AgentError(str(error)) from error

    def stop(self, fault_id: str, quiet_s: float, drain_s: float) -> None:
        """End the fault, then close every connection: when it was silent for `quiet_s`, all after `drain_s`."""
        if not self._thread.is_alive():
            return
        self._call(self._link.remove(fault_id))
        self._call(self._drain(quiet_s, drain_s), drain_s + _CALL_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_S)

    async def _drain(self, quiet_s: float, drain_s: float) -> None:
        """Close connections that are silent, in order: FIN to both ends; RST for what is left at the end."""
        seen: dict[Any, tuple[Any, float]] = {}
        deadline = time.monotonic() + drain_s
        while time.monotonic() < deadline and any(pair.connections for pair in self.pairs.values()):
            now = time.monotonic()
            for pair in self.pairs.values():
                for connection in list(pair.connections):
                    moved = _moved(connection.ends)
                    before, since = seen.get(connection, (None, now))
                    seen[connection] = (moved, since if moved == before else now)
                    if moved == before and now - since >= quiet_s:
                        for end in connection.ends:
                            with suppress(OSError):
                                end.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.05)
        for pair in self.pairs.values():
            await pair.close()
            pair.reset_connections()
        await asyncio.sleep(0.05)

    def _call(self, what: Coroutine[Any, Any, _T] | Awaitable[_T], timeout_s: float = _CALL_S) -> _T:
        async def awaited() -> _T:
            return await what

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(timeout_s)


def _moved(ends: tuple[socket.socket, ...]) -> tuple[bytes, ...]:
    """The bytes that both ends have received and sent: tcpi_bytes_acked and tcpi_bytes_received (linux/tcp.h)."""
    with suppress(OSError):
        return tuple(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)[120:136] for end in ends)
    return ()


def _pair(flow: Flow, peer: str) -> Pair:
    loopback = "::1" if ":" in peer else "127.0.0.1"
    with socket.socket(socket.AF_INET6 if ":" in peer else socket.AF_INET) as asked:
        asked.bind((loopback, 0))
        port = asked.getsockname()[1]
    settings = {
        "name": peer,
        "upstream": [peer, flow.port],
        "listen": port,
        "listen_host": loopback,
        "mark": MARK,
        "protocol": flow.protocol,
    }
    return Pair(settings)
