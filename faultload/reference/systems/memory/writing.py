"""Writes to the system of record: acknowledged after commit, or before, with the defect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from faultload.reference.kit.database import Database, UnavailableError

INSERT = (
    "INSERT INTO memories (key, user_id, topic, text) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (key) DO UPDATE SET key = excluded.key "
    "RETURNING id, key, user_id, topic, text, created_at::text"
)
"""A repeat updates rather than does nothing: the row that it finds may be committed here and not yet on the
standby, and only a statement that writes waits for the standby before it is acknowledged."""
COLUMNS = ("id", "key", "user_id", "topic", "text", "created_at")

Written = Callable[[dict[str, Any]], None]


class Writer:
    """One statement a memory, acknowledged after its commit."""

    def __init__(self, database: Database, written: Written) -> None:
        self._database = database
        self._written = written

    async def write(self, key: str, user_id: str, topic: str, text: str) -> dict[str, Any]:
        """The memory as it is stored. Raises UnavailableError; then it may be stored or not."""
        rows = await self._database.run(INSERT, (key, user_id, topic, text))
        memory = dict(zip(COLUMNS, rows[0], strict=True))
        self._written(memory)
        return memory

    async def working(self) -> None:
        """What there is to do beside requests: nothing."""
        await asyncio.Event().wait()


class BatchWriter(Writer):
    """The defect `ack-before-commit`: acknowledges at once, and commits what has gathered each second."""

    def __init__(self, database: Database, written: Written) -> None:
        super().__init__(database, written)
        self._waiting: list[tuple[str, str, str, str]] = []

    async def write(self, key: str, user_id: str, topic: str, text: str) -> dict[str, Any]:
        self._waiting.append((key, user_id, topic, text))
        return dict(zip(COLUMNS, (None, key, user_id, topic, text, None), strict=True))

    async def working(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            batch, self._waiting = self._waiting, []
            for row in batch:
                try:
                    await super().write(*row)
                except UnavailableError:
                    break  # the rest of the batch was acknowledged and is lost
