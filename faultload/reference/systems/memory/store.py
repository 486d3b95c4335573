"""What a tier keeps in memory, and how it stays in sync with the database."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from faultload.reference.kit.database import Database, UnavailableError
from faultload.reference.systems.memory.model import COLUMNS, SEARCHED, Memory, rank

log = logging.getLogger(__name__)

POLL_S = 0.5
LOADED = 200_000
LATE = 200
"""Rows with a lower id may be committed later than one already seen: this many ids are read again."""
UNCONFIRMED_S = 3.0


class Store:
    """Memories by key and by user; of each user only the newest `per_user`."""

    def __init__(self, per_user: int) -> None:
        self._per_user = per_user
        self._by_key: dict[str, Memory] = {}
        self._by_user: dict[str, dict[int, Memory]] = {}
        self._pushed_at: dict[str, float] = {}
        self.loaded = False
        self.timeline = ""
        self.last_id = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def push(self, memories: Iterable[Memory]) -> None:
        """Memories that an API has just written; the database has yet to confirm them."""
        for memory in memories:
            if memory.key not in self._by_key:
                self._pushed_at[memory.key] = time.monotonic()
            self._add(memory)

    def confirm(self, memories: Iterable[Memory]) -> None:
        """Memories read from the database."""
        for memory in memories:
            self._add(memory)
            self._pushed_at.pop(memory.key, None)
            self.last_id = max(self.last_id, memory.id)

    def replace(self, memories: Iterable[Memory]) -> None:
        """Everything anew, as the database has it."""
        self._by_key, self._by_user, self._pushed_at, self.last_id = {}, {}, {}, 0
        self.confirm(memories)
        self.loaded = True

    def doubtful(self) -> list[str]:
        """Keys that were pushed a while ago and that no poll has seen."""
        limit = time.monotonic() - UNCONFIRMED_S
        return [key for key, at in self._pushed_at.items() if at < limit]

    def drop(self, key: str) -> None:
        self._pushed_at.pop(key, None)
        memory = self._by_key.pop(key, None)
        if memory is not None:
            self._by_user.get(memory.user_id, {}).pop(memory.id, None)

    def search(self, user_id: str, query: str) -> list[dict[str, Any]]:
        mine = self._by_user.get(user_id, {})
        return rank(islice((mine[key] for key in reversed(mine)), SEARCHED), query)

    def lookup(self, keys: Iterable[str]) -> list[dict[str, Any]]:
        return [self._by_key[key].to_json() for key in keys if key in self._by_key]

    def _add(self, memory: Memory) -> None:
        self._by_key[memory.key] = memory
        mine = self._by_user.setdefault(memory.user_id, {})
        late = bool(mine) and memory.id not in mine and memory.id < next(reversed(mine))
        mine[memory.id] = memory
        if late:
            self._by_user[memory.user_id] = mine = dict(sorted(mine.items()))
        if len(mine) > self._per_user:
            oldest = mine.pop(next(iter(mine)))
            self._by_key.pop(oldest.key, None)


async def mirror(store: Store, database: Database) -> None:
    """Keep a store true to the database: load, follow, and load again when another server leads.

    A memory that a failover lost must not live on in a tier, so a new timeline means everything anew.
    """
    while True:
        try:
            await _follow(store, database)
        except UnavailableError as error:
            log.info("the database is away: %s", error)
        await asyncio.sleep(POLL_S)


async def _follow(store: Store, database: Database) -> None:
    rows = await database.run("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)", deadline_s=3.0)
    timeline = str(rows[0][0])
    if not store.loaded or timeline != store.timeline:
        rows = await database.run(
            f"SELECT * FROM (SELECT {COLUMNS} FROM memories ORDER BY id DESC LIMIT {LOADED}) AS m ORDER BY id",
            deadline_s=5.0,
        )
        store.replace(Memory(*row) for row in rows)
        store.timeline = timeline
        return
    rows = await database.run(
        f"SELECT {COLUMNS} FROM memories WHERE id > %s ORDER BY id LIMIT 5000", (store.last_id - LATE,)
    )
    store.confirm(Memory(*row) for row in rows)
    if doubtful := store.doubtful():
        rows = await database.run(f"SELECT {COLUMNS} FROM memories WHERE key = ANY(%s)", (doubtful,))
        store.confirm(Memory(*row) for row in rows)
        for key in set(doubtful) - {row[1] for row in rows}:
            store.drop(key)
