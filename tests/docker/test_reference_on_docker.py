"""The memory service in containers: up, disturbed by plain engine calls, and gone without a trace."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dockerref import NAME, Up, built, needed, wait_for

from faultload import reference
from faultload.errors import InvalidInput, Refused, TargetError
from faultload.host import state
from faultload.host.processes import identify, wait_gone
from faultload.platforms.docker import client as docker_client
from faultload.reference.catalogue import REFERENCES
from faultload.reference.host import docker as on_docker
from faultload.reference.host import docker_image, docker_project, docker_up
from faultload.reference.kit.ports import free_ports
from faultload.reference.systems.memory.containers import COMPOSE_FILE, PORTS
from faultload.spec.target import read_target

pytestmark = pytest.mark.docker
READY_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    needed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        built()
        yield
        assert reference.stop(NAME, "docker") == []


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with docker_project.engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def up(client: Any, logs: Path) -> Iterator[Up]:
    """A healthy one; it took less than a minute from an image that was there."""
    started = time.monotonic()
    file = reference.start(NAME, "docker", logs=logs, owner=identify(os.getpid())).wait_ready(READY_S)
    assert time.monotonic() - started < READY_S  # 9 to 12 s on two idle cores
    try:
        yield Up(file, client)
    finally:
        assert reference.stop(NAME, "docker") == []


@pytest.fixture
def nothing_up() -> None:
    """Whichever tests came before: the one that they share is not up."""
    assert reference.stop(NAME, "docker") == []


def processes_of(container: Any) -> list[list[str]]:
    """`ps` lines of a container, as the engine sees them."""
    return list(container.top(ps_args="-eo pid,uid,args")["Processes"])


def traces(client: Any) -> list[str]:
    """Whatever of the project the engine still has."""
    label = {"label": f"{docker_project.PROJECT}={docker_project.project_of(NAME)}"}
    found = [*client.containers.list(all=True, filters=label), *client.networks.list(filters=label)]
    return [thing.name for thing in [*found, *client.volumes.list(filters=label)]]


def test_it_is_up_with_a_synchronous_standby_and_three_instances(up: Up) -> None:
    assert up.whole()
    assert up.ask("GET", "/health")[1]["healthy_instances"] == 3
    assert up.ask("GET", "/health/deep")[1]["status"] == "ok"
    status = reference.status(NAME, "docker")
    assert status is not None and status.running and status.ready and status.owner_alive
    assert status.url == up.target["url"] and status.target_id == "reference:memory:docker"


def test_its_target_file_declares_what_there_is(up: Up) -> None:
    target = read_target(up.file)
    assert (target.id, target.platform, target.project) == ("reference:memory:docker", "docker", up.project)
    assert set(target.services) == set(REFERENCES[NAME].services)
    assert set(target.links) == set(REFERENCES[NAME].links)
    assert up.file.stat().st_mode & 0o077 == 0  # the database's password is in it
    for name, service in target.services.items():
        labels = service.labels or {docker_project.PROJECT: up.project, docker_project.SERVICE: service.compose}
        found = up.client.containers.list(filters={"label": [f"{k}={v}" for k, v in labels.items()]})
        assert len(found) == service.declared, name
    with psycopg.connect(target.services["db"].dsn) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    assert {container.attrs["Config"]["Hostname"] for container in up.containers("pg1")} == {"pg1"}
    assert set(up.roles()) == {"pg1", "pg2"}


def test_every_container_is_healthy_restarted_limited_and_without_rights(up: Up) -> None:
    wait_for(lambda: {c.attrs["State"]["Health"]["Status"] for c in up.containers()} == {"healthy"}, 30)
    assert len(up.containers()) == 9
    for container in up.containers():
        host = container.attrs["HostConfig"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped", container.name
        assert host["Memory"] > 0, container.name
        assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"], container.name
        uids = {line[1] for line in processes_of(container)}
        assert uids == {"10001"}, f"{container.name}: {uids}"


def test_every_published_port_is_on_loopback(up: Up) -> None:
    published = [
        binding
        for container in up.containers()
        for bindings in (container.attrs["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or ()
    ]
    assert len(published) == 5
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}


def test_it_cannot_be_started_twice(up: Up) -> None:
    with pytest.raises(Refused, match="target down memory --platform docker"):
        reference.start(NAME, "docker")


def test_memories_are_written_searched_and_counted_and_the_tier_is_named(up: Up) -> None:
    assert up.create("first") == up.create("first") == 201
    wait_for(lambda: up.ask("GET", f"/memories/search?user_id=ann&query=tea&{time.time()}")[1]["results"], 7)
    status, body, headers, _ = up.ask("GET", "/memories/search?user_id=ann&query=garden")
    assert (status, headers["x-tier"]) == (200, "cloud") and body["results"][0]["key"] == "first"
    wait_for(lambda: up.ask("GET", "/analytics/insights/ann")[1]["total"] == 1, 7)
    assert up.missing(["first", "never"]) == ["never"]


def test_an_instance_that_comes_back_at_another_address_is_found_by_name(up: Up, client: Any) -> None:
    """The engine hands a stopped container's address to the next one that starts."""
    victim = up.containers("api")[0]
    (before,) = victim.attrs["NetworkSettings"]["Networks"].values()
    squatter = None
    try:
        victim.kill()
        wait_for(lambda: up.ask("GET", "/health")[1]["healthy_instances"] == 2, 5)
        assert [up.create(f"two-left-{n}") for n in range(30)] == [201] * 30
        squatter = client.containers.create(
            victim.image.id, ["sleep", "120"], network=before["NetworkID"], labels={"faultload.test": "squatter"}
        )
        squatter.start()
        squatter.reload()
        (taken,) = squatter.attrs["NetworkSettings"]["Networks"].values()
        assert taken["IPAddress"] == before["IPAddress"]
        victim.start()
        wait_for(lambda: up.ask("GET", "/health")[1]["healthy_instances"] == 3, 10)
        victim.reload()
        (after,) = victim.attrs["NetworkSettings"]["Networks"].values()
        assert after["IPAddress"] != before["IPAddress"]
        served = [up.create(f"three-again-{n}") for n in range(30)]
        assert served == [201] * 30
        with psycopg.connect(up.target["services"]["db"]["dsn"]) as connection:
            rows = connection.execute("SELECT DISTINCT client_addr::text FROM pg_stat_activity").fetchall()
        assert after["IPAddress"] in {str(address).partition("/")[0] for (address,) in rows}
    finally:
        if squatter is not None:
            squatter.remove(force=True)
        victim.start()


def test_a_crashed_instance_is_started_again_by_its_restart_policy(up: Up) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root kills a container's process from outside, past the engine")
    victim = up.containers("cloud")[0]
    os.kill(victim.attrs["State"]["Pid"], 9)
    wait_for(lambda: up.containers("cloud")[0].attrs["RestartCount"] == 1, 10)
    wait_for(lambda: up.ask("GET", "/health/deep")[1]["status"] == "ok", 20)


def test_a_dead_postmaster_costs_seconds_and_no_acknowledged_write(up: Up) -> None:
    wait_for(up.whole, 30)
    leader = up.leader()
    timeline = int(up.patroni("/cluster")["members"][0]["timeline"])
    keys = [f"before-{n}" for n in range(20)]
    assert [up.create(key) for key in keys] == [201] * 20
    (container,) = up.containers(leader)
    code, _ = container.exec_run(["sh", "-c", 'kill -9 "$(head -n 1 /var/lib/memory/data/postmaster.pid)"'])
    assert code == 0
    took_s = wait_for(lambda: up.create("after") == 201 and up.leader() != leader, 20)
    assert took_s < 15
    wait_for(up.whole, 40)
    assert int(up.patroni("/cluster")["members"][0]["timeline"]) > timeline
    assert up.missing([*keys, "after"]) == []


def test_a_member_killed_for_longer_than_its_lease_is_replaced_and_comes_back(up: Up) -> None:
    wait_for(up.whole, 30)
    leader = up.leader()
    (container,) = up.containers(leader)
    try:
        assert up.create("before-the-member-died") == 201
        container.kill()
        took_s = wait_for(lambda: up.create("with-one-member") == 201, 45)
        assert took_s > 5  # Patroni's ttl is 20 s
    finally:
        container.start()
    wait_for(up.whole, 60)
    assert up.missing(["before-the-member-died", "with-one-member"]) == []


def test_metrics_count_what_was_asked(up: Up) -> None:
    def total() -> float:
        lines = up.ask("GET", "/metrics")[1].splitlines()
        wanted = ("memory_requests_total{", 'route="/memories/"', 'status="201"')
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(part in line for part in wanted))

    before = total()
    assert [up.create(f"counted-{n}") for n in range(17)] == [201] * 17
    assert total() == before + 17


def test_stopping_leaves_no_trace_but_the_logs(nothing_up: None, client: Any, logs: Path) -> None:
    file = reference.start(NAME, "docker", logs=logs, owner=identify(os.getpid())).wait_ready(READY_S)
    assert len(traces(client)) >= 9 + 1 + 3
    assert reference.stop(NAME, "docker") == []
    assert traces(client) == []
    assert not file.parent.exists() and reference.status(NAME, "docker") is None
    assert {"api-1", "api-3", "gateway-1", "pg2-1", "compose"} <= {log.stem for log in logs.iterdir()}
    assert "leader" in (logs / "pg1-1.log").read_text()
    assert reference.stop(NAME, "docker") == []


@pytest.mark.parametrize("after_s", [0.3, 2.5])
def test_stopping_in_the_middle_of_a_start_leaves_no_trace(nothing_up: None, client: Any, after_s: float) -> None:
    started = on_docker.start(NAME)
    folder = started.folder
    found = identify(started.process.pid)
    assert found is not None
    time.sleep(after_s)
    assert reference.stop(NAME, "docker") == []
    assert wait_gone([found], 3) == []
    time.sleep(1.5)  # whatever the engine was still making would be there now
    assert traces(client) == [] and not folder.exists()


def test_what_a_dead_starter_left_is_told_and_removed(nothing_up: None, client: Any) -> None:
    started = on_docker.start(NAME)
    wait_for(lambda: len(traces(client)) > 3, 20)
    started.process.kill()
    started.process.wait()
    with pytest.raises(TargetError, match="did not start"):
        started.wait_ready(5)
    assert reference.stop(NAME, "docker") == []
    assert traces(client) == []


def test_what_compose_says_against_a_start_is_told(nothing_up: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("MEMORY_PORT", str(port))
        started = on_docker.start(NAME)
        try:
            with pytest.raises(TargetError, match=rf"compose up ended with(.|\n)*{port}"):
                started.wait_ready(60)
        finally:
            assert reference.stop(NAME, "docker") == []


def test_without_an_engine_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(InvalidInput, match="no Docker engine answers"):
        reference.start(NAME, "docker")
    assert not state.target_dir("reference:memory:docker").exists()


def test_an_engine_of_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_client, "engine_url", lambda: "tcp://docker.example:2376")
    with pytest.raises(InvalidInput, match=r"tcp://docker\.example:2376 publishes ports on its own loopback"):
        reference.start(NAME, "docker")
    assert not state.target_dir("reference:memory:docker").exists()


def test_every_defect_shows_on_docker_as_well(nothing_up: None, client: Any) -> None:
    """All eight in one start; each seen in what the service does."""
    file = reference.start(NAME, "docker", defects=REFERENCES[NAME].defects).wait_ready(READY_S)
    try:
        up = Up(file, client)
        assert sorted(up.roles().values()) == ["leader", "replica"]  # async-replication
        assert up.patroni("/config")["pause"] is True  # no-failover
        answers = [up.ask("GET", "/memories/search?user_id=bob&query=tea") for _ in range(4)]
        assert {headers["x-cache"] for _, _, headers, _ in answers} == {"miss"}  # cache-off
        assert min(took_s for *_, took_s in answers) >= 0.3  # slow-search
        statuses = [up.ask("GET", "/analytics/insights/bob")[0] for _ in range(150)]
        assert statuses.count(500) == 3  # one-in-fifty-fails
        status, body, *_ = up.ask("POST", "/memories/", {"user_id": "bob", "key": "soon", "text": "tea"})
        assert status == 500 or body["id"] is None  # ack-before-commit
        up.containers("cloud")[0].kill()
        wait_for(lambda: up.ask("GET", f"/memories/search?user_id=bob&query={time.time()}")[0] == 503, 10)
        with psycopg.connect(up.target["services"]["db"]["dsn"], autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'memory'")
        time.sleep(3)  # no-retry: a dead connection is kept for ever
        assert {up.ask("GET", "/analytics/insights/eve")[0] for _ in range(12)} <= {500, 503}
    finally:
        assert reference.stop(NAME, "docker") == []


def test_it_comes_and_goes_from_the_command_line(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}

    def faultload(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "faultload", "target", *words, "--platform", "docker"]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=180, check=False)

    try:
        done = faultload("up", NAME)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "http://127.0.0.1:" in done.stdout
        shown = faultload("status", NAME)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert shown.stdout.count("ready") == 5
    finally:
        ended = faultload("down", NAME)
    assert ended.returncode == 0 and "memory is down" in ended.stdout, ended.stdout + ended.stderr


def test_a_container_of_somebody_else_on_its_network_is_named_and_stays(client: Any) -> None:
    project, label = f"faultload-visited-{secrets.token_hex(3)}", docker_client.PROJECT
    network = client.networks.create(project, labels={label: project})
    visitor = client.containers.create(built(), ["sleep", "60"], network=network.id, name=f"{project}-visitor")
    try:
        visitor.start()
        left = docker_project.remove(client, project)
        assert len(left) == 1 and left[0].startswith(f"network {project}: ")
        assert left[0].endswith(f" ({visitor.name})")
        visitor.reload()
        assert visitor.status == "running"
    finally:
        visitor.remove(force=True)
        assert docker_project.remove(client, project) == []


def test_it_also_starts_by_hand_with_compose_alone(client: Any) -> None:
    """As the compose file says: default settings and an image built from the package, here on other ports."""
    project, image = f"faultload-by-hand-{secrets.token_hex(3)}", "faultload-memory:by-hand-test"
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    base = docker_image.recipe(client, NAME).base
    variables = ports | {"FAULTLOAD_MEMORY_IMAGE": image, "FAULTLOAD_BASE_IMAGE": base}
    try:
        docker_up.compose(project, COMPOSE_FILE, variables, "up", "-d", "--build")
        url = f"http://127.0.0.1:{ports['MEMORY_PORT']}/health/deep"

        def ready() -> bool:
            with urllib.request.urlopen(url, timeout=5) as response:
                return json.load(response)["status"] == "ok"

        wait_for(ready, READY_S)
    finally:
        assert docker_project.remove(client, project) == []
        client.images.remove(image, force=True)
