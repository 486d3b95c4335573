"""One process of the memory service: an ASGI application on a port, and its background tasks."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvicorn
import uvloop

from faultload.agents.lifeline import die_with_parent
from faultload.reference.kit.metrics import Metered

Build = Callable[[], Awaitable[tuple[Any, list[Coroutine[Any, Any, None]]]]]


def serve(service: str, host: str, port: int, build: Build) -> None:
    """Serve until SIGTERM or the parent's death; a task that ends with an error ends the process."""
    die_with_parent()
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    uvloop.run(_serve(service, host, port, build))


async def _serve(service: str, host: str, port: int, build: Build) -> None:
    application, beside = await build()
    server = uvicorn.Server(
        uvicorn.Config(
            Metered(service, application),
            host=host,
            port=port,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=3600,
            timeout_graceful_shutdown=1,
        )
    )
    tasks = [asyncio.create_task(work) for work in (server.serve(), *beside)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()
