"""Reads try the tiers in order: cloud, short-term, and finally the previous version's SQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from faultload.reference.kit.breaker import Breaker
from faultload.reference.kit.database import Database, UnavailableError
from faultload.reference.kit.http import BrokenError, HttpClient, NotSentError
from faultload.reference.kit.metrics import BREAKER_OPEN, TIER_ANSWERS, TIER_CALLS
from faultload.reference.systems.memory.model import COLUMNS, SEARCHED, Memory, rank

TIER_TIMEOUT_S = 0.2
GATHER_S = 0.02
"""How long writes gather before they are pushed to the tiers together."""


class TierDownError(Exception):
    """A tier did not answer, or is left alone for a while because it did not."""


class Tier:
    """One tier behind its circuit breaker."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self._client = HttpClient(host, port, connect_timeout_s=TIER_TIMEOUT_S)
        self._breaker = breaker = Breaker()
        BREAKER_OPEN.labels(name).set_function(lambda: breaker.open)

    async def ask(self, method: str, target: str, value: Any = None) -> Any:
        """The JSON answer within 200 ms. Raises TierDownError."""
        if not self._breaker.allow():
            raise TierDownError(self.name)
        body = b"" if value is None else json.dumps(value).encode()
        try:
            response = await self._client.request(method, target, body=body, timeout_s=TIER_TIMEOUT_S)
            if response.status >= 500:
                raise TierDownError(f"{self.name}: {response.status}")
            found = response.json()
        except (NotSentError, BrokenError, TimeoutError, TierDownError, ValueError) as error:
            self._breaker.failure()
            TIER_CALLS.labels(self.name, "failed").inc()
            raise TierDownError(self.name) from error
        self._breaker.success()
        TIER_CALLS.labels(self.name, "ok").inc()
        return found


class Reader:
    """Search and look-up that any one tier can answer, and pushes that any of them may miss."""

    def __init__(self, tiers: Sequence[Tier], database: Database, *, fallback: bool = True) -> None:
        self.tiers = tiers
        self._database = database
        self._fallback = fallback
        self._to_push: list[Memory] = []
        self._pushable = asyncio.Event()

    async def search(self, user_id: str, query: str) -> tuple[str, list[dict[str, Any]]]:
        """The tier that answered, and its results. Raises UnavailableError."""
        target = "/search?" + urlencode({"user_id": user_id, "query": query})
        for tier in self.tiers:
            try:
                results = (await tier.ask("GET", target))["results"]
                TIER_ANSWERS.labels(tier.name).inc()
                return tier.name, results
            except TierDownError as error:
                if not self._fallback:
                    raise UnavailableError(f"tier {tier.name} is down") from error
        rows = await self._database.run(
            f"SELECT {COLUMNS} FROM memories WHERE user_id = %s ORDER BY id DESC LIMIT {SEARCHED}", (user_id,)
        )
        TIER_ANSWERS.labels("legacy").inc()
        return "legacy", rank((Memory(*row) for row in rows), query)

    async def lookup(self, keys: Iterable[str]) -> dict[str, tuple[str, dict[str, Any]]]:
        """Tier and memory by key, of those that exist: only the database says that one does not.

        Raises UnavailableError when it would have to and cannot be asked.
        """
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        missing = list(dict.fromkeys(keys))
        for tier in self.tiers:
            if not missing:
                return found
            try:
                answer = await tier.ask("POST", "/lookup", missing)
            except TierDownError:
                continue
            found |= {memory["key"]: (tier.name, memory) for memory in answer["found"]}
            missing = [key for key in missing if key not in found]
        if missing:
            rows = await self._database.run(f"SELECT {COLUMNS} FROM memories WHERE key = ANY(%s)", (missing,))
            found |= {row[1]: ("legacy", Memory(*row).to_json()) for row in rows}
        return found

    def push(self, memory: Memory) -> None:
        """Hand a written memory to the tiers, soon and at best effort."""
        self._to_push.append(memory)
        self._pushable.set()

    async def pushing(self) -> None:
        """Push whatever has gathered, one batch at a time; a tier that misses one repairs itself by polling."""
        while True:
            await self._pushable.wait()
            await asyncio.sleep(GATHER_S)
            self._pushable.clear()
            batch, self._to_push = self._to_push[:1000], self._to_push[1000:]
            await asyncio.gather(*(tier.ask("POST", "/push", batch) for tier in self.tiers), return_exceptions=True)
            if self._to_push:
                self._pushable.set()
