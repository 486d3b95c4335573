"""Every address of a target counts, and so does what shows behind an address of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faultload.chaos.guard import check_before_asking, check_here
from faultload.errors import InvalidInput, Refused, TargetError
from faultload.host.processes import identify
from faultload.platforms.base import Instance
from faultload.platforms.databases import patroni
from faultload.platforms.where import elsewhere, hosts_of
from faultload.spec.target import TargetFile, read_target

FAR = "203.0.113.5"


def target(**changes: Any) -> TargetFile:
    whole: dict[str, Any] = {
        "id": "shop",
        "name": "shop",
        "platform": "local",
        "url": "http://127.0.0.1:8080",
        "services": {
            "web": {"ports": [8080]},
            "db": {"patroni": ["http://127.0.0.1:8008"], "dsn": "postgresql://127.0.0.1:5432,localhost:5433/shop"},
        },
        "links": {"web -> db": {"proxy": "http://127.0.0.1:9000"}},
    }
    return TargetFile.model_validate({**whole, **changes})


@pytest.fixture(autouse=True)
def no_libpq_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


def services(**db: Any) -> dict[str, Any]:
    return {"services": {"web": {"ports": [8080]}, "db": {"ports": [5432], **db}}}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, None),
        ({"url": f"http://{FAR}"}, f"its url is http://{FAR}"),
        (services(patroni=["http://127.0.0.1:8008", f"http://{FAR}:8008"]), f"Patroni of db is http://{FAR}:8008"),
        (services(dsn=f"postgresql://127.0.0.1,{FAR}/shop"), f"a host of db's dsn is {FAR}"),
        (services(dsn="service=prod"), "a host of db's dsn is of the service prod"),
        ({"links": {"web -> db": {"proxy": f"http://{FAR}:9000"}}}, f"the proxy of web -> db is http://{FAR}:9000"),
    ],
)
def test_any_address_elsewhere_needs_approval_before_anything_is_asked(
    changes: dict[str, Any], what: str | None
) -> None:
    declared = target(**changes)
    assert elsewhere(declared) == ([] if what is None else [what])
    if what is None:
        check_before_asking(declared, [])
        return
    with pytest.raises(Refused, match="list it under `allow`"):
        check_before_asking(declared, ["shop"])
    with pytest.raises(Refused, match="confirm it with --approve shop"):
        check_before_asking(declared, [], ["shop"])
    check_before_asking(declared, ["shop"], ["shop"])


def test_what_else_is_asked_counts_too() -> None:
    with pytest.raises(Refused, match=rf"\(probe of x.yaml is http://{FAR}/health\)"):
        check_before_asking(target(), [], [], [("probe of x.yaml", f"http://{FAR}/health")])


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("", []),
        ("postgresql://h1:1,h2:2/db", ["h1", "h2"]),
        ("postgresql://u:p@[::1]:5432/db", ["::1"]),
        ("postgresql:///db?host=h1,/run/postgresql", ["h1", "/run/postgresql"]),
        ("postgresql://127.0.0.1/db?hostaddr=203.0.113.5", ["203.0.113.5"]),
        ("host=h1 hostaddr=10.0.0.9 dbname=x", ["10.0.0.9"]),
        ("dbname=x", []),
        ("service=prod host=127.0.0.1", ["of the service prod"]),
        ("no equals sign", ["a string that cannot be read"]),
    ],
)
def test_the_hosts_of_a_connection_string_are_those_that_libpq_would_ask(dsn: str, hosts: list[str]) -> None:
    pytest.importorskip("psycopg")
    assert hosts_of(dsn) == hosts


@pytest.mark.parametrize(("variable", "host"), [("PGHOST", "h9"), ("PGHOSTADDR", "10.0.0.9")])
def test_the_environment_names_the_host_where_the_string_does_not(
    monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv(variable, host)
    assert hosts_of("dbname=x") == [host]


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (f"url: 'http://{FAR}\\@127.0.0.1:1'", "x.yaml:3: url: "),
        (f"services:\n  db: {{patroni: ['http://{FAR}\\@127.0.0.1:1']}}", "x.yaml:4: services.db.patroni"),
    ],
)
def test_an_address_that_can_be_read_in_two_ways_is_refused_with_its_line(
    tmp_path: Path, where: str, line: str
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"name: x\nplatform: local\n{where}\n" + ("" if "url" in where else "id: x\n"))
    with pytest.raises(InvalidInput, match="backslash") as refused:
        read_target(file)
    assert line in str(refused.value)


def members(monkeypatch: pytest.MonkeyPatch, *found: patroni.Member) -> None:
    monkeypatch.setattr(patroni, "cluster", lambda urls: patroni.ClusterState(found, False))


def member(name: str, host: str, port: int) -> patroni.Member:
    return patroni.Member(name, "leader", "running", host, port, 1, f"http://{host}:8008")


def test_a_database_whose_members_are_elsewhere_is_not_here_although_its_patroni_answers_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members(monkeypatch, member("pg1", "127.0.0.1", 5432), member("pg2", FAR, 5432))
    with pytest.raises(Refused, match=rf"\(pg2 of db is at {FAR}\)"):
        check_here(target(), [])
    check_here(target(allow=["shop"]), ["shop"])


def test_a_database_that_does_not_answer_is_told_by_whoever_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(urls: list[str]) -> patroni.ClusterState:
        raise TargetError("no answer")

    monkeypatch.setattr(patroni, "cluster", silent)
    check_here(target(), [])


LISTENER = """
import os, socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
    with open("postmaster.pid", "w") as file:
        pid = os.getpid() + int(sys.argv[1])
        file.write(f"{pid}\\n{os.getcwd()}\\n1795251009\\n{port + int(sys.argv[2])}\\n/tmp\\n")
    print(port, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Any]:
    """Start a listener beside a lock file that names it, or another pid or port."""
    started: list[subprocess.Popen[str]] = []

    def start(pid: int = 0, port: int = 0, lock: bool = True) -> tuple[int, int]:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        argv = [sys.executable, "-c", LISTENER, str(pid), str(port)]
        process = subprocess.Popen(argv, cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        listening = int(process.stdout.readline())
        if not lock:
            (folder / "postmaster.pid").unlink()
        return process.pid, listening

    yield start
    for process in started:
        process.communicate()


def test_a_member_is_the_postmaster_of_its_data_directory_on_its_port_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, listen: Any
) -> None:
    pid, port = listen()
    others = [listen(pid=1), listen(port=1), listen(lock=False)]
    members(
        monkeypatch,
        member("pg1", "127.0.0.1", port),
        *(member(f"not{n}", "127.0.0.1", other) for n, (_, other) in enumerate(others)),
    )
    found = identify(pid)
    assert found is not None
    assert patroni.members_of("db", []) == [Instance("db", str(pid), found.started, "pg1", port)]
    members(monkeypatch, member("pg1", FAR, port))
    assert patroni.members_of("db", []) == []
