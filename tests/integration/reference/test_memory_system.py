"""The memory service as a whole: up, disturbed in every way its pack relies on, and gone without a trace."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from faultload import reference
from faultload.errors import InvalidInput, Refused
from faultload.host import state
from faultload.host.processes import ProcessId, identify, wait_gone
from faultload.platforms.local.links import LinkProxy
from faultload.reference.host import sweep

pytestmark = pytest.mark.system
NAME = "memory"


class Up:
    """A started memory service."""

    def __init__(self, target_file: Path, took_s: float) -> None:
        self.target = yaml.safe_load(target_file.read_text())
        self.folder = target_file.parent
        self.took_s = took_s

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any, Any, float]:
        """Status, JSON, headers, seconds."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.target["url"] + path, data, method=method)
        started = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                status, text, headers = response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            status, text, headers = error.code, error.read(), error.headers
        return status, json.loads(text), headers, time.perf_counter() - started

    def create(self, key: str, text: str = "tea in the garden", user: str = "ann") -> tuple[int, float]:
        answer = self.ask("POST", "/memories/", {"user_id": user, "key": key, "text": text})
        return answer[0], answer[3]

    def ports(self, service: str) -> list[int]:
        found = self.target["services"][service]
        return list(found.get("ports", [found.get("port")]))

    def process(self, service: str, port: int) -> ProcessId:
        """The process whose argument list is the target file's, exactly."""
        wanted = [part.replace("{port}", str(port)) for part in self.target["services"][service]["command"]]
        (pid,) = [p.pid for p in psutil.process_iter() if _arguments(p.pid) == wanted]
        found = identify(pid)
        assert found is not None
        return found

    def cluster(self) -> dict[str, dict[str, Any]]:
        for url in self.target["services"]["db"]["patroni"]:
            try:
                with urllib.request.urlopen(url + "/cluster", timeout=2) as response:
                    return {member["name"]: member for member in json.load(response)["members"]}
            except (OSError, HTTPException):
                continue
        return {}

    def leader(self) -> str:
        """Its name; empty while there is none."""
        return next((name for name, member in self.cluster().items() if member["role"] == "leader"), "")

    def kill_postmaster(self, member: str) -> None:
        pid = int((self.folder / "db" / member / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    def whole(self) -> bool:
        roles = sorted(m["role"] for m in self.cluster().values() if m["state"] in ("running", "streaming"))
        return roles == ["leader", "sync_standby"]

    def listening(self) -> set[int]:
        links = json.loads((self.folder / "links.json").read_text())
        found = {port for service in ("gateway", "api", "cloud", "shortterm") for port in self.ports(service)}
        return found | {pair["listen"] for link in links["links"].values() for pair in link} | {links["control"]}


def _proxy_of(target: dict[str, Any]) -> LinkProxy:
    link = target["links"]["api -> db"]
    return LinkProxy(link["proxy"], link["token"])


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def wait_for(condition: Callable[[], object], timeout_s: float) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.05)
    return time.monotonic() - started


def assert_no_trace(folder: Path, ports: set[int], processes: list[ProcessId]) -> None:
    assert processes
    assert wait_gone(processes, 3) == []
    assert not folder.exists()
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, port


@pytest.fixture(scope="module", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
        assert reference.stop(NAME) == []


@pytest.fixture(scope="module")
def up(state_home: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    started = time.monotonic()
    logs = tmp_path_factory.mktemp("logs")
    file = reference.start(NAME, logs=logs, owner=identify(os.getpid())).wait_ready(60)
    yield Up(file, time.monotonic() - started)
    reference.stop(NAME)


def test_it_is_up_soon_with_a_synchronous_standby(up: Up) -> None:
    assert up.took_s < 40  # 12 to 15 s on two idle cores
    assert up.whole()
    status = reference.status(NAME)
    assert status is not None and status.running and status.ready and status.owner_alive
    assert status.url == up.target["url"]
    assert {"api-1", "gateway", "links", "pg1"} <= {file.stem for file in status.logs.iterdir()}


def test_it_cannot_be_started_twice(up: Up) -> None:
    with pytest.raises(Refused, match="target down memory"):
        reference.start(NAME)


def test_memories_are_written_searched_and_counted_and_the_tier_is_named(up: Up) -> None:
    assert up.create("first")[0] == up.create("first")[0] == 201
    wait_for(lambda: up.ask("GET", f"/memories/search?user_id=ann&query=tea&{time.time()}")[1]["results"], 7)
    status, body, headers, _ = up.ask("GET", "/memories/search?user_id=ann&query=garden")
    assert (status, body["tier"], headers["X-Tier"]) == (200, "cloud", "cloud")
    assert headers["X-Cache"] in ("hit", "miss")
    assert [found["key"] for found in body["results"]] == ["first"]
    status, body, _, _ = up.ask("GET", "/analytics/insights/ann")
    assert status == 200 and body["total"] == 1 and body["counts"][0]["topic"] == "tea"
    assert up.ask("GET", "/memories/first")[1]["text"] == "tea in the garden"
    assert up.ask("GET", "/memories/never")[0] == 404
    body = up.ask("GET", "/memories/?keys=first,never")[1]
    assert (body["found"], body["missing"]) == (["first"], ["never"])
    assert up.ask("POST", "/memories/", {"key": "x"})[0] == 422


def test_every_instance_is_found_by_its_arguments(up: Up) -> None:
    for service in ("gateway", "api", "cloud", "shortterm"):
        for port in up.ports(service):
            assert up.process(service, port).alive()


def test_a_killed_api_instance_comes_back_by_itself(up: Up) -> None:
    port = up.ports("api")[0]
    before = up.process("api", port)
    before.signal(signal.SIGKILL)
    wait_gone([before], 2)
    slowest = max(up.ask("GET", f"/memories/search?user_id=ann&query={n}")[3] for n in range(30))
    assert slowest < 2.5
    wait_for(lambda: any(str(port) in _arguments(pid) for pid in psutil.pids()), 5)
    assert up.process("api", port) != before
    wait_for(lambda: up.ask("GET", "/health")[1]["healthy_instances"] == 3, 5)


def test_a_frozen_first_tier_slows_a_few_requests_and_the_second_answers(up: Up) -> None:
    cloud = up.process("cloud", up.ports("cloud")[0])
    cloud.signal(signal.SIGSTOP)
    try:
        answers = [up.ask("GET", f"/memories/search?user_id=ann&query=tea+{n}") for n in range(60)]
    finally:
        cloud.signal(signal.SIGCONT)
    assert {(status, headers["X-Tier"]) for status, _, headers, _ in answers} == {(200, "shortterm")}
    assert all(took < 0.6 for *_, took in answers)
    assert sum(took > 0.15 for *_, took in answers) <= 20
    wait_for(
        lambda: up.ask("GET", f"/memories/search?user_id=ann&query={time.time_ns()}")[2]["X-Tier"] == "cloud", 5
    )


def test_with_both_tiers_frozen_the_previous_version_answers(up: Up) -> None:
    tiers = [up.process(name, up.ports(name)[0]) for name in ("cloud", "shortterm")]
    try:
        for tier in tiers:
            tier.signal(signal.SIGSTOP)
        status, body, headers, _ = up.ask("GET", "/memories/search?user_id=ann&query=tea+legacy")
        assert (status, headers["X-Tier"], body["results"][0]["key"]) == (200, "legacy", "first")
    finally:
        for tier in tiers:
            tier.signal(signal.SIGCONT)


def test_every_request_is_answered_during_a_silent_partition_of_the_database(up: Up) -> None:
    proxy = _proxy_of(up.target)
    wait_for(lambda: up.ask("GET", "/health/deep")[1]["status"] == "ok", 10)
    assert [pair.server.split(":")[0] for pair in proxy.listeners("api -> db") if pair.server] == ["db"] * 6
    proxy.add("api -> db", "cut", "partition", {}, expires_s=60)
    try:
        writes = [up.create(f"cut-{n}") for n in range(6)]
        assert all(status == 503 and took < 2.5 for status, took in writes), writes
        status, _, headers, took = up.ask("GET", "/memories/search?user_id=ann&query=tea+cut")
        assert (status, headers["X-Tier"]) == (200, "cloud") and took < 0.5
        assert up.ask("GET", "/health/deep")[0] == 503
    finally:
        proxy.remove("api -> db", "cut")
    wait_for(lambda: up.create("healed")[0] == 201, 3)


def test_writes_go_on_after_the_leader_dies_and_none_acknowledged_is_lost(up: Up) -> None:
    old, timeline = up.leader(), max(member["timeline"] for member in up.cluster().values())
    acknowledged = [f"before-{n}" for n in range(50) if up.create(f"before-{n}")[0] == 201]
    numbers = itertools.count()

    def write() -> bool:
        key = f"after-{next(numbers)}"
        if up.create(key)[0] != 201:
            return False
        acknowledged.append(key)
        return True

    up.kill_postmaster(old)
    killed = time.monotonic()
    # A backend may outlive its postmaster by a write.
    wait_for(lambda: write() and up.leader() not in ("", old), 12)
    print(f"writes again after {time.monotonic() - killed:.2f} s")
    wait_for(lambda: max(member.get("timeline") or 0 for member in up.cluster().values()) > timeline, 5)
    time.sleep(1.5)  # the tiers have read the new leader
    body = up.ask("GET", "/memories/?keys=" + ",".join(acknowledged))[1]
    assert body["missing"] == []
    wait_for(up.whole, 60)
    print(f"whole again after {time.monotonic() - killed:.2f} s")


def test_it_stops_without_a_trace(up: Up) -> None:
    processes, ports = sweep.belonging(up.folder), up.listening()
    assert len(processes) > 15
    assert reference.stop(NAME) == []
    assert_no_trace(up.folder, ports, processes)
    assert reference.stop(NAME) == [] and reference.status(NAME) is None


def test_defects_of_the_database_show_and_a_killed_supervisor_takes_everything_along(state_home: None) -> None:
    defects = ("async-replication", "no-failover", "no-retry")
    try:
        up = Up(reference.start(NAME, defects=defects).wait_ready(60), 0)
        assert sorted(member["role"] for member in up.cluster().values()) == ["leader", "replica"]
        assert {up.create(f"d{n}")[0] for n in range(6)} == {201}
        proxy = _proxy_of(up.target)
        proxy.add("api -> db", "rst", "reset_connections", {}, expires_s=5)
        answers = [up.create(f"e{n}")[0] for n in range(9)]
        assert answers == [503] * 9  # no-retry: a dead connection is kept for ever
        old = up.leader()
        up.kill_postmaster(old)
        time.sleep(6)
        assert not any(m["role"] == "leader" and name != old for name, m in up.cluster().items())
        status = reference.status(NAME)
        assert status is not None and status.defects == defects and status.owner is None
        processes, ports = sweep.belonging(up.folder), up.listening()
        status.pids["supervisor"].signal(signal.SIGKILL)
        assert wait_gone(processes, 5) == []
        status = reference.status(NAME)
        assert status is not None and not status.running
    finally:
        folder = state.target_dir(reference.target_id(NAME))
        assert reference.stop(NAME) == []
    assert_no_trace(folder, ports, processes)


def test_wrong_names_are_refused_in_words() -> None:
    with pytest.raises(InvalidInput, match="no reference system 'moon'"):
        reference.start("moon")
    with pytest.raises(InvalidInput, match=r"no defect 'x' \(it has: ack-before-commit"):
        reference.start(NAME, defects=["x"])
