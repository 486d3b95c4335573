"""A link proxy without faults hands bytes on as they come, both ways, and ends what either side ends."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from faultload.agents.link.proxy import LinkProxy
from faultload.reference.kit.ports import free_ports

HOST = "127.0.0.1"


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with closing(socket.create_server((HOST, 0))) as listener:
        listener.settimeout(5.0)
        yield listener


@pytest.fixture
def near(far: socket.socket) -> Iterator[int]:
    (port,) = free_ports(1)
    loop = asyncio.new_event_loop()
    pair = {"name": "far", "listen": port, "upstream": list(far.getsockname())}
    task = loop.create_task(LinkProxy({"links": {"link": [pair]}}).serve())

    def work() -> None:
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=work)
    thread.start()
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                break
        assert thread.is_alive()
        time.sleep(0.01)
    far.accept()[0].close()  # what the probe opened
    yield port
    loop.call_soon_threadsafe(task.cancel)
    thread.join(5.0)


def connected(far: socket.socket, near: int) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection((HOST, near), 5.0)
    server, _ = far.accept()
    server.settimeout(5.0)
    return client, server


def test_bytes_arrive_whole_and_in_order_both_ways(far: socket.socket, near: int) -> None:
    client, server = connected(far, near)
    data = bytes(range(256)) * 20_000

    def read(end: socket.socket) -> bytes:
        found = b""
        while len(found) < len(data):
            found += end.recv(1 << 16)
        return found

    with client, server:
        for source, end in ((client, server), (server, client)):
            sending = threading.Thread(target=source.sendall, args=(data,))
            sending.start()
            assert read(end) == data
            sending.join(5.0)


def test_the_end_of_one_stream_leaves_the_other_open(far: socket.socket, near: int) -> None:
    client, server = connected(far, near)
    with client, server:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert server.recv(100) == b"last words"
        assert server.recv(100) == b""
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"


def test_a_far_side_that_is_not_there_ends_the_connection(far: socket.socket, near: int) -> None:
    far.close()
    with suppress(ConnectionResetError), socket.create_connection((HOST, near), 5.0) as client:
        assert client.recv(1) == b""
