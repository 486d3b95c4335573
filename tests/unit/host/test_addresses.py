"""Which hosts are this machine, and how a URL is read."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from faultload.host.addresses import Address, address_of, is_this_machine, leads_here

NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "db.local": ["127.0.0.1"],
    "shop.example": ["203.0.113.5"],
    "half.example": ["127.0.0.1", "203.0.113.5"],
    "127.1": ["127.0.0.1"],
    "0x7f.1": ["127.0.0.1"],
    "3405803781": ["203.0.113.5"],
    "localhost.": ["127.0.0.1"],
    "localhost.example.org": ["203.0.113.6"],
    "127.0.0.1.example.org": ["203.0.113.7"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names resolve as this machine's resolver could have it."""

    def resolve(host: str, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:203.0.113.5", False),
        ("localhost", True),
        ("localhost.", True),
        ("db.local", True),
        ("127.1", True),
        ("0x7f.1", True),
        ("shop.example", False),
        ("half.example", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("3405803781", False),
        ("nobody.example", False),
        ("10.0.0.1", False),
        ("192.168.1.7", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("x" * 70, False),
        ("..", False),
    ],
)
def test_loopback_alone_is_this_machine(host: str, here: bool) -> None:
    assert is_this_machine(host) is here


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://127.0.0.1:8080/path", True),
        ("http://localhost:1", True),
        ("http://LOCALHOST.:1", True),
        ("https://user:secret@[::1]:80", True),
        ("tcp://127.0.0.1:2375", True),
        ("unix:///var/run/docker.sock", True),
        ("npipe:////./pipe/docker_engine", True),
        ("/var/run/postgresql", True),
        ("@abstract", True),
        ("127.0.0.1", True),
        ("http://10.0.0.1", False),
        ("tcp://engine.example:2376", False),
        ("ssh://me@localhost", False),
        ("http://localhost@203.0.113.5", False),
        ("http://203.0.113.5\\@127.0.0.1:1", False),
        ("http://127.0.0.1\t.example", False),
        ("http://127.0.0.1@203.0.113.5@127.0.0.1", False),
        ("http://127.0.0.1#@203.0.113.5", True),
        ("http://", False),
        ("http:///path", False),
        ("", False),
    ],
)
def test_an_address_leads_where_whoever_connects_would_go(address: str, here: bool) -> None:
    assert leads_here(address) is here


def test_a_url_is_read() -> None:
    assert address_of("HTTPS://User:pw@Shop.Example:8443/a?b#c") == Address("https", "shop.example", 8443)
    assert address_of("http://[::1]/") == Address("http", "::1", None)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://203.0.113.5\\@127.0.0.1:1", "backslash"),
        ("http://127.0.0.1\r\nHost: other", "control character"),
        ("http://127.0.0.1 .example", "blank"),
        ("http://a@b@127.0.0.1", "which host"),
        ("http://127.0.0.1:80:90", "which host"),
        ("http://[::1", "."),
        ("http://127.0.0.1:99999", "."),
        ("//127.0.0.1", "which host"),
        ("127.0.0.1:80", "which host"),
    ],
)
def test_a_url_that_two_programs_could_read_in_two_ways_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        address_of(url)
