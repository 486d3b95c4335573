"""Network faults on Docker: there for the application, gone after undo, and a second undo changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from netref import Made, Town, made, of, oks

from faultload.agents.network.nftables import LEASE_S
from faultload.errors import Refused, TargetError
from faultload.faults.network.docker_agents import helpers_of
from faultload.platforms.docker.client import client
from faultload.spec.target import target_from_json

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


@pytest.fixture(scope="module")
def untouched(town: Town) -> dict[str, str]:
    return {name: town.rules(name) for name in town.all}


@pytest.fixture(autouse=True)
def clean(town: Town, untouched: dict[str, str]) -> Iterator[None]:
    """After each test every container's rules are as before the first."""
    yield
    assert {name: town.rules(name) for name in town.all} == untouched


def undone(town: Town, fault: Made, *names: str) -> None:
    """Undone: seen by the witness and by the applications; and again, which changes nothing."""
    before_undo = time.time()
    fault.undo()
    sight = fault.gone()
    assert sight.seen, sight.what
    mended = time.time()
    wanted = {"new", "kept", "other", "name"}
    for name in names or town.clients:
        town.wait(name, lambda events: wanted <= oks(events), since=mended)
    rules = {name: town.rules(name) for name in town.all}
    assert not any("faultload" in text or "504d" in text for text in rules.values())
    fault.undo()
    assert {name: town.rules(name) for name in town.all} == rules
    assert fault.gone().seen
    for name in town.clients:
        assert all(event["outcome"] == "ok" for event in of(town.events(name, before_undo), "other"))


def felt(town: Town, name: str, since: float, for_s: float = 2.5) -> list[dict]:
    """What an application feels for a while."""
    time.sleep(max(0.0, since + for_s - time.time()))
    return town.events(name, since)


def test_a_partition_is_silent_for_new_and_established_connections_of_every_client(town: Town) -> None:
    with made(town.target(), "partition", {"link": "app -> db"}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        for name in town.clients:
            events = felt(town, name, fault.at)
            assert {event["outcome"] for event in of(events, "new")} == {"timeout"}
            assert not of(events, "kept"), "an established connection still talks"
            assert {event["outcome"] for event in of(events, "other")} == {"ok"}
        before = max(event["connection"] for event in of(town.events("app1"), "kept"))
        undone(town, fault)
        kept = of(town.events("app1", fault.asked - 1), "kept")
        assert {event["connection"] for event in kept} == {before}, (
            "what was held is delivered on the same connection"
        )
        assert max(event["ms"] for event in kept) > 1000


def test_connections_held_by_a_partition_are_reset_at_its_end_when_asked_so(town: Town) -> None:
    with made(town.target(), "partition", {"link": "app -> db", "on_heal": "reset"}) as fault:
        before = {
            name: max(event["connection"] for event in of(town.events(name), "kept")) for name in town.clients
        }
        assert fault.handler.witness(fault.instances).seen
        undone(town, fault)
        for name, number in before.items():
            kept = of(town.events(name, fault.asked - 1), "kept")
            mine = [event for event in kept if event["connection"] == number]
            assert mine[-1]["outcome"] == "reset"


def test_an_isolated_client_reaches_nobody_while_the_others_go_on(town: Town) -> None:
    with made(town.target(), "isolate", {"service": "app", "count": 1}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        (chosen,) = fault.instances
        alone = chosen.name.rpartition("-")[2]
        (free,) = set(town.clients) - {alone}
        events = felt(town, alone, fault.at)
        assert {event["outcome"] for event in of(events, "new")} == {"timeout"}
        assert not of(events, "kept")
        assert {event["outcome"] for event in of(town.events(free, fault.at), "new")} == {"ok"}
        undone(town, fault)


def test_an_isolated_server_is_reached_by_none_of_its_clients(town: Town) -> None:
    with made(town.target(), "isolate", {"service": "db"}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        for name in town.clients:
            events = felt(town, name, fault.at)
            assert {event["outcome"] for event in of(events, "new")} == {"timeout"}
            assert not of(events, "kept")
        undone(town, fault)


def test_latency_is_felt_by_new_connections_and_by_those_that_were_open(town: Town) -> None:
    with made(town.target(), "latency", {"link": "app -> db", "delay_ms": 150}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        since = time.time()
        for name in town.clients:
            events = felt(town, name, since)
            for kind in ("new", "kept"):
                took = [event["ms"] for event in of(events, kind) if event["outcome"] == "ok"]
                assert took and min(took) >= 150, (kind, took)
            took = sorted(event["ms"] for event in of(events, "other"))
            assert took[len(took) // 2] < 75
        undone(town, fault)
        since = time.time()
        took = sorted(event["ms"] for event in of(felt(town, "app1", since), "kept"))
        assert took[len(took) // 2] < 75


@pytest.mark.parametrize("way", ["up", "down"])
def test_bandwidth_limits_what_an_application_moves_each_way(town: Town, way: str) -> None:
    assert town.bytes_per_s("app1", way, 3_000_000) > 1_000_000
    with made(town.target(), "bandwidth", {"link": "app -> db", "bytes_per_s": "200KB"}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        assert 50_000 < town.bytes_per_s("app1", way, 500_000) < 300_000
        events = town.events("app1", fault.at)
        assert {event["outcome"] for event in of(events, "other")} == {"ok"}
        undone(town, fault)
        assert town.bytes_per_s("app1", way, 3_000_000) > 1_000_000


def test_a_reset_ends_idle_and_busy_connections_once_and_lets_new_ones_be(town: Town) -> None:
    with made(town.target(), "reset_connections", {"link": "app -> db"}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        for name in town.clients:
            asked = fault.asked - 0.5  # a kept connection is reset in what it began before
            events = felt(town, name, asked, fault.at + 2.5 - asked)
            assert {"idle", "kept"} <= {event["kind"] for event in events if event["outcome"] == "reset"}
            assert "idle" in oks(events), "it is opened again"
        since = time.time()
        quiet = felt(town, "app1", since)
        assert {event["outcome"] for event in quiet} == {"ok"}, "it happens once"
        assert {"kept", "new"} <= oks(quiet)
        undone(town, fault)


def _answered(events: list[dict[str, Any]]) -> list[int]:
    """The statuses of what went over the link."""
    return [event["status"] for event in of(events, "kept") + of(events, "new") if "status" in event]


def test_http_errors_are_answered_for_a_share_of_the_requests(town: Town) -> None:
    with made(town.target(), "http_error", {"link": "app -> db", "share": 0.5, "status": 429}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        since = time.time()
        for name in town.clients:
            town.wait(name, lambda events: len(_answered(events)) >= 100, since)
            events = town.events(name, since)
            answered = _answered(events)
            assert set(answered) == {200, 429}
            assert 0.3 < answered.count(429) / len(answered) < 0.7, answered
            assert {event.get("status") for event in of(events, "other")} == {200}
        undone(town, fault)
        events = felt(town, "app1", time.time())
        assert {event.get("status") for event in of(events, "kept") + of(events, "new")} == {200}


def _resent(events: list[dict[str, Any]]) -> int:
    """How often the kernel sent again on the connection that is kept, by its own count, between these events."""
    counts = [event["resent"] for event in of(events, "kept") if event["outcome"] == "ok"]
    return counts[-1] - counts[0] if counts else 0


def test_loss_makes_an_application_send_again(town: Town) -> None:
    with made(town.target(), "loss", {"link": "app -> db", "share": 0.2}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        town.wait("app1", lambda events: _resent(events) >= 2, since=fault.at)
        assert max(event["ms"] for event in of(town.events("app1", fault.at), "kept")) > 100
        undone(town, fault)
        since = time.time()
        town.wait("app1", lambda events: len(of(events, "kept")) > 20, since=since)
        assert _resent(town.events("app1", since)) == 0


def test_names_are_unknown_in_one_container_and_known_in_the_other(town: Town) -> None:
    with made(town.target(), "dns_failure", {"service": "app"}) as fault:
        sight = fault.handler.witness(fault.instances)
        assert sight.seen, sight.what
        (chosen,) = fault.instances
        alone = chosen.name.rpartition("-")[2]
        (free,) = set(town.clients) - {alone}
        events = felt(town, alone, fault.at, 3.5)
        assert {event["outcome"] for event in of(events, "name")} == {"unknown"}
        assert {event["outcome"] for event in of(events, "new")} == {"ok"}, "connections by address go on"
        assert {event["outcome"] for event in of(town.events(free, fault.at), "name")} == {"ok"}
        undone(town, fault)


def test_a_qdisc_of_somebody_else_is_refused_and_stays(town: Town) -> None:
    tbf = ("root", "handle", "7:", "tbf", "rate", "1gbit", "burst", "1mb", "latency", "50ms")
    town.inside("app1", "tc", "qdisc", "add", "dev", "eth0", *tbf)
    try:
        before = town.rules("app1")
        with pytest.raises(Refused, match="somebody else"):
            Made(town.target(), "bandwidth", {"link": "app -> db", "bytes_per_s": "200KB"}, 10.0)
        assert town.rules("app1") == before
        assert "tbf 7:" in before
        assert not town.helpers()
    finally:
        town.inside("app1", "tc", "qdisc", "del", "dev", "eth0", "root")


def test_rules_of_somebody_else_stay_as_they_are(town: Town) -> None:
    theirs = "table inet theirs { chain input { type filter hook input priority 0; tcp dport 9 drop; }; }"
    town.inside("app1", "nft", theirs)
    try:
        before = town.inside("app1", "nft", "--stateless", "list", "ruleset")
        for word, more in (("partition", {"on_heal": "reset"}), ("latency", {"delay_ms": 20})):
            with made(town.target(), word, {"link": "app -> db", **more}):
                assert "faultload_" in town.inside("app1", "nft", "list", "tables")
            assert town.inside("app1", "nft", "--stateless", "list", "ruleset") == before
    finally:
        town.inside("app1", "nft", "delete", "table", "inet", "theirs")


@pytest.mark.parametrize(
    ("word", "more"),
    [("partition", {}), ("latency", {"delay_ms": 100}), ("bandwidth", {"bytes_per_s": "200KB"})],
)
def test_what_a_killed_agent_left_behind_is_undone(town: Town, word: str, more: dict) -> None:
    with made(town.target(), word, {"link": "app -> db", **more}) as fault:
        for helper in town.helpers():
            helper.kill(signal="SIGKILL")
        assert "faultload_" in town.rules("app1")
        undone(town, fault)


def test_a_fault_ends_by_itself_when_nobody_is_left_to_undo_it(town: Town) -> None:
    with made(town.target(), "partition", {"link": "app -> db"}, duration_s=1.0) as fault:
        town.wait("app1", lambda events: "new" in oks(events), since=fault.at + 3)
        assert time.time() - fault.at < 1.0 + 5.0 + 5.0
        deadline = time.time() + 10
        while town.helpers():
            assert time.time() < deadline, "the agents did not leave"
            time.sleep(0.1)
        assert "faultload_" not in town.rules("app1")
        undone(town, fault)


def test_the_kernel_ends_a_fault_when_its_agent_was_killed_and_nobody_undoes(town: Town) -> None:
    with made(town.target(), "partition", {"link": "app -> db"}, duration_s=1.0) as fault:
        for helper in town.helpers():
            helper.kill(signal="SIGKILL")
        assert not {"new", "kept"} & oks(felt(town, "app1", fault.at + 1))
        town.wait("app1", lambda events: {"new", "kept"} <= oks(events), since=fault.at + 4)
        undone(town, fault)


def test_a_container_that_was_started_again_meanwhile_is_left_alone(town: Town) -> None:
    with made(town.target(), "partition", {"link": "app -> db"}) as fault:
        town.all["app1"].restart(timeout=0)
        town.all["app1"].reload()
        fault.undo()
        sight = fault.gone()
        assert sight.seen, sight.what
        undone(town, fault)


def test_undo_copes_with_a_container_that_is_gone(town: Town) -> None:
    extra = town.another("app3")
    with made(town.target(), "partition", {"link": "app -> db"}) as fault:
        assert extra.id in {instance.id for instance in fault.instances}
        extra.remove(force=True)
        undone(town, fault)


def test_two_faults_on_links_of_one_container_do_not_hinder_each_other(town: Town) -> None:
    target = town.target(second=True)
    slow = {"link": "app -> other", "bytes_per_s": "200KB"}
    with made(target, "bandwidth", {"link": "app -> db", "bytes_per_s": "100KB"}) as one:
        with made(target, "bandwidth", slow) as two:
            assert one.handler.witness(one.instances).seen
            sight = two.handler.witness(two.instances)
            assert sight.seen, sight.what
            one.undo()
            assert one.gone().seen
            assert two.handler.witness(two.instances).seen
        assert two.gone().seen
    assert "504d" not in town.rules("app1")


def test_a_container_in_the_machines_own_network_is_refused(town: Town) -> None:
    alone = town.client.containers.run(
        town.image,
        ["sleep", "60"],
        name=f"{town.suffix}-host",
        detach=True,
        network_mode="host",
        labels={"faultload-test": town.suffix, "role": "host"},
        stop_signal="SIGKILL",
    )
    try:
        target = town.target()
        services = {
            **target.to_json()["services"],
            "host": {"labels": {"faultload-test": town.suffix, "role": "host"}},
        }
        named = target_from_json({**target.to_json(), "services": services, "links": {"host -> db": {}}})
        with pytest.raises(Refused, match="machine's network"):
            Made(named, "partition", {"link": "host -> db"}, 10.0)
    finally:
        alone.remove(force=True)


def test_containers_that_share_no_network_have_no_link(town: Town) -> None:
    target = town.target()
    stranger = town.client.containers.run(
        town.image,
        ["sleep", "60"],
        name=f"{town.suffix}-stranger",
        detach=True,
        network_mode="none",
        labels={"faultload-test": town.suffix, "role": "stranger"},
        stop_signal="SIGKILL",
    )
    try:
        where = {"labels": {"faultload-test": town.suffix, "role": "stranger"}}
        value = target.to_json()
        named = target_from_json(
            {**value, "services": {**value["services"], "far": where}, "links": {"far -> db": {}}}
        )
        with pytest.raises(Refused, match="shares no Docker network"):
            Made(named, "partition", {"link": "far -> db"}, 10.0)
    finally:
        stranger.remove(force=True)


def test_latency_whose_agent_died_is_over_and_seen_to_be(town: Town) -> None:
    """The rules go with the agent, within seconds: its redirect would lead to a dead proxy."""
    with made(town.target(), "latency", {"link": "app -> db", "delay_ms": 150}) as fault:
        assert fault.handler.lasts(fault.instances, fault.plan).seen
        for helper in helpers_of(fault.request.fault_id):
            helper.kill()
        killed = time.time()
        over = fault.handler.lasts(fault.instances, fault.plan)
        assert not over.seen and "its rules with it" in over.what
        time.sleep(max(0.0, killed + LEASE_S + 1.0 - time.time()))
        lapsed = time.time()
        for name in town.clients:
            town.wait(name, lambda events: {"new", "kept"} <= oks(events), since=lapsed)
        undone(town, fault)
