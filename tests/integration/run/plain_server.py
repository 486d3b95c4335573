"""A small HTTP server on a port of the loopback: 200 for everything; `--fail N` answers every Nth with 500."""

from __future__ import annotations

import argparse
import asyncio
import itertools


class Connection(asyncio.Protocol):
    count = itertools.count(1)
    fail = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, self.data = self.data.partition(b"\r\n\r\n")
            healthy = b"/health" in head.split(b"\r\n", 1)[0]
            bad = not healthy and self.fail and next(self.count) % self.fail == 0
            status = b"500 Broken" if bad else b"200 OK"
            body = b"" if head.startswith(b"HEAD") else b"ok"
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n" + body)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fail", type=int, default=0)
    arguments = parser.parse_args()
    Connection.fail = arguments.fail
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", arguments.port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
