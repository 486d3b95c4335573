"""A TCP forwarder: `python -m faultload.reference.forwarder HOST:PORT=HOST:PORT ...`, each a listener and where to.

For what a reference system on a cluster offers where nothing better leads there. Bytes are handed on as they come;
an end of one side's stream ends the other's, and a reset resets.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from typing import cast

_CONNECT_S = 5.0


class _Side(asyncio.Protocol):
    """One of the two connections; what it reads its partner writes, no faster than that can."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.partner: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self.partner is not None and self.partner.transport is not None:
            self.partner.transport.write(data)

    def eof_received(self) -> bool:
        if (
            self.partner is not None
            and self.partner.transport is not None
            and self.partner.transport.can_write_eof()
        ):
            self.partner.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self.partner is not None and self.partner.transport is not None:
            if error is None:
                self.partner.transport.close()
            else:
                self.partner.transport.abort()

    def pause_writing(self) -> None:
        if self.partner is not None and self.partner.transport is not None:
            self.partner.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.partner is not None and self.partner.transport is not None:
            self.partner.transport.resume_reading()


class _Accepted(_Side):
    """A client's connection: it is read from once the far side is connected."""

    def __init__(self, to: tuple[str, int], tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._to = to
        self._tasks = tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        assert self.transport is not None
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, far = await asyncio.get_running_loop().create_connection(_Side, *self._to)
        except OSError:
            self.transport.abort()
            return
        self.partner, far.partner = far, self
        if self.transport.is_closing():
            assert far.transport is not None
            far.transport.close()
        else:
            self.transport.resume_reading()


async def forward(ways: list[tuple[tuple[str, int], tuple[str, int]]]) -> None:
    """Listen and hand on until cancelled. Raises OSError when a listener cannot be had."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    servers = [
        await loop.create_server(lambda to=to: _Accepted(to, tasks), *listen, backlog=1024)  # type: ignore[misc]
        for listen, to in ways
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _way(text: str) -> tuple[tuple[str, int], tuple[str, int]]:
    try:
        listen, to = (side.rsplit(":", 1) for side in text.split("="))
        return (listen[0], int(listen[1])), (to[0], int(to[1]))
    except (ValueError, IndexError):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT=HOST:PORT") from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="faultload.reference.forwarder")
    parser.add_argument("ways", nargs="+", type=_way, metavar="HOST:PORT=HOST:PORT")
    try:
        asyncio.run(forward(parser.parse_args().ways))
    except OSError as error:
        print(f"forwarder: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
