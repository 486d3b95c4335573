"""What probes read from answers, with answers that come as late as a test says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import pytest

from faultload.agents.probes import close_all, more_than, opened, reachable, round_trips, silence_of, status

ANSWER = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
HOST = "127.83.7.1"
"""A loopback address that nothing else on the machine connects to: connections are counted here."""


class Spot(NamedTuple):
    name: str
    host: str
    port: int
    protocol: str


class Late:
    """Answers each connection's request after the next of these delays in seconds; None: never."""

    def __init__(self, *delays: float | None) -> None:
        self._delays = list(delays)
        self._listener = socket.create_server((HOST, 0))
        self.asked = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def spot(self, name: str = "late", protocol: str = "http") -> Spot:
        return Spot(name, HOST, self._listener.getsockname()[1], protocol)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                delay = self._delays[min(self.asked, len(self._delays) - 1)]
                self.asked += 1
                threading.Thread(target=self._talk, args=(connection, delay), daemon=True).start()

    def _talk(self, connection: socket.socket, delay: float | None) -> None:
        with suppress(OSError), connection:
            while connection.recv(4096):
                if delay is not None:
                    time.sleep(delay)
                    connection.sendall(ANSWER)

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def late() -> Iterator[type[Late]]:
    made: list[Late] = []

    class Kept(Late):
        def __init__(self, *delays: float | None) -> None:
            super().__init__(*delays)
            made.append(self)

    yield Kept
    for one in made:
        one.end()


def test_one_late_answer_of_three_says_nothing_of_the_link(late: type[Late]) -> None:
    assert round_trips([late(0.4, 0.0, 0.4).spot()], 1000)["late"] < 0.3


def test_where_the_delay_varies_the_middle_one_counts(late: type[Late]) -> None:
    assert 0.1 <= round_trips([late(0.0, 0.1, 2.0).spot()], 1000, 1000)["late"] < 1.5


@pytest.mark.parametrize(("jitter_ms", "quickest"), [(10, True), (11, False)])
def test_a_delay_varies_when_its_jitter_is_more_than_a_quarter(
    late: type[Late], jitter_ms: float, quickest: bool
) -> None:
    assert (round_trips([late(0.4, 0.0, 0.4).spot()], 40, jitter_ms)["late"] < 0.3) == quickest


def test_each_place_counts_by_itself_and_a_silent_one_not_at_all(late: type[Late]) -> None:
    slow, quick, silent = late(0.3).spot("slow"), late(0.0).spot("quick"), late(None)
    found = round_trips([slow, quick, silent.spot("silent")], 0.0)
    assert found.keys() == {"slow", "quick"} and silent.asked == 1
    added = more_than(found, {"slow": found["slow"] - 0.3, "quick": found["quick"], "silent": 0.0})
    assert added == pytest.approx([0.0, 0.3])


def test_nothing_in_common_is_no_difference() -> None:
    assert more_than({"a": 1.0}, {"b": 1.0}) == more_than({}, {"a": 1.0}) == []


def test_a_status_is_read_from_the_head(late: type[Late]) -> None:
    assert status(late(0.0).spot()) == 503
    assert status(late(None).spot(), 0.1) is None


@pytest.mark.parametrize(("protocol", "answers"), [("http", False), ("tcp", True)])
def test_a_server_that_only_accepts_is_reachable_where_nothing_can_be_asked(
    late: type[Late], protocol: str, answers: bool
) -> None:
    assert reachable(late(None).spot(protocol=protocol), 0.2) == answers


def problems(spots: Sequence[Spot]) -> list[str]:
    probes = opened(spots)
    try:
        return silence_of(probes, spots)
    finally:
        close_all(probes)


def test_what_talks_accepts_or_refuses_is_not_silent(late: type[Late]) -> None:
    talking = late(0.0).spot("talking")
    assert problems([talking]) == [
        "an established connection of talking still answers",
        "talking still accepts connections",
    ]
    with socket.create_server((HOST, 0)) as gone:
        nobody = Spot("nobody", HOST, gone.getsockname()[1], "http")
    assert "nobody refuses" in problems([nobody])[0]
    assert problems([]) == []
