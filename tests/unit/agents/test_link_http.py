"""HTTP/1 in the link proxy: however the bytes arrive, every request is answered once, in order, and unharmed."""

from __future__ import annotations

import random

import pytest

from faultload.agents.link.http1 import Errors, Exchange

OURS = b"x-faultload: http_error"


class Struck(Errors):
    """Answers exactly those requests whose turn it is."""

    def __init__(self, turns: list[bool]) -> None:
        super().__init__(0.5, 503, random.Random(1))
        self.turns = list(turns)

    def strikes(self) -> bool:
        return self.turns.pop(0)


def request(number: int, kind: str) -> bytes:
    body = bytes(random.Random(number).randbytes(number * 37 % 400)) + b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    head = f" /{number} HTTP/1.1\r\nHost: a\r\n".encode()
    if kind == "length":
        return b"POST" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if kind == "chunked":
        half = len(body) // 2
        chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
        return b"PUT" + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: 1\r\n\r\n"
    return (b"HEAD" if kind == "head" else b"GET") + head + b"\r\n"


def answer(number: int, kind: str) -> bytes:
    body = b"<%d>" % number + bytes(number * 53 % 300) + b"HTTP/1.1 200 OK\r\n\r\n"
    if kind == "head":
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    if kind == "chunked":
        return (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"%X\r\n%s\r\n" % (len(body), body))
            + b"0\r\n\r\n"
        )
    if kind == "empty":
        return b"HTTP/1.1 204 No Content\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.sample(range(1, len(data)), min(len(data) - 1, chance.choice([0, 1, 5, 60, len(data)]))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.mark.parametrize("seed", range(60))
def test_pipelined_requests_in_any_pieces_are_answered_once_in_order_and_unharmed(seed: int) -> None:
    chance = random.Random(seed)
    kinds = [chance.choice(["get", "head", "length", "chunked", "empty"]) for _ in range(chance.randint(1, 12))]
    turns = [chance.random() < 0.5 for _ in kinds]
    errors = Struck(turns)
    exchange = Exchange(lambda: errors)
    sent = b"".join(request(n, kind) for n, kind in enumerate(kinds))
    to_server, to_client = b"", b""
    for piece in pieces(sent, chance):
        to_server += exchange.from_client(piece)
        to_client += exchange.own_answers()
    passed = [(n, kind) for (n, kind), ours in zip(enumerate(kinds), turns, strict=True) if not ours]
    assert to_server == b"".join(request(n, kind) for n, kind in passed)
    answers = b"".join(answer(n, kind) for n, kind in passed)
    for piece in pieces(answers, chance) if answers else []:
        to_client += exchange.from_server(piece)
    for number, (kind, ours) in enumerate(zip(kinds, turns, strict=True)):
        expected = answer(number, kind)
        if ours:
            end = to_client.index(b"\r\n\r\n") + 4
            assert to_client.startswith(b"HTTP/1.1 503 Service Unavailable\r\n") and OURS in to_client[:end]
            expected = to_client[:end]
            if kind != "head":
                expected += b"503 Service Unavailable: injected fault http_error\n"
        assert to_client.startswith(expected), number
        to_client = to_client[len(expected) :]
    assert to_client == b""


@pytest.mark.parametrize("seed", range(20))
def test_without_a_fault_every_byte_passes_at_once(seed: int) -> None:
    chance = random.Random(seed)
    exchange = Exchange(lambda: None)
    kinds = [chance.choice(["get", "head", "length", "chunked", "empty"]) for _ in range(8)]
    for piece in pieces(b"".join(request(n, kind) for n, kind in enumerate(kinds)), chance):
        assert exchange.from_client(piece) == piece
    for piece in pieces(b"".join(answer(n, kind) for n, kind in enumerate(kinds)), chance):
        assert exchange.from_server(piece) == piece
    assert exchange.own_answers() == b""


def test_a_request_that_had_begun_before_the_fault_passes_as_a_whole() -> None:
    errors: list[Errors | None] = [None]
    exchange = Exchange(lambda: errors[0])
    assert exchange.from_client(b"GET / HTT") == b"GET / HTT"
    errors[0] = Errors(1.0, 503, random.Random(1))
    assert exchange.from_client(b"P/1.1\r\n\r\n") == b"P/1.1\r\n\r\n"
    assert exchange.from_client(b"GET / HTT") == b""
    assert exchange.own_answers() == b""
    assert exchange.from_client(b"P/1.1\r\n\r\n") == b""
    assert exchange.own_answers() == b"", "the answer before it has not come yet"
    assert exchange.from_server(b"HTTP/1.1 204 x\r\n\r\n").count(b"HTTP/1.1 503") == 1


@pytest.mark.parametrize(
    "other",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30),
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"NOT-A-METHOD-" + b"X" * 100,
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70000,
    ],
)
def test_what_is_not_http_passes_unharmed_also_under_a_fault(other: bytes) -> None:
    exchange = Exchange(lambda: Errors(1.0, 503, random.Random(1)))
    passed = b"".join(exchange.from_client(other[at : at + 50]) for at in range(0, len(other), 50))
    assert passed + exchange.client_ended() == other
    assert exchange.own_answers() == b""
    reply = b"\x15\x03" + bytes(70)
    assert exchange.from_server(reply) == reply


def test_after_an_upgrade_bytes_pass_both_ways() -> None:
    errors: list[Errors | None] = [None]
    exchange = Exchange(lambda: errors[0])
    exchange.from_client(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
    switched = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello"
    errors[0] = Errors(1.0, 503, random.Random(1))
    assert exchange.from_server(switched) == switched
    assert exchange.from_client(b"\x81\x85") == b"\x81\x85"
    assert exchange.from_client(b"GET / HTTP/1.1\r\n\r\n") == b"GET / HTTP/1.1\r\n\r\n"
    assert exchange.own_answers() == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
    ],
)
def test_where_no_next_request_can_be_told_the_answer_closes_the_connection(head: bytes) -> None:
    exchange = Exchange(lambda: Errors(1.0, 500, random.Random(1)))
    assert exchange.from_client(head) == b""
    given = exchange.own_answers()
    assert given.startswith(b"HTTP/1.1 500 ") and b"connection: close\r\n" in given and exchange.over
    assert exchange.from_client(b"123456789GET / HTTP/1.1\r\n\r\n") == b"" and exchange.own_answers() == b""


def test_a_server_that_ends_an_idle_connection_does_not_end_it_while_all_is_answered_here() -> None:
    errors: list[Errors | None] = [None]
    exchange = Exchange(lambda: errors[0])
    assert not exchange.outlives_server()
    errors[0] = Errors(1.0, 503, random.Random(1))
    assert exchange.outlives_server()
    exchange.from_client(b"GET / HTTP/1.1\r\n\r\n")
    assert exchange.own_answers().startswith(b"HTTP/1.1 503 ")
    errors[0] = None
    exchange.from_client(b"GET / HTTP/1.1\r\n\r\n")
    assert not exchange.outlives_server(), "an answer of the server is awaited"
