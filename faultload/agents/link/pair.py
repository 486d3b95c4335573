"""One instance pair of a link in the proxy: its listener and the state of its network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from faultload.agents.link.connection import Connection, LinkConditions, abort
from faultload.agents.link.http1 import Errors

BACKLOG = 256


class Pair:
    """A listener in front of one instance, for one client instance or several.

    Settings: `name`, `upstream` (host and port), `listen` (port), and where wanted `listen_host` (127.0.0.1),
    `mark` (the SO_MARK of every connection that the proxy makes, so that a redirect lets it pass; needs
    NET_ADMIN; without the bits 0x4000 and 0x8000, by which kube-proxy rewrites or drops), `protocol` (`http` can
    be answered with errors), and `client`, `server` for those who ask.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.name = str(settings["name"])
        host, port = settings["upstream"]
        self.upstream = (str(host), int(port))
        self.address = (str(settings.get("listen_host") or "127.0.0.1"), int(settings["listen"]))
        self.mark = int(settings.get("mark") or 0)
        self.conditions = LinkConditions()
        self.passable = asyncio.Event()
        self.passable.set()
        self.connections: set[Connection] = set()
        self.accepted = 0
        self.foreign: set[str] = set()
        """What clients spoke here on which no request can be answered: TLS, HTTP/2."""
        self._budget_free_at = {True: 0.0, False: 0.0}
        self._unlimited = asyncio.Event()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._parked: list[socket.socket] = []
        self._parked_addresses: set[Any] = set()
        self._opening: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Bind, listen and accept. Raises OSError."""
        if self._listener is None:
            listener = socket.socket(_family(self.address[0]))
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setblocking(False)
                listener.bind(self.address)
                listener.listen(BACKLOG)
            except OSError:
                listener.close()
                raise
            self._listener = listener
        if self._accepting is None:
            self._accepting = asyncio.create_task(self._accept(self._listener))

    async def close(self) -> None:
        """Stop accepting and close the listener: new connections are refused."""
        await self._stop_accepting()
        self._discard_parked()
        self._parked_addresses.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def partition(self, mode: str) -> None:
        """Cut the pair: `drop` in silence, `refuse` and `reset` with RST."""
        self.conditions.partition = mode
        if mode == "drop":
            self.passable.clear()
            await self._stop_accepting()
            await self._fill_accept_queue()
        elif mode == "refuse":
            await self.close()
            self.reset_connections()
        else:
            self.reset_connections()

    async def heal(self, *, reset: bool = False) -> None:
        """End a partition; what was held is delivered, or every connection is reset."""
        self.conditions.partition = None
        if reset:
            self.reset_connections()
        if self._listener is not None:
            self._listener.listen(BACKLOG)
        self.open()
        self._discard_parked()
        self.passable.set()

    def reset_connections(self) -> int:
        """RST to both ends of every established connection; how many there were.

        Those whose server is still being connected to are established for their clients: they go too.
        """
        for opening in self._opening:
            opening.cancel()
        victims = list(self.connections)
        for connection in victims:
            connection.reset()
        return len(victims)

    async def take_turn(self, to_server: bool, size: int) -> None:
        """Wait until `size` bytes may be sent, under the bytes per second that the pair has in one direction."""
        now = asyncio.get_running_loop().time()
        rate, unlimited = self.conditions.bytes_per_s, self._unlimited
        if rate is None:
            return
        free_at = max(now, self._budget_free_at[to_server]) + size / rate
        self._budget_free_at[to_server] = free_at
        with suppress(TimeoutError):
            async with asyncio.timeout(free_at - now):
                await unlimited.wait()

    def set_errors(self, errors: Errors | None) -> None:
        """Answer requests with errors from now on, or no more."""
        self.conditions.errors = errors
        if errors is None:
            for connection in self.connections:
                connection.end_when_server_left()

    def forget_budget(self) -> None:
        """Let everybody send who waits for a turn."""
        self._budget_free_at = {True: 0.0, False: 0.0}
        self._unlimited.set()
        self._unlimited = asyncio.Event()

    def to_json(self) -> dict[str, Any]:
        seen = {"connections": len(self.connections), "accepted": self.accepted, "foreign": sorted(self.foreign)}
        return {**self.settings, **seen}

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, address = await loop.sock_accept(listener)
            except OSError:  # out of descriptors, or a connection that was gone before it was taken
                await asyncio.sleep(0.05)
                continue
            if address in self._parked_addresses:
                self._parked_addresses.discard(address)
                client.close()
                continue
            client.setblocking(False)
            self.accepted += 1
            if self.conditions.partition == "reset":
                abort(client)
                continue
            task = asyncio.create_task(self._connect(client))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server = _outgoing(self.upstream[0], self.mark)
        try:
            async with asyncio.timeout(5):
                await loop.sock_connect(server, self.upstream)
        except (OSError, TimeoutError):
            server.close()
            await self.passable.wait()
            abort(client)
            return
        except BaseException:
            server.close()
            abort(client)
            raise
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.conditions.partition in ("refuse", "reset"):
            abort(client)
            server.close()
            return
        Connection(self, client, server)

    async def _stop_accepting(self) -> None:
        task, self._accepting = self._accepting, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _fill_accept_queue(self) -> None:
        """Leave no room in the kernel's accept queue: from then on a SYN gets no answer.

        A user-space proxy that merely stops accepting still completes connects, up to its backlog.
        """
        assert self._listener is not None
        self._listener.listen(0)
        loop = asyncio.get_running_loop()
        for _ in range(BACKLOG):
            parked = _outgoing(self.address[0])
            self._parked.append(parked)
            try:
                async with asyncio.timeout(0.05):
                    await loop.sock_connect(parked, self.address)
                self._parked_addresses.add(parked.getsockname())
            except TimeoutError:
                return
            except OSError:
                continue

    def _discard_parked(self) -> None:
        """Our own connections go; the accept loop throws their other ends away."""
        while self._parked:
            self._parked.pop().close()


def _outgoing(host: str, mark: int = 0) -> socket.socket:
    made = socket.socket(_family(host))
    if mark:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    made.setblocking(False)
    return made


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
