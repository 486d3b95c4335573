"""Each fault of the link proxy is seen by real sockets, and is gone after its undo or its expiry."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from linkbench import LINK, TOKEN, Bench, bench, echo

from faultload.errors import TargetError
from faultload.host.processes import identify, wait_gone


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("links")) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_left_open(links: Bench) -> Iterator[None]:
    yield
    for name, link in links.proxy.links().items():
        for fault in link["faults"]:
            links.proxy.remove(name, fault["id"])


def test_a_link_without_a_fault_just_passes(links: Bench) -> None:
    with links.connect() as connection:
        assert echo(connection, os.urandom(3_000_000), 5) < 2
        assert sorted(echo(connection) for _ in range(50))[25] < 0.005
        pair = links.proxy.listeners(LINK)[0]
        assert (pair.host, pair.port, pair.protocol) == (*links.address, "tcp")
        assert links.proxy.links()[LINK]["connections"] == 1


def test_a_partition_stalls_without_fin_or_rst_and_delivers_on_heal(links: Bench) -> None:
    with links.connect() as connection:
        echo(connection)
        links.proxy.add(LINK, "cut#1", "partition", {}, expires_s=30)
        connection.settimeout(1.0)
        connection.sendall(b"held")
        with pytest.raises(TimeoutError):
            connection.recv(10)
        assert links.proxy.remove(LINK, "cut#1") is True
        assert connection.recv(10) == b"held"
        assert echo(connection) < 0.5


def test_a_new_connection_times_out_during_a_partition_and_works_after(links: Bench) -> None:
    links.proxy.add(LINK, "cut", "partition", {"mode": "drop"}, expires_s=30)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            links.connect(timeout_s=0.6)
    links.proxy.remove(LINK, "cut")
    with links.connect() as connection:
        assert echo(connection) < 0.5
    deadline = time.monotonic() + 2
    while links.proxy.links()[LINK]["connections"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert links.proxy.links()[LINK]["connections"] == 0


def test_a_partition_swallows_the_end_of_a_connection_until_heal(links: Bench) -> None:
    connection = links.connect()
    echo(connection)
    links.proxy.add(LINK, "cut", "partition", {}, expires_s=30)
    connection.close()
    time.sleep(0.3)
    assert links.proxy.links()[LINK]["connections"] == 1
    links.proxy.remove(LINK, "cut")
    deadline = time.monotonic() + 2
    while links.proxy.links()[LINK]["connections"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert links.proxy.links()[LINK]["connections"] == 0


def test_a_partition_may_reset_on_heal(links: Bench) -> None:
    with links.connect() as connection:
        echo(connection)
        links.proxy.add(LINK, "cut", "partition", {"on_heal": "reset"}, expires_s=30)
        connection.sendall(b"lost")
        links.proxy.remove(LINK, "cut")
        with pytest.raises(ConnectionResetError):
            connection.recv(10)


@pytest.mark.parametrize("mode", ["refuse", "reset"])
def test_the_loud_partitions_reset_what_is_there_and_what_comes(links: Bench, mode: str) -> None:
    with links.connect() as connection:
        echo(connection)
        links.proxy.add(LINK, "cut", "partition", {"mode": mode}, expires_s=30)
        with pytest.raises(ConnectionResetError):
            echo(connection)
    if mode == "refuse":
        with pytest.raises(ConnectionRefusedError):
            links.connect()
    else:
        with pytest.raises(ConnectionResetError), links.connect() as new:
            echo(new)
            echo(new)
    links.proxy.remove(LINK, "cut")
    with links.connect() as connection:
        assert echo(connection) < 0.5


def test_latency_is_added_once_to_a_round_trip_and_costs_no_throughput(links: Bench) -> None:
    with links.connect() as connection:
        links.proxy.add(LINK, "slow", "latency", {"delay_ms": 100, "jitter_ms": 10}, expires_s=30)
        quickest = min(echo(connection) for _ in range(5))  # a crowded machine makes some longer, none shorter
        assert 0.09 <= quickest < 0.17, "once: twice would be 0.18 at least"
        sent = os.urandom(4_000_000)
        received = bytearray()
        reader = threading.Thread(target=_read, args=(connection, received, len(sent)))
        reader.start()
        started = time.perf_counter()
        connection.sendall(sent)
        reader.join(10)
        assert time.perf_counter() - started < 1.5
        assert bytes(received) == sent
        links.proxy.remove(LINK, "slow")
        assert min(echo(connection) for _ in range(5)) < 0.02


def _read(connection: socket.socket, into: bytearray, size: int) -> None:
    connection.settimeout(10)
    while len(into) < size:
        into += connection.recv(65536)


def test_bandwidth_is_what_was_asked_for(links: Bench) -> None:
    with links.connect() as connection:
        links.proxy.add(LINK, "thin", "bandwidth", {"bytes_per_s": 200_000}, expires_s=30)
        assert 0.8 < echo(connection, os.urandom(200_000), 5) < 2.0
        links.proxy.remove(LINK, "thin")
        assert echo(connection, os.urandom(200_000), 5) < 0.5


def test_established_connections_are_reset_once(links: Bench) -> None:
    with links.connect() as connection:
        echo(connection)
        links.proxy.add(LINK, "rst", "reset_connections", {}, expires_s=30)
        with pytest.raises(ConnectionResetError):
            connection.recv(10)
    with links.connect() as connection:
        links.proxy.add(LINK, "rst", "reset_connections", {}, expires_s=30)
        assert echo(connection) < 0.5


def test_a_fault_expires_by_itself(links: Bench) -> None:
    with links.connect() as connection:
        links.proxy.add(LINK, "cut", "partition", {}, expires_s=0.6)
        started = time.perf_counter()
        assert echo(connection, timeout_s=5) > 0.4 and time.perf_counter() - started < 1.5
    assert links.proxy.links()[LINK]["faults"] == []


def test_undo_by_id_touches_no_other_fault(links: Bench) -> None:
    links.proxy.add(LINK, "mine", "partition", {}, expires_s=30)
    assert links.proxy.remove(LINK, "not/mine") is False
    assert [fault["id"] for fault in links.proxy.links()[LINK]["faults"]] == ["mine"]
    again = links.proxy.add(LINK, "mine", "partition", {}, expires_s=30)
    assert again["new"] is False
    with pytest.raises(TargetError, match="open already as fault mine"):
        links.proxy.add(LINK, "second", "partition", {}, expires_s=30)
    links.proxy.add("other", "second", "partition", {}, expires_s=30)
    assert links.proxy.remove(LINK, "mine") is True
    assert links.proxy.remove(LINK, "mine") is False


def test_wrong_requests_are_refused_in_words(links: Bench) -> None:
    with pytest.raises(TargetError, match="expires_s is required"):
        links.proxy.add(LINK, "x", "partition", {}, expires_s=0)
    with pytest.raises(TargetError, match="kind must be one of"):
        links.proxy.add(LINK, "x", "meteor", {}, expires_s=1)
    with pytest.raises(TargetError, match="no link 'moon'"):
        links.proxy.add("moon", "x", "partition", {}, expires_s=1)
    with pytest.raises(TargetError, match="delay_ms of latency is a number"):
        links.proxy.add(LINK, "x", "latency", {}, expires_s=1)


def test_the_proxy_dies_with_its_parent(links: Bench, tmp_path: Path) -> None:
    config = tmp_path / "c.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps({"control": 0, "token": TOKEN, "links": {}}))
    argv = [sys.executable, "-m", "faultload.agents.link.proxy", "--config", str(config)]
    code = (
        f"import subprocess, time\np = subprocess.Popen({argv!r})\n"
        "time.sleep(1.5); print(p.pid, p.poll(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, state = parent.stdout.readline().split()
    child = identify(int(pid))
    assert state == "None" and child is not None
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_gone([child], 3) == []
