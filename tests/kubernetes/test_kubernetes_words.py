"""Loss, bandwidth, resets, HTTP errors and isolation on a real cluster: felt in the pods, gone after undo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Injected, no_cluster, own_space, wait_until
from shopref import Shop, tell

from faultload.platforms.kubernetes.client import core
from faultload.platforms.kubernetes.helper import helpers_of

pytestmark = pytest.mark.kubernetes
LINK = {"link": "client -> server"}
LIMIT = 100_000
MOVED = 300_000
WORDS: dict[str, dict[str, Any]] = {
    "partition": LINK,
    "isolate": {"service": "client"},
    "latency": {**LINK, "delay_ms": 300},
    "loss": {**LINK, "share": 0.3},
    "bandwidth": {**LINK, "bytes_per_s": LIMIT},
    "reset_connections": LINK,
    "http_error": {**LINK, "share": 1.0, "status": 418},
}
_CONNECT = """
import json, socket, sys
found = []
for number in range(60):
    host, port = sys.argv[1 + number % (len(sys.argv) - 1)].rsplit(":", 1)
    try:
        # a lost segment of the handshake is sent again after one second (RFC 6298)
        socket.create_connection((host, int(port)), timeout=0.5).close()
        found.append(False)
    except TimeoutError:
        found.append(True)
print(json.dumps(sum(found) / len(found)))
"""
_STATUS = """
import http.client, json, sys
found = []
for number in range(30):
    host, port = sys.argv[1 + number % (len(sys.argv) - 1)].rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=5.0)
    connection.request("HEAD", "/")
    found.append(connection.getresponse().status)
    connection.close()
print(json.dumps(found))
"""
_MOVE = """
import http.client, json, sys, time
host, port = sys.argv[2].rsplit(":", 1)
connection = http.client.HTTPConnection(host, int(port), timeout=20.0)
connection.connect()
began = time.monotonic()
if sys.argv[1] == "up":  # an answer comes when all of the request has come
    headers = {f"x-{number}": "x" * 5000 for number in range(60)}
    connection.request("HEAD", "/", headers=headers)
    connection.getresponse().read()
else:
    connection.request("GET", "/moved")
    assert len(connection.getresponse().read()) == 300000
print(json.dumps(time.monotonic() - began))
"""


@pytest.fixture(scope="module")
def one_shop() -> Iterator[Shop]:
    if (reason := no_cluster()) is not None:
        pytest.skip(reason)
    with own_space() as space:
        yield Shop(space)


@pytest.fixture
def shop(one_shop: Shop) -> Iterator[Shop]:
    """After each test every connection is made again, whatever became of its fault."""
    yield one_shop
    one_shop.space.undo_all()
    assert None not in one_shop.ask("client")


def inject(shop: Shop, word: str, **more: Any) -> Injected:
    """Injected, and there by its own witness."""
    fault = shop.space.fault(shop.target, word, duration_s=90.0, **{**WORDS[word], **more}).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    return fault


def undo(shop: Shop, fault: Injected) -> None:
    """Undone, gone by its own witness, and without a helper; a second undo changes nothing."""
    fault.undo()
    gone = fault.gone()
    assert gone.seen, gone.what
    fault.undo()
    wait_until(lambda: helpers_of(fault.target, shop.space.name, fault.request.fault_id) == [])


def lost(shop: Shop, app: str) -> float:
    """The share of an app's new connections whose first segments get no answer."""
    return float(shop.run(app, "python3", "-c", _CONNECT, *shop.addresses()))


def statuses(shop: Shop, app: str) -> list[int]:
    """What an app's requests are answered with, by each server and by the service's address."""
    return list(json.loads(shop.run(app, "python3", "-c", _STATUS, *shop.addresses())))


def moving_s(shop: Shop, app: str, way: str, address: str) -> float:
    """How long an app takes to send or to get 300 kB."""
    return float(shop.run(app, "python3", "-c", _MOVE, way, address))


def test_loss_leaves_connections_without_an_answer_and_only_on_the_link(shop: Shop) -> None:
    assert lost(shop, "client") < 0.1
    fault = inject(shop, "loss")
    # a segment gets there and back with a probability of 0.49
    assert 0.25 < lost(shop, "client") < 0.8
    assert lost(shop, "bystander") < 0.1
    undo(shop, fault)
    assert lost(shop, "client") < 0.1


def test_bandwidth_limits_what_a_pod_sends_and_what_it_gets(shop: Shop) -> None:
    for server in shop.space.pods("server").values():
        shop.run_in(server.name, "sh", "-c", f"head -c {MOVED} /dev/zero > /usr/share/moved")
    pod, *_, service = shop.addresses()
    transfers = [(way, address) for way in ("up", "down") for address in (pod, service)]
    assert all(moving_s(shop, "client", *one) < 1.0 for one in transfers)
    fault = inject(shop, "bandwidth")
    # the last packets may lie in buffers that are not limited
    slow = {one: moving_s(shop, "client", *one) for one in transfers}
    assert all(0.6 * MOVED / LIMIT < took_s < 4 * MOVED / LIMIT for took_s in slow.values()), slow
    assert all(moving_s(shop, "bystander", *one) < 1.0 for one in transfers)
    undo(shop, fault)
    assert all(moving_s(shop, "client", *one) < 1.0 for one in transfers)


def test_a_reset_ends_an_idle_connection_of_the_link_once_and_no_other(shop: Shop) -> None:
    with shop.holding("client") as held, shop.holding("bystander") as others:
        fault = inject(shop, "reset_connections")
        assert tell(held) == "reset"
        assert tell(others) == "answered"
    with shop.holding("client") as held:
        assert tell(held) == "answered", "it happens once"
        undo(shop, fault)
        assert None not in shop.ask("client")


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_http_errors_answer_a_share_of_the_requests_to_pods_and_to_their_service(shop: Shop, share: float) -> None:
    fault = inject(shop, "http_error", share=share)
    wrong = statuses(shop, "client").count(418)
    assert wrong == 30 if share == 1.0 else 4 < wrong < 26
    assert set(statuses(shop, "bystander")) == {200}
    undo(shop, fault)
    assert set(statuses(shop, "client")) == {200}


def test_an_isolated_client_reaches_nobody_whom_it_is_linked_to(shop: Shop) -> None:
    with shop.holding("client") as held:
        fault = inject(shop, "isolate")
        assert shop.ask("client") == [None, None, None]
        assert tell(held) == "silent"
    assert None not in shop.ask("bystander")
    undo(shop, fault)
    assert None not in shop.ask("client")


def test_of_two_servers_the_isolated_one_alone_is_silent(shop: Shop) -> None:
    fault = inject(shop, "isolate", service="server", count=1)
    (alone,) = (instance.id for instance in fault.instances)
    silent = [pod_id == alone for pod_id in shop.space.pods("server")]
    assert [seconds is None for seconds in shop.ask("client")[:2]] == silent
    undo(shop, fault)
    assert None not in shop.ask("client")


@pytest.mark.parametrize("word", ["isolate", "loss", "bandwidth", "http_error"])
def test_what_is_left_when_its_agents_are_gone_is_undone(shop: Shop, word: str) -> None:
    fault = inject(shop, word)
    for helper in helpers_of(fault.target, shop.space.name, fault.request.fault_id):
        core(shop.space.api).delete_namespaced_pod(helper.name, shop.space.name, grace_period_seconds=0)
    undo(shop, fault)
    assert set(statuses(shop, "client")) == {200}


@pytest.mark.parametrize("word", WORDS)
def test_a_fault_that_was_not_made_is_not_seen(shop: Shop, word: str) -> None:
    """Its agents wait, and the network is as it was."""
    fault = shop.space.fault(shop.target, word, **WORDS[word]).prepare()
    sight = fault.witness()
    assert not sight.seen, sight.what
    undo(shop, fault)
