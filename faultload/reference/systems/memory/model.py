"""A memory, its table, and the ranking every tier uses to answer a search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

SCHEMA = """
CREATE ROLE memory LOGIN PASSWORD '{password}';
CREATE TABLE memories (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,
    user_id text NOT NULL,
    topic text NOT NULL,
    text text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON memories (user_id, id DESC);
CREATE TABLE heartbeats (instance integer PRIMARY KEY, at timestamptz NOT NULL);
GRANT SELECT, INSERT, UPDATE ON memories, heartbeats TO memory;
"""
COLUMNS = "id, key, user_id, topic, text, created_at::text"
SEARCHED = 500
"""A search looks at this many of a user's newest memories."""
RESULTS = 10


class Memory(NamedTuple):
    """One row; `created_at` as PostgreSQL prints it."""

    id: int
    key: str
    user_id: str
    topic: str
    text: str
    created_at: str

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


def topic_of(text: str) -> str:
    """The first word, for memories that come without a topic."""
    words = text.split(None, 1)
    return words[0].lower()[:40] if words else "none"


def rank(newest_first: Iterable[Memory], query: str) -> list[dict[str, Any]]:
    """The best matches: more of the query's words first, then the newer."""
    words = query.lower().split()
    found: list[tuple[int, Memory]] = []
    for memory in newest_first:
        text = memory.text.lower()
        score = sum(word in text for word in words)
        if score or not words:
            found.append((score, memory))
    found.sort(key=lambda item: -item[0])
    return [{**memory.to_json(), "score": score} for score, memory in found[:RESULTS]]
