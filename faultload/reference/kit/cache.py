"""A cache within one process: fresh for a while, then kept as a fallback."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """The last `size` values; `fresh` gives those younger than `ttl_s`, `stale` any."""

    def __init__(self, ttl_s: float = 5.0, size: int = 20_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def fresh(self, key: Hashable) -> V | None:
        entry = self._entries.get(key)
        return entry[1] if entry is not None and self._clock() - entry[0] < self._ttl_s else None

    def stale(self, key: Hashable) -> V | None:
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def put(self, key: Hashable, value: V) -> None:
        self._entries[key] = (self._clock(), value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
