"""The memory service's gateway: an HTTP reverse proxy over the healthy API instances."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Coroutine, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from faultload.reference.kit.http import BrokenError, HttpClient, NotSentError, Response
from faultload.reference.kit.metrics import INSTANCES, RESENDS
from faultload.reference.kit.names import addresses_of
from faultload.reference.kit.server import serve
from faultload.reference.kit.settings import Address, Settings, arguments

CHECK_S = 0.5
TRY_S = 1.5
TOTAL_S = 2.5
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", b"trailer", b"proxy-connection")
)
NOT_FORWARDED = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
REPEATABLE = ("GET", "HEAD", "OPTIONS")


class Instance:
    """One API instance as the gateway sees it; whatever goes wrong marks it down until a check succeeds."""

    def __init__(self, host: str, port: int, *, healthy: bool = True) -> None:
        self.client = HttpClient(host, port)
        self.client.on_lost_idle = self.suspect
        self._checks = HttpClient(host, port)
        self._look_now = asyncio.Event()
        self.healthy = healthy

    def suspect(self) -> None:
        """Out of rotation, and looked at once more at once."""
        if self.healthy:
            self.healthy = False
            self._look_now.set()

    async def checking(self) -> None:
        """A health check each half second."""
        try:
            while True:
                await self._check()
                try:
                    async with asyncio.timeout(CHECK_S):
                        await self._look_now.wait()
                except TimeoutError:
                    continue
                self._look_now.clear()
                await asyncio.sleep(0.02)
        finally:
            self.client.close()
            self._checks.close()

    async def _check(self) -> None:
        try:
            found = await self._checks.request("GET", "/health", timeout_s=CHECK_S)
            self.healthy = found.status == 200
        except (NotSentError, BrokenError, TimeoutError):
            self.healthy = False


class Gateway:
    """Round robin over the healthy instances, or over all when none is."""

    def __init__(self, upstreams: Sequence[Address]) -> None:
        self._upstreams = upstreams
        self._instances = {address: Instance(*address) for address in upstreams if _is_ip(address[0])}
        self._turn = 0
        for state, count in (("known", self._known), ("healthy", self._healthy)):
            INSTANCES.labels(state).set_function(count)
        for why in ("not_sent", "broke_off", "timeout"):
            RESENDS.labels(why)  # shown as 0 until it happens

    async def watching(self) -> None:
        """Check every instance; those of a name come and go with the addresses that it stands for."""
        checks = {address: asyncio.create_task(one.checking()) for address, one in self._instances.items()}
        try:
            while True:
                for address in (await self._wanted()) ^ checks.keys():
                    if address in checks:
                        checks.pop(address).cancel()
                        del self._instances[address]
                    else:
                        self._instances[address] = one = Instance(*address, healthy=False)
                        checks[address] = asyncio.create_task(one.checking())
                await asyncio.sleep(CHECK_S)
        finally:
            for check in checks.values():
                check.cancel()

    async def _wanted(self) -> set[Address]:
        """The addresses there should be; a name that stands for nothing right now leaves everything as it is."""
        wanted: set[Address] = set()
        for host, port in self._upstreams:
            if _is_ip(host):
                wanted.add((host, port))
                continue
            try:
                wanted |= await addresses_of(host, port)
            except OSError:
                return set(self._instances)
        return wanted

    def _known(self) -> int:
        return len(self._instances)

    def _healthy(self) -> int:
        return sum(one.healthy for one in self._instances.values())

    def order(self) -> list[Instance]:
        """The instances to try, in order."""
        instances = list(self._instances.values())
        if not instances:
            return []
        self._turn += 1
        start = self._turn % len(instances)
        turned = instances[start:] + instances[:start]
        return [one for one in turned if one.healthy] or turned

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return
        if scope["path"] == "/health":
            response = _answer(200, {"status": "ok", "service": "gateway", "healthy_instances": self._healthy()})
        else:
            response = await self.forward(scope, body)
        headers = [pair for pair in response.headers if pair[0] not in HOP_BY_HOP and pair[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % len(response.body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})

    async def forward(self, scope: Scope, body: bytes) -> Response:
        """The answer of an instance; a request is sent again only when that is safe."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TOTAL_S
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        headers = [pair for pair in scope["headers"] if pair[0] not in NOT_FORWARDED]
        repeatable = scope["method"] in REPEATABLE
        problem = _answer(502, {"error": "no API instance answers"})
        for instance in self.order():
            left_s = min(TRY_S, deadline - loop.time())
            if left_s <= 0:
                break
            try:
                return await instance.client.request(
                    scope["method"], target, headers=headers, body=body, timeout_s=left_s
                )
            except NotSentError:
                instance.suspect()
                RESENDS.labels("not_sent").inc()
            except BrokenError as error:
                instance.suspect()
                problem = _answer(502, {"error": f"the API instance broke off: {error}"})
                if not repeatable:
                    break
                RESENDS.labels("broke_off").inc()
            except TimeoutError:
                instance.suspect()
                problem = _answer(504, {"error": "the API instance did not answer in time"})
                if not repeatable:
                    break
                RESENDS.labels("timeout").inc()
        return problem


async def _body(receive: Receive) -> bytes | None:
    """The whole request body; None when the client went away."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _answer(status: int, value: Any) -> Response:
    return Response(status, [(b"content-type", b"application/json")], json.dumps(value).encode())


def main() -> None:
    given = arguments("faultload.reference.kit.gateway")
    settings: Settings = given.settings

    async def build() -> tuple[ASGIApp, list[Coroutine[Any, Any, None]]]:
        gateway = Gateway(settings.gateway_upstreams)
        return gateway, [gateway.watching()]

    serve("gateway", settings.host, given.port, build)


if __name__ == "__main__":
    main()
