"""A lean HTTP/1.1 client over asyncio that keeps connections and knows what was certainly not sent."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools


class NotSentError(Exception):
    """The request certainly did not reach the server: it is safe to send again."""


class BrokenError(Exception):
    """The connection broke after the request may have been sent."""


@dataclass(slots=True)
class Response:
    """Status, headers as sent (names in lower case), and the whole body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class _Connection(asyncio.Protocol):
    """One connection; at most one request is under way on it."""

    def __init__(self, client: HttpClient) -> None:
        self.client = client
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[Response] | None = None
        self.response = Response(0, [], b"")
        self.chunks: list[bytes] = []
        self.parser: Any = None
        self.reusable = True
        self.until_close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self.answer is not None and not self.answer.done():
            if error is None and self.until_close:
                self.on_message_complete()
            else:
                self.answer.set_exception(BrokenError(str(error or "closed before the answer was complete")))
        elif self.answer is None:
            self.client.lost_idle(self)

    def send(self, data: bytes) -> asyncio.Future[Response]:
        assert self.transport is not None
        self.answer = asyncio.get_running_loop().create_future()
        self.response = Response(0, [], b"")
        self.chunks = []
        self.until_close = False
        self.parser = httptools.HttpResponseParser(self)
        self.transport.write(data)
        return self.answer

    def close(self) -> None:
        self.reusable = False
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.parser is None:
            self.close()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.close()
            if self.answer is not None and not self.answer.done():
                self.answer.set_exception(BrokenError(str(error)))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.response.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        framed = (b"content-length", b"transfer-encoding")
        self.until_close = not any(name in framed for name, _ in self.response.headers)

    def on_body(self, data: bytes) -> None:
        self.chunks.append(data)

    def on_message_complete(self) -> None:
        self.response.status = self.parser.get_status_code()
        self.response.body = b"".join(self.chunks)
        self.reusable = self.reusable and self.parser.should_keep_alive()
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(self.response)


class HttpClient:
    """Requests to one host and port over kept connections."""

    def __init__(self, host: str, port: int, *, connect_timeout_s: float = 0.5) -> None:
        self.host = host
        self.port = port
        self.connect_timeout_s = connect_timeout_s
        self.on_lost_idle: Any = None
        self._idle: deque[_Connection] = deque()

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: list[tuple[bytes, bytes]] | None = None,
        body: bytes = b"",
        timeout_s: float = 1.0,
    ) -> Response:
        """One request. Raises NotSentError, BrokenError, or TimeoutError once it may have been sent."""
        head = [f"{method} {target} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n".encode()]
        head += [b"%s: %s\r\n" % pair for pair in headers or ()]
        if body or method in ("POST", "PUT", "PATCH"):
            head.append(b"content-length: %d\r\n" % len(body))
        data = b"".join([*head, b"\r\n", body])
        deadline = asyncio.get_running_loop().time() + timeout_s
        connection = self._take() or await self._connect(min(self.connect_timeout_s, timeout_s))
        try:
            async with asyncio.timeout_at(deadline):
                response = await connection.send(data)
        except BaseException:
            connection.close()
            raise
        connection.answer = None
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def lost_idle(self, connection: _Connection) -> None:
        """The server closed a connection that no request was using."""
        if connection in self._idle:
            self._idle.remove(connection)
            if self.on_lost_idle is not None:
                self.on_lost_idle()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.transport and not connection.transport.is_closing():
                return connection
        return None

    async def _connect(self, timeout_s: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(lambda: _Connection(self), self.host, self.port)
        except (OSError, TimeoutError) as error:
            raise NotSentError(f"{self.host}:{self.port}: {error or 'connect timed out'}") from error
        return connection


async def fetch_json(url: str, *, method: str = "GET", body: Any = None, timeout_s: float = 1.0) -> Any | None:
    """The JSON value behind a URL, or None when it is not to be had."""
    parts = urlsplit(url)
    client = HttpClient(parts.hostname or "127.0.0.1", parts.port or 80)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    payload = b"" if body is None else json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    try:
        response = await client.request(method, target, headers=headers, body=payload, timeout_s=timeout_s)
        return response.json() if response.status < 400 else None
    except (NotSentError, BrokenError, TimeoutError, ValueError):
        return None
    finally:
        client.close()
