"""Sends statements to whichever member leads, retried on fresh connections until a deadline."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors

from faultload.reference.kit.metrics import CONNECTS, STATEMENTS
from faultload.reference.kit.settings import Address

log = logging.getLogger(__name__)

ATTEMPT_S = 0.6
HEDGE_S = 0.15
"""How long the member that was the leader is asked alone, before the other one is asked too."""


class UnavailableError(Exception):
    """No writable database within the deadline."""


Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Database:
    """A small pool. Statements must be safe to repeat: an attempt may commit and its answer get lost."""

    def __init__(
        self, addresses: Sequence[Address], user: str, password: str, *, size: int = 4, retry: bool = True
    ) -> None:
        self._addresses = list(addresses)
        self._user = user
        self._password = password
        self._retry = retry
        self._slots = asyncio.Semaphore(size if retry else 1)
        self._idle: list[Connection] = []

    async def run(
        self, statement: str, values: Sequence[Any] = (), *, deadline_s: float = 1.0
    ) -> list[tuple[Any, ...]]:
        """The rows of one statement, committed. Raises UnavailableError at the deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + deadline_s
        why: BaseException | None = None
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            STATEMENTS.labels("unavailable").inc()
            raise UnavailableError("every connection is busy") from None
        try:
            while loop.time() < deadline:
                try:
                    async with asyncio.timeout_at(deadline):
                        connection = self._idle.pop() if self._idle else await self._connect()
                except (psycopg.Error, OSError, TimeoutError) as error:
                    why = error
                    await asyncio.sleep(min(0.05, max(0.0, deadline - loop.time())))
                    continue
                try:
                    rows = await _execute(connection, statement, values, min(deadline, loop.time() + ATTEMPT_S))
                except (psycopg.OperationalError, errors.ReadOnlySqlTransaction) as error:
                    why = error
                    if not self._retry:  # the defect: a dead connection is kept for ever
                        self._idle.append(connection)
                        break
                    STATEMENTS.labels("retried").inc()
                    await connection.close()
                except BaseException:
                    await connection.close()
                    raise
                else:
                    self._idle.append(connection)
                    STATEMENTS.labels("ok").inc()
                    return rows
            STATEMENTS.labels("unavailable").inc()
            raise UnavailableError(str(why) or type(why).__name__)
        finally:
            self._slots.release()

    async def _connect(self) -> Connection:
        """The first member that takes writes; the one that did last time has a head start."""
        async with asyncio.timeout(1.0):
            tasks: dict[asyncio.Task[Connection], Address] = {}
            found: Connection | None = None
            try:
                for address in list(self._addresses):
                    tasks[asyncio.create_task(self._open(address))] = address
                    found = await _first(tasks, HEDGE_S)
                    if found is not None:
                        break
                else:
                    found = await _first(tasks, None)
                if found is None:
                    raise next(iter(tasks)).exception() or OSError("no member takes writes")
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for task in tasks:
                    if not task.cancelled() and task.exception() is None and task.result() is not found:
                        await task.result().close()
            winner = next(
                address
                for task, address in tasks.items()
                if not task.cancelled() and task.exception() is None and task.result() is found
            )
            self._addresses.sort(key=lambda address: address != winner)
            CONNECTS.labels(f"{winner[0]}:{winner[1]}").inc()
            return found

    async def _open(self, address: Address) -> Connection:
        return await psycopg.AsyncConnection.connect(
            host=address[0],
            port=address[1],
            user=self._user,
            password=self._password,
            dbname="postgres",
            autocommit=True,
            target_session_attrs="read-write",
            connect_timeout=2,
            tcp_user_timeout=2000,
            keepalives_idle=1,
            keepalives_interval=1,
            keepalives_count=2,
        )


async def _first(tasks: dict[asyncio.Task[Connection], Address], wait_s: float | None) -> Connection | None:
    """The first connection that any task made; None when all failed or at the time-out."""
    loop = asyncio.get_running_loop()
    until = None if wait_s is None else loop.time() + wait_s
    while True:
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is None:
                return task.result()
        pending = [task for task in tasks if not task.done()]
        left_s = None if until is None else until - loop.time()
        if not pending or (left_s is not None and left_s <= 0):
            return None
        await asyncio.wait(pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)


async def _execute(
    connection: Connection, statement: str, values: Sequence[Any], until: float
) -> list[tuple[Any, ...]]:
    """Run a statement; at the time limit the socket is shut down.

    Cancelling instead would ask the server to cancel and wait for its answer, which a cut link never brings.
    """
    watchdog = asyncio.get_running_loop().call_at(until, _cut, connection)
    try:
        cursor = await connection.execute(statement, values, prepare=True)
        return await cursor.fetchall() if cursor.description else []
    finally:
        watchdog.cancel()


def _cut(connection: Connection) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
