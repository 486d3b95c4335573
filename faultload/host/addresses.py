"""Where an address leads: URLs read as whoever connects reads them, and whether a host is this machine."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

_AUTHORITY = re.compile(r"(?:[\w.~!$&'()*+,;=:%-]*@)?(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::\d*)?", re.ASCII)
"""User, host and port of a URL, as far as RFC 3986 and all that connect agree on it: no backslash, no second @."""

_SOCKETS = ("unix", "npipe", "http+unix", "fd")


@dataclass(frozen=True, slots=True)
class Address:
    """Scheme, host and port of a URL; the port is None where the URL names none."""

    scheme: str
    host: str
    port: int | None


def address_of(url: str) -> Address:
    """Read a URL. Raises ValueError, with the reason, for one that two programs could read in two ways."""
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ValueError(f"{url!r} holds a blank or a control character")
    if "\\" in url:
        raise ValueError(f"{url!r} holds a backslash: programs do not agree on what is its host")
    parts = urlsplit(url)
    if not parts.scheme or not _AUTHORITY.fullmatch(parts.netloc):
        raise ValueError(f"{url!r} does not say which host it means, as in http://127.0.0.1:8080")
    return Address(parts.scheme.lower(), parts.hostname or "", parts.port)


def leads_here(address: str) -> bool:
    """Whether a URL, a socket (`unix:///path`, `/path`) or a plain host leads to this machine, and nowhere else."""
    scheme = address.partition("://")[0] if "://" in address else ""
    if scheme in _SOCKETS or address.startswith(("/", "@")):
        return True
    if scheme == "ssh":
        return False  # its host reads loopback as itself, and a tunnel leads on
    try:
        return is_this_machine(address_of(address).host if scheme else address)
    except ValueError:
        return False


def is_this_machine(host: str) -> bool:
    """Whether a host name or address leads to loopback, and nowhere else.

    An address of this machine's network card does not count: others use it too. A name is resolved, and counts
    if all of its addresses do; one that cannot be resolved does not.
    """
    addresses = resolved(host)
    return bool(addresses) and all(_is_loopback(one) for one in addresses)


def resolved(host: str) -> list[str]:
    """The addresses of a host name, or the address that it is; empty where it cannot be resolved."""
    host = host.strip("[]")
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)})
    except (OSError, UnicodeError):
        return []


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
