"""partition, isolate, latency, bandwidth, reset_connections and http_error on the links of light processes."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import re
import socket
import subprocess
import threading
import time
from collections import Counter

import pytest
from light_system import TOKEN, Fault, LightSystem, injected, prepared, wait_for

from faultload.errors import Refused
from faultload.platforms.local.links import LinkProxy
from faultload.platforms.local.processes import http_status
from faultload.spec.target import Service, TargetFile

pytestmark = pytest.mark.long

LINK = "edge -> web"


def get(connection: http.client.HTTPConnection, path: str = "/x") -> tuple[int, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def client(port: int, timeout_s: float = 3.0) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)


def took(port: int) -> float:
    started = time.monotonic()
    assert http_status(f"http://127.0.0.1:{port}/x", 5) == 200
    return time.monotonic() - started


def is_silent(port: int) -> bool:
    """Whether a new connection does not complete; a refusal is not silence."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.7).close()
    except TimeoutError:
        return True
    return False


def undone_once_and_for_all(light: LightSystem, fault: Fault) -> None:
    """Undone elsewhere, and a second time, which changes nothing."""
    assert fault.undo_elsewhere().seen and light.all_well()
    proxy = LinkProxy(f"http://127.0.0.1:{light.control}", TOKEN)
    links = {name: (link["faults"], link["pairs"]) for name, link in proxy.links().items()}
    assert all(faults == [] for faults, _ in links.values())
    fault.handler.undo(fault.instances, fault.plan)
    assert {name: link["faults"] for name, link in proxy.links().items()} == {name: [] for name in links}
    assert fault.undo_elsewhere().seen and light.all_well()


def test_a_partition_is_silent_for_new_and_established_connections(light: LightSystem) -> None:
    established = client(light.to_web[0], 1.0)
    assert get(established)[0] == 200
    with injected(light, "partition", link=LINK) as fault:
        assert all(is_silent(port) for port in light.to_web)
        with pytest.raises(TimeoutError):
            get(established)
        assert all(took(port) < 2 for port in light.to_store), "the other link is not touched"
        undone_once_and_for_all(light, fault)
    established.close()


@pytest.mark.parametrize(("word", "where"), [("partition", {"link": LINK}), ("isolate", {"service": "edge"})])
def test_undo_needs_no_environment_for_a_token_that_is_a_secret(
    light: LightSystem, monkeypatch: pytest.MonkeyPatch, word: str, where: dict[str, str]
) -> None:
    monkeypatch.setenv("PROXY_TOKEN", TOKEN)
    link = {"proxy": f"http://127.0.0.1:{light.control}", "token": "${secret:PROXY_TOKEN}"}
    declared = dict.fromkeys(light.target.links, link)
    secret = TargetFile.model_validate({**light.target.to_json(), "links": declared})
    monkeypatch.setattr(light, "target", secret)
    with injected(light, word, **where) as fault:
        assert TOKEN not in json.dumps(secret.to_json())
        assert TOKEN not in json.dumps({key: value for key, value in fault.plan.items() if key != "private"})
        monkeypatch.delenv("PROXY_TOKEN")
        assert fault.undo_elsewhere().seen and light.all_well()


def test_a_partition_that_resets_on_heal(light: LightSystem) -> None:
    established = client(light.to_web[0])
    assert get(established)[0] == 200
    with injected(light, "partition", link=LINK, on_heal="reset") as fault:
        assert fault.undo_elsewhere().seen
        with pytest.raises((ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)):
            get(established)
    established.close()


def test_an_isolated_instance_is_cut_off_both_ways_and_no_other(light: LightSystem) -> None:
    inward, outward = (client(port, 1.0) for port in (light.to_web[1], light.to_store[1]))
    assert get(inward)[0] == get(outward)[0] == 200
    with injected(light, "isolate", service="web", count=1) as fault:
        number = light.web.index(int(fault.instances[0].port or 0))
        for port in (light.to_web[number], light.to_store[number]):
            assert is_silent(port)
        for port in (light.to_web[1 - number], light.to_store[1 - number], *light.web):
            assert took(port) < 2
        if number == 1:
            for established in (inward, outward):
                with pytest.raises(TimeoutError):
                    get(established)
        undone_once_and_for_all(light, fault)
    inward.close()
    outward.close()


def test_an_instance_that_no_pair_names_is_not_isolated(light: LightSystem) -> None:
    services = dict(light.target.services)
    alone = subprocess.Popen(["sleep", "60"])
    services["edge"] = Service(pids=[alone.pid])
    before, light.target = light.target, light.target.model_copy(update={"services": services})
    try:
        with pytest.raises(Refused, match=re.escape(f"name it as `client` or `server` ('edge:{alone.pid}')")):
            Fault(light, "isolate", {"service": "edge"}, 10.0)
    finally:
        light.target = before
        alone.kill()
        alone.wait()


def test_latency_is_added_to_each_round_trip(light: LightSystem) -> None:
    assert min(took(light.to_web[0]) for _ in range(3)) < 0.15
    with injected(light, "latency", link=LINK, delay_ms=200, jitter_ms=20) as fault:
        assert all(took(port) >= 0.17 for port in light.to_web)
        assert min(took(light.to_store[0]) for _ in range(3)) < 0.15
        assert not fault.gone().seen
        undone_once_and_for_all(light, fault)
    assert min(took(light.to_web[0]) for _ in range(3)) < 0.15


def post_s(port: int, size: int) -> float:
    """Seconds for a body to get there, as its digest says."""
    body = os.urandom(size)
    connection = client(port, 60.0)
    started = time.monotonic()
    connection.request("POST", "/", body)
    assert connection.getresponse().read().decode() == hashlib.sha256(body).hexdigest()
    connection.close()
    return time.monotonic() - started


def test_bandwidth_limits_what_a_pair_carries(light: LightSystem) -> None:
    assert min(post_s(light.to_web[0], 300_000) for _ in range(3)) < 0.5
    with injected(light, "bandwidth", link=LINK, bytes_per_s="200kB") as fault:
        assert 1.2 < post_s(light.to_web[0], 300_000) < 6
        assert min(post_s(light.to_store[0], 300_000) for _ in range(3)) < 1
        assert not fault.gone().seen
        waiting = threading.Thread(target=post_s, args=(light.to_web[0], 6_000_000))
        waiting.start()
        time.sleep(0.5)
        started = time.monotonic()
        fault.handler.undo(fault.instances, fault.plan)
        waiting.join(30)
        assert time.monotonic() - started < 12, (
            "what waits goes on at once; at 200 kB/s it would take half a minute"
        )
        undone_once_and_for_all(light, fault)
    assert min(post_s(light.to_web[0], 300_000) for _ in range(3)) < 0.5


def test_a_limit_that_a_probe_cannot_fill_is_not_witnessed(light: LightSystem) -> None:
    fault = Fault(light, "bandwidth", {"link": LINK, "bytes_per_s": "1GB"}, 30.0)
    try:
        sight = fault.inject()
        assert not sight.seen, sight.what
    finally:
        fault.handler.undo(fault.instances, fault.plan)


def test_established_connections_are_reset_and_new_ones_work(light: LightSystem) -> None:
    established = client(light.to_web[0])
    assert get(established)[0] == 200
    with injected(light, "reset_connections", link=LINK) as fault:
        with pytest.raises((ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)):
            get(established)
        assert all(took(port) < 2 for port in light.to_web)
        undone_once_and_for_all(light, fault)
    established.close()


def test_a_reset_that_happened_keeps_no_other_fault_from_its_link(light: LightSystem) -> None:
    with injected(light, "reset_connections", link=LINK) as fault:
        assert fault.gone().seen, "the link proxy still knows it by its id"
        with prepared(light, "latency", link=LINK, delay_ms=50) as other:
            assert other.handler.gate() == []


def test_all_requests_are_answered_with_an_error_also_on_old_connections(light: LightSystem) -> None:
    old = client(light.to_web[0])
    assert get(old)[0] == 200
    with injected(light, "http_error", link=LINK) as fault:
        for connection in (old, client(light.to_web[1])):
            for body in (os.urandom(10), os.urandom(200_000), iter([b"a" * 5000, b"b" * 70_000])):
                connection.request("POST", "/", body, encode_chunked=not isinstance(body, bytes))
                answer = connection.getresponse()
                assert answer.status == 503 and answer.headers["x-faultload"] == "http_error" and answer.read()
        assert all(http_status(f"http://127.0.0.1:{port}/x", 2) == 200 for port in light.to_store)
        assert http_status(f"http://127.0.0.1:{light.web[0]}/x", 2) == 200, "past the proxy"
        undone_once_and_for_all(light, fault)
        assert get(old)[0] == 200, "the old connection goes on"
    old.close()


def test_a_share_of_the_requests_is_answered_and_the_rest_is_unharmed(light: LightSystem) -> None:
    problems: list[str] = []
    answered: Counter[int] = Counter()

    def visit(seed: int) -> None:
        chance = random.Random(seed)
        connection = client(light.to_web[seed % 2], 20.0)
        for _ in range(60):
            body = chance.randbytes(chance.choice([0, 10, 3000, 100_000]))
            chunked = chance.random() < 0.5
            pieces = iter([body[at : at + 1500] for at in range(0, len(body), 1500)]) if chunked else body
            connection.request("POST", "/", pieces, encode_chunked=chunked)
            answer = connection.getresponse()
            said = answer.read()
            answered[answer.status] += 1
            if answer.status == 200 and said.decode() != hashlib.sha256(body).hexdigest():
                problems.append(f"{len(body)} bytes arrived as others")
        connection.close()

    with injected(light, "http_error", link=LINK, share=0.3, status=500) as fault:
        threads = [threading.Thread(target=visit, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert problems == [] and set(answered) == {200, 500}
        assert 360 * 0.3 - 45 < answered[500] < 360 * 0.3 + 45 and answered.total() == 360
        undone_once_and_for_all(light, fault)


def test_pipelined_requests_are_answered_in_order(light: LightSystem) -> None:
    with injected(light, "http_error", link=LINK, share=0.5) as fault:
        with socket.create_connection(("127.0.0.1", light.to_web[0]), 5) as connection:
            asked = [f"/{number:04d}" for number in range(100)]
            head = "Host: a\r\n\r\n"
            connection.sendall("".join(f"GET {path} HTTP/1.1\r\n{head}" for path in asked).encode())
            reader = connection.makefile("rb")
            given = []
            for _ in asked:
                status = int(reader.readline().split()[1])
                length = 0
                while (line := reader.readline().strip().lower()) != b"":
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                given.append((status, reader.read(length).decode()))
        for path, (status, body) in zip(asked, given, strict=True):
            assert (status, body) == (200, path) or (status == 503 and "injected fault" in body)
        assert 20 < sum(status == 503 for status, _ in given) < 80
        assert fault.undo_elsewhere().seen


def test_answers_with_an_error_are_as_late_as_the_link_is(light: LightSystem) -> None:
    with injected(light, "http_error", link=LINK), injected(light, "latency", link=LINK, delay_ms=150):
        started = time.monotonic()
        assert http_status(f"http://127.0.0.1:{light.to_web[0]}/x", 5) == 503
        assert time.monotonic() - started >= 0.14


def test_a_second_fault_on_the_same_layer_of_a_link_is_held_by_the_gate(light: LightSystem) -> None:
    with injected(light, "latency", link=LINK, delay_ms=50):
        for word, arguments in (("partition", {"link": LINK}), ("isolate", {"service": "web"})):
            with pytest.raises(AssertionError, match="has an open fault already"):
                Fault(light, word, arguments, 10.0)


@pytest.mark.parametrize(
    ("word", "arguments"),
    [("bandwidth", {"bytes_per_s": 10_000}), ("http_error", {}), ("partition", {})],
)
def test_a_link_fault_ends_by_itself_when_nobody_undoes_it(light: LightSystem, word: str, arguments: dict) -> None:  # type: ignore[type-arg]
    with injected(light, word, duration_s=0.5, link=LINK, **arguments) as fault:
        started = time.monotonic()
        wait_for(lambda: fault.gone().seen, 15, "the fault has ended")
        assert time.monotonic() - started < 14
