"""The link proxy's client: lists a target's links, opens faults on them and undoes them by id."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from faultload.errors import TargetError


@dataclass(frozen=True, slots=True)
class Pair:
    """One instance pair of a link: where the proxy listens for it, and where it leads."""

    name: str
    host: str
    port: int
    protocol: str
    upstream: tuple[str, int]
    client: str | None = None
    server: str | None = None
    foreign: tuple[str, ...] = ()
    """What clients spoke on it on which the proxy can answer no request: TLS, HTTP/2."""


class LinkProxy:
    """A link proxy by its URL. Every call raises TargetError in plain words when it cannot be had."""

    def __init__(self, url: str, *, timeout_s: float = 3.0) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise TargetError(f"a link proxy's URL looks like http://127.0.0.1:9000, not {url!r}")
        self._address = (parts.hostname, parts.port)
        self._timeout_s = timeout_s

    def links(self) -> dict[str, Any]:
        """Every link by name: its pairs, open faults and connection count."""
        found = self._call("GET", "/links")
        links = found.get("links")
        return links if isinstance(links, dict) else {}

    def listeners(self, link: str) -> list[Pair]:
        """The instance pairs of a link."""
        links = self.links()
        if link not in links:
            raise TargetError(f"{self.url} has no link {link!r}: there are {', '.join(map(repr, links))}")
        return [
            Pair(
                name=pair["name"],
                host=_reachable(pair.get("listen_host")),
                port=int(pair["listen"]),
                protocol=pair["protocol"],
                upstream=(str(pair["upstream"][0]), int(pair["upstream"][1])),
                client=pair.get("client"),
                server=pair.get("server"),
                foreign=tuple(pair.get("foreign") or ()),
            )
            for pair in links[link]["pairs"]
        ]

    def add(
        self,
        link: str,
        fault_id: str,
        kind: str,
        params: Mapping[str, Any],
        expires_s: float,
        pairs: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        """Open a fault; the proxy undoes it by itself after `expires_s`. The same id again changes nothing."""
        body: dict[str, Any] = {"kind": kind, "params": dict(params), "expires_s": expires_s}
        if pairs is not None:
            body["pairs"] = list(pairs)
        return self._call("PUT", _path(link, fault_id), body)

    def remove(self, link: str, fault_id: str) -> bool:
        """Undo the fault with this id; False when it is not open (any more)."""
        return bool(self._call("DELETE", _path(link, fault_id)).get("removed"))

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(*self._address, timeout=self._timeout_s)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"content-type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TargetError(f"the link proxy at {self.url} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            problem = value.get("error", value) if isinstance(value, dict) else value
            raise TargetError(f"the link proxy at {self.url} refused {method} {path}: {problem}")
        if not isinstance(value, dict):
            raise TargetError(f"{self.url} is not a link proxy")
        return value


def _reachable(listen_host: str | None) -> str:
    """Where a listener of this machine can be reached."""
    return {None: "127.0.0.1", "": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(
        listen_host, str(listen_host)
    )


def _path(link: str, fault_id: str) -> str:
    return f"/links/{quote(link, safe='')}/faults/{quote(fault_id, safe='')}"
