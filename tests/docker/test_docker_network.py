"""Network faults on Docker: there for the application, gone after undo, and a second undo changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from netref import Made, Town, made, of, oks

from faultload.errors import TargetError
from faultload.platforms.docker_client import client

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    try:
        engine = client()
    except TargetError as error:
        pytest.skip(f"no Docker engine: {error}")
    built = Town(engine)
    try:
        yield built
    finally:
        built.down()


@pytest.fixture(autouse=True)
def clean(town: Town) -> Iterator[None]:
    """Every container's rules are as before each test."""
    before = {name: town.rules(name) for name in town.all}
    yield
    assert {name: town.rules(name) for name in town.all} == before


def undone(town: Town, fault: Made, *names: str) -> None:
    """Undone: seen by the witness and by the applications; and again, which changes nothing."""
    before_undo = time.time()
    fault.undo()
    sight = fault.gone()
    assert sight.seen, sight.what
    mended = time.time()
    wanted = {"new", "kept", "other", "name"}
    for name in names or ("app1", "app2"):
        town.wait(name, lambda events: wanted <= oks(events), since=mended)
    rules = {name: town.rules(name) for name in town.all}
    assert not any("faultload" in text or "504d" in text for text in rules.values())
    fault.undo()
    assert {name: town.rules(name) for name in town.all} == rules
    assert fault.gone().seen
    for name in ("app1", "app2"):
        assert all(event["outcome"] == "ok" for event in of(town.events(name, before_undo), "other"))


def felt(town: Town, name: str, since: float, for_s: float = 1.5) -> list[dict]:
    """What an application feels for a while."""
    time.sleep(max(0.0, since + for_s - time.time()))
    return town.events(name, since)


def test_a_partition_is_silent_for_new_and_established_connections_of_every_client(town: Town) -> None:
    with made(town.target(), "partition", {"link": "app -> db"}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        for name in ("app1", "app2"):
            events = felt(town, name, fault.at)
            assert {event["outcome"] for event in of(events, "new")} == {"timeout"}
            assert not of(events, "kept"), "an established connection still talks"
            assert {event["outcome"] for event in of(events, "other")} == {"ok"}
        before = max(event["connection"] for event in of(town.events("app1"), "kept"))
        undone(town, fault)
        kept = of(town.events("app1", fault.at - 1), "kept")
        assert {event["connection"] for event in kept} == {before}, (
            "what was held is delivered on the same connection"
        )
        assert max(event["ms"] for event in kept) > 1000
