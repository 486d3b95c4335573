"""Where a target really is: each of its addresses, and what its engine or cluster shows of itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from faultload.host.addresses import leads_here
from faultload.platforms import platform_of
from faultload.spec.target import TargetFile


def elsewhere(target: TargetFile, urls: Iterable[tuple[str, str]] = ()) -> list[str]:
    """What of a target is not on this machine, as far as its addresses say it. Nothing is connected to.

    `urls`: more that is asked or loaded, as (what it is, URL).
    """
    return [f"{what} is {address}" for what, address in (*_addresses(target), *urls) if not leads_here(address)]


def unproven(target: TargetFile) -> list[str]:
    """Why what answers at addresses of this machine is not on it: a tunnel, a forwarded socket. Asks it.

    Raises TargetError when nothing answers.
    """
    return [] if target.platform == "external" else platform_of(target).unproven()


def names_of(target: TargetFile) -> list[str]:
    """What `allow` and `--approve` may call a target: its id, and its engine or cluster by address."""
    address = None if target.platform in ("local", "external") else platform_of(target).address
    return [name for name in (target.id, address and f"{target.platform}:{address}") if name]


def _addresses(target: TargetFile) -> Iterator[tuple[str, str]]:
    if target.url is not None:
        yield "its url", target.url
    if target.platform != "external":
        address = platform_of(target).address
        if address is not None:
            yield {"docker": "its engine", "kubernetes": "its cluster"}[target.platform], address
    for name, service in target.services.items():
        if service.address is not None:
            yield f"the address of {name}", service.address
        for url in service.patroni or ():
            yield f"Patroni of {name}", url
        for host in hosts_of(service.dsn or ""):
            yield f"a host of {name}'s dsn", host
    for name, link in target.links.items():
        if link.proxy is not None:
            yield f"the proxy of {name}", link.proxy


def hosts_of(dsn: str) -> list[str]:
    """The hosts that libpq would connect to by a connection string: names, addresses, folders of sockets.

    PGHOST and PGHOSTADDR count where the string names none. A service file, or a string that cannot be read, is
    returned as it is: it leads nowhere that is known. Nothing where psycopg is not installed: nothing here
    connects then.
    """
    if not dsn:
        return []
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        return []
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except ProgrammingError:
        return ["a string that cannot be read"]
    service = found.get("service") or os.environ.get("PGSERVICE")
    if service:
        return [f"of the service {service}"]
    named = [
        found.get(key) or os.environ.get(variable, "")
        for key, variable in (("hostaddr", "PGHOSTADDR"), ("host", "PGHOST"))
    ]
    hosts = next(filter(None, named), "")
    return [host for host in hosts.split(",") if host]
