"""A fast HTTP server on the loopback for load tests, run as a child process; prints its port."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

SEEN: Counter[str] = Counter()


def _answer(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status.encode(),
        len(body),
        body,
    )


OK = _answer("200 OK", b'{"ok": true}')


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.data = b""
        SEEN["connections"] += 1

    def data_received(self, data: bytes) -> None:
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, rest = self.data.partition(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            if len(rest) < length:
                return
            self.data = rest[length:]
            path = head.split(b" ", 2)[1].decode().partition("?")[0]
            SEEN[path] += 1
            self.respond(path)

    def respond(self, path: str) -> None:
        match path.split("/")[1:]:
            case ["seen"]:
                self.transport.write(_answer("200 OK", json.dumps(SEEN).encode()))
            case ["reset"]:
                self.transport.abort()
            case ["close"]:
                self.transport.close()
            case ["status", status]:
                self.transport.write(_answer(f"{status} Status", b"\xff\xfe"))
            case ["garbage"]:
                self.transport.write(b"no HTTP at all\r\n\r\n")
            case ["never"]:
                pass
            case ["drip"]:
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                asyncio.get_running_loop().create_task(self.drip())
            case _:
                self.transport.write(OK)

    async def drip(self) -> None:
        for _ in range(1000):
            await asyncio.sleep(0.1)
            if self.transport.is_closing():
                return
            self.transport.write(b".")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
