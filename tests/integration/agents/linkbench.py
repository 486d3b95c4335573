"""A link proxy process in front of a small echo server, for tests with real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import TargetError
from faultload.host.processes import identify, spawn
from faultload.platforms.local.links import LinkProxy
from faultload.reference.kit.ports import free_ports

LINK = "api -> db"
TOKEN = "a-token-of-the-tests"


@dataclass
class Bench:
    """The proxy's client, its listener's address, and its process."""

    proxy: LinkProxy
    address: tuple[str, int]
    process: subprocess.Popen[bytes]

    def connect(self, timeout_s: float = 2.0) -> socket.socket:
        return socket.create_connection(self.address, timeout=timeout_s)


def echo(connection: socket.socket, payload: bytes = b"ping", timeout_s: float = 2.0) -> float:
    """Seconds for a round trip."""
    connection.settimeout(timeout_s)
    started = time.perf_counter()
    connection.sendall(payload)
    left = len(payload)
    while left:
        got = connection.recv(left)
        if not got:
            raise EOFError
        left -= len(got)
    return time.perf_counter() - started


def serve(server: socket.socket, answer: Callable[[bytes], bytes] = lambda data: data) -> None:
    """Send what `answer` says for what comes, on every connection; by default the same."""

    def converse(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                connection.sendall(answer(data))

    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=converse, args=(connection,), daemon=True).start()


@contextlib.contextmanager
def bench(
    folder: Path, protocol: str = "tcp", answer: Callable[[bytes], bytes] = lambda data: data
) -> Iterator[Bench]:
    """`answer`: what the server sends for what it gets; by default the same."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(server, answer), daemon=True).start()
    control, listen, spare = free_ports(3)
    upstream = ["127.0.0.1", server.getsockname()[1]]
    pair = {"name": "api-1 -> pg1", "listen": listen, "upstream": upstream, "protocol": protocol}
    other = {"name": "api-2 -> pg1", "listen": spare, "upstream": upstream, "protocol": "tcp"}
    config = folder / "links.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps({"control": control, "token": TOKEN, "links": {LINK: [pair], "other": [other]}}))
    argv = [sys.executable, "-m", "faultload.agents.link.proxy", "--config", str(config)]
    process = spawn(argv, log=folder / "links.log")
    try:
        proxy = LinkProxy(f"http://127.0.0.1:{control}", TOKEN)
        deadline = time.monotonic() + 10
        while True:
            try:
                proxy.links()
                break
            except TargetError:
                assert time.monotonic() < deadline and identify(process.pid), (folder / "links.log").read_text()
                time.sleep(0.05)
        yield Bench(proxy, ("127.0.0.1", listen), process)
    finally:
        process.kill()
        process.wait()
        server.close()
