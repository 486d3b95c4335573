"""http_error where its proxy can answer nobody: a link with TLS or HTTP/2 is refused before anything is touched."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest
from linkbench import LINK, TOKEN, Bench, bench

from faultload.agents.probes import speaks_tls
from faultload.errors import Refused
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest, PlatformFault
from faultload.spec.target import TargetFile

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How HTTP/2 begins without TLS, as gRPC does within a cluster (RFC 9113, section 3.4)."""
PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"


def client_hello() -> bytes:
    """What a TLS client sends first, as OpenSSL makes it."""
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="shop").do_handshake()
    return sent.read()


def plain_is_refused(data: bytes) -> bytes:
    """A server with TLS that says so to whoever comes without, as nginx does."""
    return _ALERT if data.startswith(b"\x16\x03") else b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


def http_error(links: Bench) -> PlatformFault:
    target = TargetFile.model_validate(
        {
            "id": "shop",
            "name": "shop",
            "platform": "local",
            "services": {"api": {"port": 1}, "db": {"port": 2}},
            "links": {LINK: {"proxy": links.proxy.url, "token": TOKEN}},
        }
    )
    return fault_for(target, FaultRequest("f#1@t", "http_error", {"link": LINK, "share": 1.0, "status": 503}))


def visit(links: Bench, first: bytes) -> None:
    with links.connect() as connection:
        connection.sendall(first)
        assert connection.recv(10)


@pytest.mark.parametrize(("first", "name"), [(client_hello(), "TLS"), (PREFACE, "HTTP/2")])
def test_http_error_is_refused_where_users_speak_something_else(tmp_path: Path, first: bytes, name: str) -> None:
    with bench(tmp_path, "http") as links:
        visit(links, PLAIN)
        fault = http_error(links)
        assert len(fault.resolve()) == 1, "plain HTTP is answered"
        visit(links, first)
        with pytest.raises(Refused, match=f"link '{LINK}' carries {name} on api-1 -> pg1"):
            fault.resolve()


def test_a_witness_never_counts_its_own_requests_where_users_speak_tls(tmp_path: Path) -> None:
    """They began only when the fault was there: the witness says that it strikes nobody."""
    with bench(tmp_path, "http", lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as links:
        fault = http_error(links)
        fault.prepare(fault.resolve())
        fault.inject([], {})
        visit(links, client_hello())
        seen = fault.witness([])
        fault.undo([], fault.undo_plan([]))
    assert not seen.seen and "carries TLS" in seen.what


def test_http_error_is_refused_where_only_plain_requests_are_answered_by_a_server_with_tls(tmp_path: Path) -> None:
    """Nobody has come yet: the server's own answer says what it speaks."""
    with bench(tmp_path, "http", plain_is_refused) as links:
        fault = http_error(links)
        with pytest.raises(Refused, match="speaks TLS"):
            fault.prepare(fault.resolve())
        assert links.proxy.links()[LINK]["faults"] == []


def test_http_error_is_refused_where_nothing_answered_before_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faultload.faults.network.local_answers._WITHIN_S", 0.3)

    def ends(data: bytes) -> bytes:
        raise OSError

    with bench(tmp_path, "http", ends) as links:
        fault = http_error(links)
        with pytest.raises(Refused, match="does not answer even without a fault"):
            fault.prepare(fault.resolve())


def test_a_server_speaks_tls_or_not(tmp_path: Path) -> None:
    with bench(tmp_path, "http", plain_is_refused) as links:
        assert speaks_tls(*links.address)
    with bench(tmp_path, "http", lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as links:
        assert not speaks_tls(*links.address)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not speaks_tls(*silent.getsockname(), timeout_s=0.3)
        assert time.monotonic() - began < 2
