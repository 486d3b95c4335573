"""Journeys through the memory service: people who remember and search, and people who look at insights."""

from __future__ import annotations

import random
import uuid
from typing import Any

import requests
from locust import task

from faultload.load import Journey, acknowledge, attempt, observe, verifies

USERS = [f"user-{number}" for number in range(50)]
NOTES = [
    "coffee with Ada about the harbour plan",
    "project deadline moved to Friday",
    "music lesson, practise the slow movement",
    "garden: tomatoes need water twice a day",
    "travel to Lisbon, window seat, two bags",
]
POPULAR = [
    ("user-1", "coffee"),
    ("user-2", "project deadline"),
    ("user-3", "music"),
    ("user-4", "garden"),
    ("user-5", "travel"),
    ("user-6", "harbour plan"),
]
"""What people search for again and again, so that a cache can do its work."""


class RememberAndSearch(Journey):
    """Remembers something new, then searches for what many search for."""

    @task
    def remember_and_search(self) -> None:
        self.remember(random.choice(USERS), random.choice(NOTES))
        self.search(*random.choice(POPULAR))

    def remember(self, user: str, text: str) -> None:
        key = str(uuid.uuid4())
        attempt(key)
        memory = {"user_id": user, "key": key, "text": text}
        response = self.client.post("/memories/", json=memory, name="POST /memories/")
        if response.status_code == 201:
            acknowledge(key)

    def search(self, user: str, query: str) -> None:
        response = self.client.get(
            "/memories/search", params={"user_id": user, "query": query}, name="GET /memories/search"
        )
        if response.status_code == 200 and response.headers is not None:
            observe("cache_hit", response.headers.get("x-cache") == "hit")
            for tier in ("cloud", "shortterm", "legacy"):
                observe(f"tier_{tier}", response.headers.get("x-tier") == tier)


class Insights(Journey):
    """Looks at a user's insights, and whether the service is well."""

    @task
    def look_at_insights(self) -> None:
        self.client.get(f"/analytics/insights/{random.choice(USERS)}", name="GET /analytics/insights")
        self.client.get("/health", name="GET /health")


@verifies("database")
def in_database(keys: list[str], target: dict[str, Any]) -> set[str]:
    """Acknowledged memories are rows of the database."""
    import psycopg

    with psycopg.connect(target["services"]["db"]["dsn"], connect_timeout=5) as connection:
        rows = connection.execute("SELECT key FROM memories WHERE key = ANY(%s)", (keys,)).fetchall()
    return {key for (key,) in rows}


@verifies("api", after_s=6.0)
def in_api(keys: list[str], target: dict[str, Any]) -> set[str]:
    """Acknowledged memories are found through the API, once its caches have forgotten."""
    with requests.Session() as direct:
        direct.trust_env = False  # a proxy of the environment is not on the way that the load went
        response = direct.get(f"{target['url']}/memories/", params={"keys": ",".join(keys)}, timeout=10.0)
    response.raise_for_status()
    answer = response.json()
    return set(answer["found"] if "found" in answer else answer["keys"])
