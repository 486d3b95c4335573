"""One connection through the link proxy: a client, its server, and what the pair's faults do to it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from faultload.agents.link.http1 import Errors, Exchange, foreign

CHUNK = 64 * 1024
LINE_LIMIT = 8 * 1024 * 1024
"""Bytes that may wait in the delay line of a connection before reading stops."""


@dataclass(slots=True)
class LinkConditions:
    """How the network of a pair is now."""

    partition: str | None = None
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    errors: Errors | None = None


class Pair(Protocol):
    """What a connection knows of the instance pair that it belongs to."""

    conditions: LinkConditions
    passable: asyncio.Event
    connections: set[Connection]
    foreign: set[str]

    @property
    def settings(self) -> Mapping[str, Any]: ...
    async def take_turn(self, to_server: bool, size: int) -> None: ...


class Connection:
    """A client, its server, and a pump for each direction."""

    def __init__(self, pair: Pair, client: socket.socket, server: socket.socket) -> None:
        self.pair = pair
        self.ends = (client, server)
        pair.connections.add(self)
        up, self._down = Pump(pair, client, server, to_server=True), Pump(pair, server, client, to_server=False)
        if pair.settings.get("protocol") == "http":
            self._exchange = Exchange(lambda: pair.conditions.errors)
            self._answering = asyncio.Lock()
            self._server_left = False
            self._begun = False
            up.take, self._down.take = self._from_client, self._from_server
        self._tasks = [asyncio.create_task(up.run()), asyncio.create_task(self._down.run())]
        self._closer = asyncio.create_task(self._close())

    def reset(self) -> None:
        """RST to both ends."""
        for task in self._tasks:
            task.cancel()

    async def _from_client(self, pump: Pump, item: bytes) -> None:
        if not self._begun:
            self._begun = True
            self.pair.foreign.update(filter(None, [foreign(item)]))
        passed = self._exchange.from_client(item) if item else self._exchange.client_ended()
        if passed and self._server_left:
            raise ConnectionResetError("the server ended the connection before this request")
        if passed:
            await pump.send(passed)
        if not item:
            pump.end()
        async with self._answering:
            await self._answer(self._exchange.own_answers())

    async def _from_server(self, pump: Pump, item: bytes) -> None:
        async with self._answering:
            if item:
                await self._answer(self._exchange.from_server(item))
            elif self._exchange.outlives_server():
                self._server_left = True
            else:
                pump.end()

    async def _answer(self, data: bytes) -> None:
        """To the client; called in turn only."""
        if data:
            await self._down.send(data)
            if self._exchange.over:
                self._down.end()

    def end_when_server_left(self) -> None:
        """Pass the server's end on, which was kept back as long as requests are answered here."""
        if getattr(self, "_server_left", False):
            self._down.end()

    async def _close(self) -> None:
        """Close when both directions have ended, with RST when one of them broke.

        Never before the pumps are through: a closed descriptor may be another connection's at once.
        """
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        broken = any(task.cancelled() or task.exception() is not None for task in self._tasks)
        for end in self.ends:
            abort(end) if broken else end.close()
        self.pair.connections.discard(self)


class Pump:
    """Bytes from one end to the other, in order, as the conditions of the pair permit."""

    def __init__(self, pair: Pair, source: socket.socket, sink: socket.socket, *, to_server: bool) -> None:
        self.pair = pair
        self.source = source
        self.sink = sink
        self.to_server = to_server
        self._line: deque[tuple[float, bytes | OSError]] = deque()
        self._line_bytes = 0
        self._line_moved = asyncio.Event()
        self._carrier: asyncio.Task[None] | None = None
        self.take: Callable[[Pump, bytes], Awaitable[None]] | None = None
        """Takes what would be sent, and sends what shall be; nothing (b"") is the end."""

    async def run(self) -> None:
        """Until the source ends (FIN is passed on) or either end breaks (raises OSError)."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                item: bytes | OSError
                try:
                    item = await loop.sock_recv(self.source, CHUNK)
                except OSError as error:
                    item = error
                conditions = self.pair.conditions
                if self._carrier is None and (not self.to_server or conditions.delay_s == 0):
                    await self._deliver(item)
                else:
                    await self._enqueue(item, conditions)
                if not item or isinstance(item, OSError):
                    if self._carrier is not None:
                        await self._carrier
                    return
        finally:
            if self._carrier is not None:
                self._carrier.cancel()

    async def _enqueue(self, item: bytes | OSError, conditions: LinkConditions) -> None:
        """Into the delay line: a moment of its own for each chunk, never before the one ahead of it."""
        delay_s = conditions.delay_s + random.uniform(-1, 1) * conditions.jitter_s if self.to_server else 0.0
        due = time.monotonic() + max(0.0, delay_s)  # the loop's own clock may be a millisecond behind
        if self._line:
            due = max(due, self._line[-1][0])
        self._line.append((due, item))
        self._line_bytes += len(item) if isinstance(item, bytes) else 0
        self._line_moved.set()
        if self._carrier is None:
            self._carrier = asyncio.create_task(self._carry())
        while self._line_bytes > LINE_LIMIT and not self._carrier.done():
            self._line_moved.clear()
            await self._line_moved.wait()
        if self._carrier.done():
            await self._carrier

    async def _carry(self) -> None:
        while True:
            while not self._line:
                self._line_moved.clear()
                await self._line_moved.wait()
            due, item = self._line[0]
            while (wait_s := due - time.monotonic()) > 0:  # uvloop's timers are whole milliseconds, rounded
                await asyncio.sleep(wait_s)
            await self._deliver(item)
            self._line.popleft()
            self._line_bytes -= len(item) if isinstance(item, bytes) else 0
            self._line_moved.set()
            if not item or isinstance(item, OSError):
                return

    async def _deliver(self, item: bytes | OSError) -> None:
        """To the sink; while the pair is cut everything is held here: bytes, FIN and RST alike."""
        if not self.pair.passable.is_set():
            await self.pair.passable.wait()
        if isinstance(item, OSError):
            raise item
        if self.take is not None:
            await self.take(self, item)
        elif item:
            await self.send(item)
        else:
            self.end()

    def end(self) -> None:
        """Pass a FIN on; a second one, or one for an end that is gone, changes nothing."""
        with suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)

    async def send(self, data: bytes) -> None:
        """Bytes to the sink, in the time that they take."""
        loop = asyncio.get_running_loop()
        if self.pair.conditions.bytes_per_s is None:
            await loop.sock_sendall(self.sink, data)
            return
        step = max(1, min(CHUNK, int(self.pair.conditions.bytes_per_s / 20)))
        for start in range(0, len(data), step):
            part = data[start : start + step]
            await self.pair.take_turn(self.to_server, len(part))
            if not self.pair.passable.is_set():
                await self.pair.passable.wait()
            await loop.sock_sendall(self.sink, part)


def abort(end: socket.socket) -> None:
    """Close with RST."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
