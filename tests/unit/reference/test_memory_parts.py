"""The small parts of the memory service: breaker, store, ranking."""

from __future__ import annotations

import pytest

from faultload.reference.kit.breaker import Breaker
from faultload.reference.kit.cache import Cache
from faultload.reference.systems.memory.model import Memory, rank

pytest.importorskip("psycopg")

from faultload.reference.systems.memory.store import Store


def memory(number: int, text: str = "tea", user: str = "ann") -> Memory:
    return Memory(number, f"k{number}", user, "tea", text, "2026-01-01")


def test_a_breaker_opens_after_three_failures_and_lets_one_request_try_each_second() -> None:
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0])
    for _ in range(3):
        assert breaker.allow()
        breaker.failure()
    assert not breaker.allow()
    now[0] = 1.1
    assert breaker.allow() and not breaker.allow()
    breaker.success()
    assert breaker.allow() and breaker.allow()


def test_a_cache_is_fresh_for_its_time_to_live_and_bounded() -> None:
    now = [0.0]
    cache: Cache[int] = Cache(ttl_s=5, size=2, clock=lambda: now[0])
    cache.put("a", 1)
    now[0] = 4.9
    assert cache.fresh("a") == 1
    now[0] = 5.0
    assert cache.fresh("a") is None and cache.stale("a") == 1
    cache.put("b", 2)
    cache.put("c", 3)
    assert cache.stale("a") is None


def test_results_have_more_of_the_words_first_and_then_the_newer() -> None:
    rows = [memory(3, "green tea"), memory(2, "tea"), memory(1, "Green Tea again")]
    assert [found["id"] for found in rank(rows, "green tea")] == [3, 1, 2]
    assert rank(rows, "coffee") == []


def test_a_store_keeps_the_newest_of_each_user() -> None:
    store = Store(per_user=2)
    store.confirm([memory(1), memory(3), memory(2)])
    assert [found["id"] for found in store.search("ann", "tea")] == [3, 2]
    assert [found["key"] for found in store.lookup(["k1", "k2", "k9"])] == ["k2"]


def test_a_store_drops_what_was_pushed_and_never_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(per_user=10)
    store.push([memory(1), memory(2)])
    store.confirm([memory(2)])
    monkeypatch.setattr("faultload.reference.systems.memory.store.UNCONFIRMED_S", -1.0)
    assert store.doubtful() == ["k1"]
    store.drop("k1")
    assert [found["key"] for found in store.search("ann", "tea")] == ["k2"]


def test_everything_anew_forgets_what_another_server_lost() -> None:
    store = Store(per_user=10)
    store.confirm([memory(1), memory(2)])
    store.replace([memory(1)])
    assert store.loaded and [found["key"] for found in store.lookup(["k1", "k2"])] == ["k1"]
