"""The memory service's API; three such processes run."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from faultload.reference.kit.breaker import Breaker
from faultload.reference.kit.cache import Cache
from faultload.reference.kit.database import Database, UnavailableError
from faultload.reference.kit.metrics import BREAKER_OPEN, CACHE_LOOKUPS
from faultload.reference.kit.server import serve
from faultload.reference.kit.settings import Settings, arguments
from faultload.reference.systems.memory.model import Memory, topic_of
from faultload.reference.systems.memory.reading import Reader, Tier, TierDownError
from faultload.reference.systems.memory.writing import BatchWriter, Writer

KEYS = 200
LIMITS = {"user_id": 200, "key": 200, "topic": 40, "text": 10_000}


class Api:
    """The handlers of one instance."""

    def __init__(self, port: int, reader: Reader, database: Database, writer: Writer, defects: frozenset[str]):
        self._instance = zlib.crc32(f"{socket.gethostname()}:{port}".encode()) >> 1
        self._reader = reader
        self._database = database
        self._writer = writer
        self._slow = "slow-search" in defects
        size = 0 if "cache-off" in defects else 20_000
        self._searches: Cache[tuple[str, bytes]] = Cache(size=size)
        self._insights: Cache[bytes] = Cache(size=size)
        self._insights_breaker = breaker = Breaker()
        BREAKER_OPEN.labels("database").set_function(lambda: breaker.open)

    async def create(self, request: Request) -> Response:
        """201 once the memory is committed; the same key again is the same memory."""
        try:
            given = json.loads(await request.body())
            problem = _problem(given)
        except ValueError:
            problem = "the body is not JSON"
        if problem:
            return JSONResponse({"error": problem}, 422)
        memory = await self._writer.write(
            str(given.get("key") or uuid.uuid4()),
            given["user_id"],
            str(given.get("topic") or topic_of(given["text"])),
            given["text"],
        )
        return JSONResponse({**memory, "tier": "database"}, 201)

    async def search(self, request: Request) -> Response:
        user_id, query = request.query_params.get("user_id", ""), request.query_params.get("query", "")
        if not user_id:
            return JSONResponse({"error": "user_id is required"}, 422)
        if self._slow:
            await asyncio.sleep(0.3)
        hit = self._searches.fresh((user_id, query))
        CACHE_LOOKUPS.labels("searches", "miss" if hit is None else "hit").inc()
        if hit is None:
            tier, results = await self._reader.search(user_id, query)
            body = JSONResponse({"tier": tier, "results": results}).body
            entry = (tier, bytes(body))
            self._searches.put((user_id, query), entry)
        else:
            entry = hit
        headers = {"x-tier": entry[0], "x-cache": "miss" if hit is None else "hit"}
        return Response(entry[1], media_type="application/json", headers=headers)

    async def insights(self, request: Request) -> Response:
        """Counts by day and topic; while the database is away the last known ones, marked stale."""
        user_id = request.path_params["user_id"]
        hit = self._insights.fresh(user_id)
        CACHE_LOOKUPS.labels("insights", "miss" if hit is None else "hit").inc()
        if hit is not None:
            return Response(hit, media_type="application/json", headers={"x-cache": "hit"})
        stale = self._insights.stale(user_id)
        if stale is not None and not self._insights_breaker.allow():
            return _stale(stale)
        try:
            rows = await self._database.run(
                "SELECT created_at::date::text, topic, count(*) FROM memories WHERE user_id = %s "
                "GROUP BY 1, 2 ORDER BY 1, 2",
                (user_id,),
            )
        except UnavailableError:
            self._insights_breaker.failure()
            if stale is None:
                raise
            return _stale(stale)
        self._insights_breaker.success()
        counts = [{"day": day, "topic": topic, "count": count} for day, topic, count in rows]
        total = sum(entry["count"] for entry in counts)
        body = bytes(JSONResponse({"user_id": user_id, "total": total, "counts": counts}).body)
        self._insights.put(user_id, body)
        return Response(body, media_type="application/json", headers={"x-cache": "miss"})

    async def memory(self, request: Request) -> Response:
        key = request.path_params["key"]
        found = await self._reader.lookup([key])
        if key not in found:
            return JSONResponse({"error": f"no memory {key}"}, 404)
        tier, memory = found[key]
        return JSONResponse({**memory, "tier": tier}, headers={"x-tier": tier})

    async def memories(self, request: Request) -> Response:
        """Which of up to 200 keys exist."""
        keys = [key for key in request.query_params.get("keys", "").split(",") if key]
        if not 0 < len(keys) <= KEYS:
            return JSONResponse({"error": f"keys: 1 to {KEYS} keys with commas between"}, 422)
        found = await self._reader.lookup(keys)
        return JSONResponse(
            {
                "found": [key for key in keys if key in found],
                "missing": [key for key in keys if key not in found],
                "tiers": {key: tier for key, (tier, _) in found.items()},
            }
        )

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "service": "api"})

    async def health_deep(self, _: Request) -> Response:
        """Each tier and a write to the database; 503 when no tier answers or nothing can be written."""
        tiers = dict(
            zip(
                (tier.name for tier in self._reader.tiers),
                await asyncio.gather(*map(_tier_health, self._reader.tiers)),
                strict=True,
            )
        )
        try:
            await self._database.run(
                "INSERT INTO heartbeats VALUES (%s, now()) ON CONFLICT (instance) DO UPDATE SET at = now()",
                (self._instance,),
            )
            tiers["legacy"] = database = "ok"
        except UnavailableError as error:
            database, tiers["legacy"] = f"down: {error}", "down"
        well = database == "ok" and "ok" in tiers.values()
        status = "down" if not well else "ok" if set(tiers.values()) == {"ok"} else "degraded"
        return JSONResponse({"status": status, "database": database, "tiers": tiers}, 200 if well else 503)

    def application(self) -> Starlette:
        async def unavailable(_: Request, error: Exception) -> Response:
            return JSONResponse({"error": f"unavailable: {error}"}, 503)

        return Starlette(
            routes=[
                Route("/memories/", self.create, methods=["POST"]),
                Route("/memories/", self.memories),
                Route("/memories/search", self.search),
                Route("/memories/{key}", self.memory),
                Route("/analytics/insights/{user_id}", self.insights),
                Route("/health", self.health),
                Route("/health/deep", self.health_deep),
            ],
            exception_handlers={UnavailableError: unavailable},
        )


def one_in_fifty_fails(application: ASGIApp) -> ASGIApp:
    """The defect: every fiftieth request but for health answers 500."""
    seen = 0

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal seen
        if scope["type"] == "http" and not scope["path"].startswith("/health"):
            seen += 1
            if seen % 50 == 0:
                await JSONResponse({"error": "one in fifty"}, 500)(scope, receive, send)
                return
        await application(scope, receive, send)

    return wrapped


def _problem(given: Any) -> str | None:
    if not isinstance(given, dict):
        return "the body is not a JSON object"
    for name, limit in LIMITS.items():
        value = given.get(name)
        if value is None and name in ("key", "topic"):
            continue
        if not isinstance(value, str) or not 0 < len(value) <= limit:
            return f"{name}: a string of 1 to {limit} characters"
    return None


def _stale(body: bytes) -> Response:
    value = {**json.loads(body), "stale": True}
    return JSONResponse(value, headers={"x-cache": "hit", "x-stale": "true"})


async def _tier_health(tier: Tier) -> str:
    try:
        await tier.ask("GET", "/health")
    except TierDownError:
        return "down"
    return "ok"


def main() -> None:
    given = arguments("faultload.reference.systems.memory.api")
    settings: Settings = given.settings
    defects = settings.defects

    async def build() -> tuple[ASGIApp, list[Coroutine[Any, Any, None]]]:
        database = Database(
            settings.databases_of(given.port),
            settings.user,
            settings.password,
            retry="no-retry" not in defects,
        )
        tiers = [Tier(name, *address) for name, address in settings.tiers.items()]
        reader = Reader(tiers, database, fallback="no-fallback" not in defects)
        make: Callable[..., Writer] = BatchWriter if "ack-before-commit" in defects else Writer
        writer = make(database, lambda memory: reader.push(Memory(**memory)))
        api = Api(given.port, reader, database, writer, defects)
        application: ASGIApp = api.application()
        if "one-in-fifty-fails" in defects:
            application = one_in_fifty_fails(application)
        return application, [reader.pushing(), writer.working()]

    serve("api", settings.host, given.port, build)


if __name__ == "__main__":
    main()
