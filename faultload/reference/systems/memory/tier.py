"""A tier of the memory service, `cloud` or `shortterm`: an in-memory index that mirrors the database."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from faultload.reference.kit.database import Database
from faultload.reference.kit.metrics import STORED
from faultload.reference.kit.server import serve
from faultload.reference.kit.settings import Settings, arguments
from faultload.reference.systems.memory.model import Memory
from faultload.reference.systems.memory.store import Store, mirror

PER_USER = {"cloud": 5000, "shortterm": 100}


def application(name: str, store: Store) -> Starlette:
    """Search, look up, take what an API pushes."""

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "service": name, "memories": len(store)})

    async def search(request: Request) -> JSONResponse:
        if not store.loaded:
            return JSONResponse({"error": "still loading"}, 503)
        asked = request.query_params
        return JSONResponse({"results": store.search(asked.get("user_id", ""), asked.get("query", ""))})

    async def lookup(request: Request) -> JSONResponse:
        return JSONResponse({"found": store.lookup(await request.json())})

    async def push(request: Request) -> JSONResponse:
        store.push(Memory(*row) for row in await request.json())
        return JSONResponse({})

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/search", search),
            Route("/lookup", lookup, methods=["POST"]),
            Route("/push", push, methods=["POST"]),
        ]
    )


def main() -> None:
    given = arguments("faultload.reference.systems.memory.tier", "name")
    settings: Settings = given.settings

    async def build() -> tuple[Starlette, list[Coroutine[Any, Any, None]]]:
        store = Store(PER_USER[given.name])
        STORED.labels(given.name).set_function(lambda: len(store))
        database = Database(settings.database, settings.user, settings.password, size=1)
        return application(given.name, store), [mirror(store, database)]

    serve(given.name, settings.host, given.port, build)


if __name__ == "__main__":
    main()
