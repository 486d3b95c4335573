"""The memory API's behaviour and each of its defects, with a database and tiers that answer from a list."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from faultload.reference.kit.cache import Cache
from faultload.reference.kit.database import Database, UnavailableError
from faultload.reference.systems.memory import writing
from faultload.reference.systems.memory.api import Api, one_in_fifty_fails
from faultload.reference.systems.memory.model import Memory
from faultload.reference.systems.memory.reading import Reader, Tier, TierDownError

psycopg = pytest.importorskip("psycopg")
pytest.importorskip("starlette")


class FakeDatabase(Database):
    """Rows by key; `away` makes every statement fail."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Any, ...]] = {}
        self.away = False

    async def run(
        self, statement: str, values: Sequence[Any] = (), *, deadline_s: float = 1.0
    ) -> list[tuple[Any, ...]]:
        if self.away:
            raise UnavailableError("away")
        if statement is writing.INSERT:
            key, user_id, topic, text = values
            row = (len(self.rows) + 1, key, user_id, topic, text, "2026-01-01")
            return [self.rows.setdefault(key, row)]
        if "key = ANY" in statement:
            return [self.rows[key] for key in values[0] if key in self.rows]
        if "GROUP BY" in statement:
            return [("2026-01-01", "tea", len(self.rows))]
        return [row for row in reversed(self.rows.values()) if not values or row[2] == values[0]]


class FakeTier(Tier):
    def __init__(self, name: str) -> None:
        self.name = name
        self.down = False
        self.asked = 0

    async def ask(self, method: str, target: str, value: Any = None) -> Any:
        self.asked += 1
        if self.down:
            raise TierDownError(self.name)
        return {"results": [], "found": []}


class Bench:
    """An API instance over fakes."""

    def __init__(self, *defects: str) -> None:
        self.database = FakeDatabase()
        self.tiers = [FakeTier("cloud"), FakeTier("shortterm")]
        self.pushed: list[Memory] = []
        reader = Reader(self.tiers, self.database, fallback="no-fallback" not in defects)
        make = writing.BatchWriter if "ack-before-commit" in defects else writing.Writer
        self.writer = make(self.database, lambda memory: self.pushed.append(Memory(**memory)))
        application: Any = Api(1, reader, self.database, self.writer, frozenset(defects)).application()
        if "one-in-fifty-fails" in defects:
            application = one_in_fifty_fails(application)
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://api")

    async def create(self, key: str) -> httpx.Response:
        return await self.client.post("/memories/", json={"user_id": "ann", "key": key, "text": "Tea time"})

    async def search(self, query: str = "tea") -> httpx.Response:
        return await self.client.get("/memories/search", params={"user_id": "ann", "query": query})


def test_a_write_is_acknowledged_when_it_is_stored_and_repeats_safely() -> None:
    async def story() -> None:
        bench = Bench()
        first, again = await bench.create("k"), await bench.create("k")
        assert (first.status_code, first.json()["topic"], first.json()["tier"]) == (201, "tea", "database")
        assert again.json()["id"] == first.json()["id"] and "k" in bench.database.rows
        assert [memory.key for memory in bench.pushed] == ["k", "k"]
        bench.database.away = True
        refused = await bench.create("other")
        assert refused.status_code == 503 and "error" in refused.json()

    asyncio.run(story())


@pytest.mark.parametrize("body", [b"no", b"[]", b'{"user_id": "a"}', b'{"user_id": "a", "text": 3}'])
def test_a_bad_write_is_refused_in_words(body: bytes) -> None:
    async def story() -> None:
        answer = await Bench().client.post("/memories/", content=body)
        assert answer.status_code == 422 and answer.json()["error"]

    asyncio.run(story())


def test_a_search_falls_from_tier_to_tier_and_names_the_one_that_answered() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.create("k")
        seen = []
        for n, down in enumerate([(), (0,), (0, 1)]):
            for index, tier in enumerate(bench.tiers):
                tier.down = index in down
            answer = await bench.search(f"tea {n}")
            seen.append(answer.headers["x-tier"])
            assert answer.json()["tier"] == seen[-1]
        assert seen == ["cloud", "shortterm", "legacy"]
        bench.database.away = True
        assert (await bench.search("none left")).status_code == 503

    asyncio.run(story())


def test_a_search_is_cached_and_cache_off_never_is() -> None:
    async def story() -> None:
        for defects, expected, asked in (((), ["miss", "hit"], 1), (("cache-off",), ["miss", "miss"], 2)):
            bench = Bench(*defects)
            assert [(await bench.search()).headers["x-cache"] for _ in range(2)] == expected
            assert bench.tiers[0].asked == asked

    asyncio.run(story())


def test_insights_are_answered_stale_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        bench = Bench()
        bench.database.away = True
        assert (await bench.client.get("/analytics/insights/ann")).status_code == 503
        bench.database.away = False
        assert (await bench.client.get("/analytics/insights/ann")).headers["x-cache"] == "miss"
        assert (await bench.client.get("/analytics/insights/ann")).headers["x-cache"] == "hit"
        bench.database.away = True
        monkeypatch.setattr(Cache, "fresh", lambda self, key: None)  # its time to live is over
        answer = await bench.client.get("/analytics/insights/ann")
        assert answer.status_code == 200 and answer.json()["stale"] is True

    asyncio.run(story())


def test_only_the_database_says_that_a_memory_does_not_exist() -> None:
    async def story() -> None:
        bench = Bench()
        await bench.create("k")
        answer = (await bench.client.get("/memories/", params={"keys": "k,gone"})).json()
        assert (answer["found"], answer["missing"]) == (["k"], ["gone"])
        bench.database.away = True
        assert (await bench.client.get("/memories/", params={"keys": "k,gone"})).status_code == 503

    asyncio.run(story())


def test_ack_before_commit_loses_what_was_acknowledged() -> None:
    async def story() -> None:
        bench = Bench("ack-before-commit")
        working = asyncio.create_task(bench.writer.working())
        assert (await bench.create("early")).status_code == 201
        assert bench.database.rows == {}
        await asyncio.sleep(1.2)
        assert list(bench.database.rows) == ["early"]
        bench.database.away = True
        assert (await bench.create("lost")).status_code == 201
        await asyncio.sleep(1.1)
        bench.database.away = False
        await asyncio.sleep(1.1)
        assert "lost" not in bench.database.rows
        working.cancel()

    asyncio.run(story())


def test_no_fallback_answers_503_when_the_first_tier_is_down() -> None:
    async def story() -> None:
        bench = Bench("no-fallback")
        assert (await bench.search()).status_code == 200
        bench.tiers[0].down = True
        assert (await bench.search("other")).status_code == 503

    asyncio.run(story())


def test_slow_search_takes_300_ms_more() -> None:
    async def story() -> None:
        bench = Bench("slow-search")
        for _ in range(2):
            started = time.perf_counter()
            await bench.search()
            assert time.perf_counter() - started >= 0.3

    asyncio.run(story())


def test_one_in_fifty_fails_and_health_never() -> None:
    async def story() -> None:
        bench = Bench("one-in-fifty-fails")
        codes = []
        for _ in range(200):
            assert (await bench.client.get("/health")).status_code == 200
            codes.append((await bench.search()).status_code)
        assert codes.count(500) == 4 and codes[49] == 500

    asyncio.run(story())


def test_the_deep_health_check_needs_one_tier_and_a_writable_database() -> None:
    async def story() -> None:
        bench = Bench()
        assert (await bench.client.get("/health/deep")).json()["status"] == "ok"
        bench.tiers[0].down = True
        answer = await bench.client.get("/health/deep")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        bench.database.away = True
        assert (await bench.client.get("/health/deep")).status_code == 503

    asyncio.run(story())
