"""The network agent takes orders from its own user only, although all in its namespace reach its socket."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from faultload.agents.network.agent import Agent


class Obedient(Agent):
    """Remembers its orders and does nothing."""

    def __init__(self) -> None:
        self.ends_at = time.monotonic() + 3.0
        self.orders: list[Any] = []

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        self.orders.append(order)
        return {"done": True}


@pytest.fixture
def served() -> Iterator[tuple[Obedient, str]]:
    agent, address = Obedient(), f"\0faultload-test-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(8)
        serving = threading.Thread(target=agent.serve, args=(listener,))
        serving.start()
        yield agent, address
        agent.ends_at = 0.0  # at which it looks twice a second
        serving.join(5)


def asked(address: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(2.0)
        caller.connect(address)
        try:
            caller.sendall(b'{"do": "undo"}\n')
            return caller.recv(1000)
        except ConnectionError:
            return b""


def test_its_own_user_is_answered(served: tuple[Obedient, str]) -> None:
    agent, address = served
    assert json.loads(asked(address)) == {"done": True}
    assert agent.orders == [{"do": "undo"}]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_is_neither_heard_nor_answered(served: tuple[Obedient, str]) -> None:
    agent, address = served
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(12345)
            os.write(writing, asked(address) or b"nothing")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1000) == b"nothing"
    os.close(reading)
    os.close(writing)
    assert agent.orders == []


def test_a_signal_that_just_missed_a_wait_is_seen_soon() -> None:
    """Python runs no handler within a wait, and the signal does not come twice."""
    agent = Obedient()
    waits: list[float] = []

    class Silent:
        def settimeout(self, seconds: float) -> None:
            waits.append(seconds)

        def accept(self) -> None:
            if len(waits) == 3:
                agent.ends_at = 0.0
            raise TimeoutError

    agent.ends_at = time.monotonic() + 60.0
    agent.serve(cast(Any, Silent()))
    assert len(waits) == 3 and max(waits) <= 1.0
