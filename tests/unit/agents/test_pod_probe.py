"""The probe of a policy partition against servers of this machine: what still answers is seen as such."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from faultload.agents.container import pod_probe
from faultload.platforms.kubernetes.helper import source


class Server:
    """Answers HTTP as long as it is told to; keeps connections open."""

    def __init__(self, close_after_answer: bool = False) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.silent = False
        self.close_after_answer = close_after_answer
        self.accepted = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.accepted.release()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while connection.recv(4096):
                if not self.silent:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    if self.close_after_answer:
                        return

    def refuse_new(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Probe:
    """The program as it runs in a container: its text, given to a Python that knows nothing of faultload."""

    def __init__(self, protocol: str, *addresses: str) -> None:
        argv = [sys.executable, "-I", "-c", source("pod_probe"), protocol, *addresses]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = self._line()["open"]

    def _line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def look(self) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write("look\n")
        self.process.stdin.flush()
        return self._line()

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(10)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    with suppress(OSError):
        server.refuse_new()


def test_while_nothing_is_cut_everything_answers(server: Server) -> None:
    probe = Probe("http", server.address)
    assert probe.opened == 1
    one = [server.address]
    assert probe.look() == {"held": one, "established": one, "new": one}
    assert probe.end() == 0


def test_silence_is_seen_on_both_kinds_of_connections(server: Server) -> None:
    probe = Probe("http", server.address)
    server.silent = True
    assert probe.look() == {"held": [server.address], "established": [], "new": []}
    probe.end()


def test_trap_an_established_connection_that_goes_on_is_seen(server: Server) -> None:
    """What a policy means for established connections is left to the implementation (kubernetes/website#43438)."""
    probe = Probe("http", server.address)
    server.refuse_new()
    assert probe.look() == {"held": [server.address], "established": [server.address], "new": []}
    probe.end()


def test_a_server_that_closes_after_each_answer_is_asked_over_a_fresh_connection() -> None:
    server = Server(close_after_answer=True)
    probe = Probe("http", server.address)
    for _ in range(2):  # one that is only in the backlog would be reset with it
        assert server.accepted.acquire(timeout=30)
    server.refuse_new()
    assert probe.look()["established"] == [server.address]
    probe.end()


def test_of_plain_tcp_only_new_connections_can_be_seen(server: Server) -> None:
    probe = Probe("tcp", server.address)
    assert probe.look() == {"held": [server.address], "established": [], "new": [server.address]}
    server.refuse_new()
    assert probe.look()["new"] == []
    probe.end()


def test_a_server_that_is_not_reached_is_not_counted(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    probe = Probe("http", server.address, nobody)
    assert probe.opened == 1
    probe.end()


def test_the_postgresql_question_is_its_ssl_request() -> None:
    assert pod_probe.QUESTIONS["postgres"] == bytes([0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F])
