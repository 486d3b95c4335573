"""The memory service is ready when all of it serves, not only enough for an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from faultload.reference.systems.memory import ready

URL, PATRONI = "http://127.0.0.1:1", ["http://127.0.0.1:2", "http://127.0.0.1:3"]
WHOLE: dict[str, Any] = {"/health": {"healthy_instances": 3}, "/health/deep": {"status": "ok"}}


def said(
    monkeypatch: pytest.MonkeyPatch,
    *,
    roles: tuple[str, ...] = ("leader", "sync_standby"),
    defects: str = "",
    **answers: Any,
) -> str | None:
    found = {**WHOLE, **{f"/{path.replace('_', '/')}": answer for path, answer in answers.items()}}

    async def fetch(url: str, **_: Any) -> Any:
        return found[url.removeprefix(URL)]

    async def state(_: Any) -> dict[str, str]:
        return {f"pg{n}": role for n, role in enumerate(roles)}

    monkeypatch.setattr(ready, "fetch_json", fetch)
    monkeypatch.setattr(ready.patroni, "cluster_state", state)
    return asyncio.run(ready.not_ready(URL, PATRONI, defects.split()))


def test_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch) is None
    assert said(monkeypatch, roles=("leader", "replica"), defects="async-replication") is None


@pytest.mark.parametrize("known", [0, 1, 2])
def test_an_api_that_the_gateway_does_not_ask_yet_is_missing(monkeypatch: pytest.MonkeyPatch, known: int) -> None:
    text = said(monkeypatch, health={"healthy_instances": known})
    assert text is not None and f"'healthy_instances': {known}" in text


def test_what_does_not_answer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, health=None) == "the gateway says None"
    assert said(monkeypatch, health_deep=None) == "the deep health check says None"
    assert said(monkeypatch, health_deep={"status": "degraded"}) is not None


@pytest.mark.parametrize("roles", [(), ("leader",), ("leader", "replica")])
def test_a_pair_that_is_not_whole_is_missing(monkeypatch: pytest.MonkeyPatch, roles: tuple[str, ...]) -> None:
    text = said(monkeypatch, roles=roles)
    assert text == f"the database members are {', '.join(roles) or 'not there'}"
