"""What a process of the memory service reports to Prometheus at `/metrics`."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ROUTES = ("/memories/", "/memories/search", "/search", "/lookup", "/push")
PREFIXES = {"/memories/": "/memories/{key}", "/analytics/insights/": "/analytics/insights/{user_id}"}
GONE = "499"
"""The client went away before it had an answer; the status that nginx logs for it."""

REQUESTS = Counter("memory_requests", "Requests answered.", ("service", "method", "route", "status"))
SECONDS = Histogram("memory_request_seconds", "Time to answer.", ("service", "route"), buckets=BUCKETS_S)
IN_FLIGHT = Gauge("memory_requests_in_flight", "Requests being answered.", ("service",))
INSTANCES = Gauge("memory_gateway_instances", "API instances that the gateway knows.", ("state",))
RESENDS = Counter("memory_gateway_resends", "Requests sent to another API instance.", ("why",))
TIER_ANSWERS = Counter("memory_tier_answers", "Searches by the tier that answered.", ("tier",))
TIER_CALLS = Counter("memory_tier_calls", "Calls of a tier.", ("tier", "outcome"))
CACHE_LOOKUPS = Counter("memory_cache_lookups", "Look-ups in the caches of an API instance.", ("cache", "result"))
BREAKER_OPEN = Gauge("memory_breaker_open", "Whether a circuit breaker is open.", ("dependency",))
STATEMENTS = Counter("memory_database_statements", "Statements by what became of them.", ("outcome",))
CONNECTS = Counter("memory_database_connects", "Connections made to the leading member.", ("member",))
STORED = Gauge("memory_tier_memories", "Memories that a tier holds.", ("tier",))


def route_of(path: str) -> str:
    """The route of a path, so that keys and users do not each make a series of their own."""
    if path in ROUTES:
        return path
    return next((route for prefix, route in PREFIXES.items() if path.startswith(prefix)), "other")


class Metered:
    """Counts and times the requests of an application, but for health checks, and answers `/metrics`."""

    def __init__(self, service: str, application: ASGIApp) -> None:
        self._service = service
        self._application = application
        self._in_flight = IN_FLIGHT.labels(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/health"):
            await self._application(scope, receive, send)
        elif scope["path"] == "/metrics":
            await _metrics(send)
        else:
            await self._measured(scope, receive, send)

    async def _measured(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = GONE

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        clock = asyncio.get_running_loop().time
        started = clock()
        self._in_flight.inc()
        try:
            await self._application(scope, receive, noting)
        except Exception:
            status = "500"
            raise
        finally:
            self._in_flight.dec()
            route = route_of(scope["path"])
            REQUESTS.labels(self._service, scope["method"], route, status).inc()
            SECONDS.labels(self._service, route).observe(clock() - started)


async def _metrics(send: Send) -> None:
    body = generate_latest()
    headers: list[Any] = [(b"content-type", CONTENT_TYPE_LATEST.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
