"""What is known of a Docker engine and its containers without asking one: addresses, counts, and the guard."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from docker.context import ContextAPI

from faultload.chaos.guard import Unapproved, check_before_asking, check_here, check_target
from faultload.errors import Refused, TargetError
from faultload.faults import cannot, faults_of
from faultload.faults.base import FaultRequest
from faultload.faults.process.docker import Kill
from faultload.faults.stress.docker import cpu_limit
from faultload.platforms.base import Instance
from faultload.platforms.docker import client as docker_client
from faultload.platforms.docker.platform import needs_helper
from faultload.platforms.docker.stats import usage_from
from faultload.spec.target import TargetFile

ENGINE = "docker:ABCD:EFGH:shop"


def target(**more: Any) -> TargetFile:
    value = {
        "id": ENGINE,
        "name": "shop",
        "platform": "docker",
        "project": "shop",
        "services": {"web": {"compose": "web"}},
    }
    return TargetFile.model_validate({**value, **more})


class Engine:
    """Containers of a service as an engine describes them, by the pid of their first process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *pids: int) -> None:
        found = [Seen(State={"Running": True, "Paused": False, "Restarting": False, "Pid": pid}) for pid in pids]
        monkeypatch.setattr(docker_client, "containers_of", lambda target, service: found)


def test_a_target_is_here_by_the_process_of_one_of_its_containers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    groups = {7: "0::/system.slice/docker-abc.scope", 8: "0::/system.slice/docker-other.scope"}
    monkeypatch.setattr(Path, "read_text", lambda path: groups[int(path.parent.name)])
    monkeypatch.setattr(Seen, "id", "abc", raising=False)
    monkeypatch.setattr(Seen, "name", "shop-web-1", raising=False)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for pids in ((7,), (8, 7), ()):
        Engine(monkeypatch, *pids)
        check_here(target(), [])
    Engine(monkeypatch, 8)
    with pytest.raises(Refused, match="is no process of this machine"):
        check_here(target(), [])
    with pytest.raises(Unapproved, match=f"--approve {ENGINE}"):
        check_here(target(allow=[ENGINE]), [])
    check_here(target(allow=[ENGINE]), [ENGINE])


@pytest.mark.parametrize("host", ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375", "tcp://[::1]:2375"])
def test_an_engine_at_an_address_of_this_machine_may_be_asked(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    check_before_asking(target(), [])


@pytest.mark.parametrize("host", ["tcp://10.1.2.3:2376", "tcp://engine.example:2376", "ssh://me@localhost"])
def test_an_engine_elsewhere_must_be_listed_and_approved_before_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    monkeypatch.setattr(docker_client, "client", lambda: pytest.fail("it was asked"))
    for check in (check_before_asking, check_here, check_target):
        with pytest.raises(Refused, match=rf"\(its engine is {re.escape(host)}\): list it under `allow`"):
            check(target(), [ENGINE])
        with pytest.raises(Refused, match=f"--approve {ENGINE}"):
            check(target(allow=[ENGINE]), [])
        check(target(allow=[ENGINE]), [ENGINE])
        check(target(), [ENGINE], [ENGINE])


def test_an_engine_without_an_id_is_approved_by_its_address_or_as_one_that_is_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.1.2.3:2376")
    name = "docker:tcp://10.1.2.3:2376"
    with pytest.raises(Refused, match=f"^{name} is not on this machine"):
        check_before_asking(target(id=""), [name])
    check_before_asking(target(id="", allow=[name]), [name])
    check_before_asking(target(id="", allow=[ENGINE]), [ENGINE])
    check_here(target(allow=[ENGINE]), [ENGINE])
    with pytest.raises(Refused, match="list it under `allow`"):
        check_here(target(id="docker:another:shop", allow=[ENGINE]), [ENGINE])


@pytest.mark.skipif(
    not hasattr(ContextAPI, "kwargs_from_context"), reason="this docker-py goes by DOCKER_HOST alone"
)
@pytest.mark.parametrize("by", ["config.json", "DOCKER_CONTEXT"])
def test_a_context_of_dockers_own_client_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str) -> None:
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"prod").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    endpoint = {"Host": "tcp://203.0.113.5:2376", "SkipTLSVerify": False}
    meta.write_text(json.dumps({"Name": "prod", "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    config = {"currentContext": "prod"} if by == "config.json" else {}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr("docker.utils.config.home_dir", lambda: str(tmp_path))
    if by == "DOCKER_CONTEXT":
        monkeypatch.setenv("DOCKER_CONTEXT", "prod")
    with pytest.raises(Refused, match=re.escape("its engine is tcp://203.0.113.5:2376")):
        check_before_asking(target(), [])
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    check_before_asking(target(), [])


def test_a_url_elsewhere_must_be_approved_although_the_engine_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    with pytest.raises(Refused, match=r"\(its url is http://203.0.113.5\)"):
        check_before_asking(target(url="http://203.0.113.5"), [])


def test_a_project_whose_name_is_protected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    with pytest.raises(Refused, match="'production' is protected"):
        check_target(target(project="production"), [])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("tcp://127.0.0.1:1", "no Docker engine answers at tcp://127.0.0.1:1: start it"),
        ("unix:///nowhere", "/nowhere"),
    ],
)
def test_an_engine_that_does_not_answer_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, host: str, expected: str
) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(TargetError, match=expected):
        docker_client.client()


def test_a_service_without_labels_never_means_every_container() -> None:
    with pytest.raises(TargetError, match="neither compose"):
        docker_client.labels_of(target(services={"web": {"labels": {}}}), "web")


def test_a_compose_service_is_one_of_its_project_only() -> None:
    assert docker_client.labels_of(target(), "web") == {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
    }


class Seen:
    """A container as the engine describes it."""

    def __init__(self, **attrs: Any) -> None:
        state = {
            "Running": True,
            "Paused": False,
            "Restarting": False,
            "Pid": 7,
            "StartedAt": "2026-01-02T03:04:05Z",
        }
        self.attrs: Any = {
            "State": {**state, **attrs.pop("State", {})},
            "HostConfig": {},
            "NetworkSettings": {},
            **attrs,
        }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05.123456789Z", 1767323045.123456),
        ("2026-01-02T03:04:05.5Z", 1767323045.5),
        ("2026-01-02T03:04:05Z", 1767323045.0),
        ("2026-01-02T05:04:05.250000001+02:00", 1767323045.25),
        ("0001-01-01T00:00:00Z", 0.0),
    ],
)
def test_the_start_of_a_container_is_read_whatever_its_precision(text: str, expected: float) -> None:
    seen: Any = Seen(State={"StartedAt": text})
    assert docker_client.started_at(seen) == expected


def test_a_container_that_waits_to_be_started_again_does_not_run() -> None:
    for state in ({"Restarting": True}, {"Running": False}, {"Pid": 0}):
        seen: Any = Seen(State=state)
        assert not docker_client.runs(seen)
    paused: Any = Seen(State={"Paused": True})
    assert docker_client.runs(paused)


def test_a_published_port_is_asked_where_the_network_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(docker_client, "_own_addresses", list)
    networks = {"shop_default": {"IPAddress": "172.30.0.5", "IPPrefixLen": 16}}
    ports = {"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "49153"}]}
    published: Any = Seen(NetworkSettings={"Networks": networks, "Ports": ports})
    assert docker_client.reachable(published, 8000) == ("127.0.0.1", 49153)
    hidden: Any = Seen(NetworkSettings={"Networks": networks, "Ports": {}})
    assert docker_client.reachable(hidden, 8000) is None


V1 = {
    "read": "2026-01-02T03:04:05.5Z",
    "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}, "throttling_data": {"throttled_time": 500_000_000}},
    "memory_stats": {
        "usage": 100,
        "stats": {"total_inactive_file": 30, "inactive_file": 5, "total_rss": 50, "rss": 1},
    },
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 3}, {"op": "Write", "value": 4}]},
    "pids_stats": {"current": 6},
    "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
}
V2 = {
    "read": "2026-01-02T03:04:05.5Z",
    "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}, "throttling_data": {"throttled_time": 500_000_000}},
    "memory_stats": {"usage": 100, "stats": {"inactive_file": 30, "anon": 50}},
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 3}, {"op": "write", "value": 4}]},
    "pids_stats": {"current": 6},
    "networks": {"eth0": {"rx_bytes": 11, "tx_bytes": 22}},
}


@pytest.mark.parametrize("answer", [V1, V2], ids=["cgroup v1", "cgroup v2"])
def test_what_the_engine_counts_is_the_same_of_both_versions_of_control_groups(answer: dict[str, Any]) -> None:
    found = usage_from(answer)
    assert found is not None
    assert (found.at_s, found.cpu_s, found.throttled_s) == (1767323045.5, 2.5, 0.5)
    assert (found.memory_bytes, found.rss_bytes, found.threads) == (70, 50, 6)
    assert (found.read_bytes, found.written_bytes, found.received_bytes, found.sent_bytes) == (3, 4, 11, 22)


def test_a_stopped_container_uses_nothing_that_could_be_counted() -> None:
    assert usage_from({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ({}, 8.0),
        ({"NanoCpus": 500_000_000}, 0.5),
        ({"CpuQuota": 150_000, "CpuPeriod": 100_000}, 1.5),
        ({"CpuQuota": 25_000, "CpuPeriod": 0}, 0.25),
        ({"CpuQuota": -1}, 8.0),
        ({"CpusetCpus": "0-2,5"}, 4.0),
        ({"CpusetCpus": "1", "NanoCpus": 3_000_000_000}, 1.0),
    ],
)
def test_the_processor_limit_of_a_container_is_known_however_it_was_given(
    monkeypatch: pytest.MonkeyPatch, host: dict[str, Any], expected: float
) -> None:
    pytest.importorskip("docker")

    class Engine:
        def info(self) -> dict[str, Any]:
            return {"NCPU": 8}

    monkeypatch.setattr(docker_client, "client", Engine)
    seen: Any = Seen(HostConfig=host)
    assert cpu_limit(seen) == expected


def test_every_word_for_processes_stress_and_disks_is_there_and_says_what_it_does() -> None:
    made = faults_of("docker")
    words = [
        "kill",
        "terminate",
        "restart",
        "pause",
        "scale",
        "cpu_stress",
        "memory_stress",
        "io_stress",
        "fill_disk",
    ]
    for word in words:
        assert cannot("docker", word) is None
        assert made[word].made_by
        assert made[word].witnessed_by
        assert made[word].undone_by
    assert needs_helper(Kill)
    assert not needs_helper(made["restart"])


def test_an_instance_is_named_by_its_container() -> None:
    instance = Instance("web", "3f1c0d2a9b7e" + "0" * 52, 1.0, "shop-web-1", 8000)
    assert instance.label == "shop-web-1 (3f1c0d2a9b7e)"
    fault = Kill(target(), FaultRequest("kill#1@x", "kill", {"service": "web"}, 10.0))
    assert fault.service == "web"
    assert fault.expires_s == 15.0


def test_where_a_port_is_published_is_a_way_past_a_containers_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from faultload.faults.network.docker import _published

    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example:2376")
    client = Seen(NetworkSettings={"Networks": {"shop": {"Gateway": "172.19.0.1", "IPv6Gateway": ""}}})
    bound = {"5432/tcp": [{"HostIp": "0.0.0.0", "HostPort": "15432"}, {"HostIp": "10.0.0.9", "HostPort": "25432"}]}
    servers = [Seen(NetworkSettings={"Ports": bound}), Seen(NetworkSettings={"Ports": {"5432/tcp": None}})]
    assert _published(client, servers, 5432) == (("10.0.0.9", 25432), ("172.19.0.1", 15432))
    assert _published(client, servers, 80) == ()
