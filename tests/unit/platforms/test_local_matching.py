"""Which recorded processes are a local service's instances: trees, addresses, wrappers, titles, look-alikes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from faultload.host.listeners import Listener, answering
from faultload.host.processes import ProcessId
from faultload.host.trees import Family
from faultload.platforms.local.facts import Facts, runs, within_shell, wraps
from faultload.platforms.local.matching import Seen, addresses_of, matches
from faultload.spec.target import TargetFile

PYTHON = "/usr/bin/python3.11"


def recorded(
    pid: int, *argv: str, program: str = PYTHON, cwd: str | None = "/srv/shop", uid: int = 1000, **more: Any
) -> Facts:
    return Facts(
        ProcessId(pid, float(pid)),
        argv,
        program,
        more.pop("deleted", False),
        cwd,
        uid,
        more.pop("elsewhere", False),
        **more,
    )


def seen(
    parents: Mapping[int, int],
    facts: list[Facts],
    sockets: Mapping[tuple[str, int], Mapping[int, set[int]]] | None = None,
) -> Seen:
    """A machine: who started whom, what is known of some, and who holds the sockets (by inode) on an address."""
    listeners = [Listener(*place, inode, 1000) for place, inodes in (sockets or {}).items() for inode in inodes]
    owners = {inode: pids for inodes in (sockets or {}).values() for inode, pids in inodes.items()}
    return Seen(
        Family(parents, {pid: float(pid) for pid in parents}),
        {one.process.pid: one for one in facts},
        listeners,
        owners,
    )


def target(url: str | None = None, **service: Any) -> TargetFile:
    value: dict[str, Any] = {"id": "t", "name": "t", "platform": "local", "services": {"web": service}}
    return TargetFile.model_validate(value if url is None else {**value, "url": url})


def roots(found: TargetFile, there: Seen) -> list[int]:
    result = matches(found, "web", there)
    assert result.ambiguous is None
    return [int(one.id) for one in result.instances]


GUNICORN = ("python3", "/usr/bin/gunicorn", "-w", "2", "app:app")
SHARED = seen(
    {1: 0, 10: 1, 20: 10, 30: 20, 31: 20, 40: 30},
    [recorded(10, "bash", program="/bin/bash"), *(recorded(pid, *GUNICORN) for pid in (20, 30, 31))],
    {("127.0.0.1", 80): {7: {20, 30, 31}}},
)
OWN_SOCKETS = seen(
    {1: 0, 10: 1, 20: 10, 30: 20, 31: 20},
    [recorded(10, "bash", program="/bin/bash"), *(recorded(pid, *GUNICORN) for pid in (20, 30, 31))],
    {("127.0.0.1", 80): {7: {30}, 8: {31}}},
)


@pytest.mark.parametrize("there", [SHARED, OWN_SOCKETS])
@pytest.mark.parametrize("service", [{"ports": [80]}, {"command": list(GUNICORN), "port": 80}])
def test_the_root_is_the_highest_that_holds_the_socket_or_the_parent_with_the_same_program(
    there: Seen, service: dict[str, Any]
) -> None:
    assert roots(target(**service), there) == [20]


def test_a_parent_with_another_program_is_no_master_and_sockets_of_strangers_are_told() -> None:
    there = seen(
        {1: 0, 10: 1, 30: 10, 31: 10},
        [recorded(10, "bash", program="/bin/bash"), recorded(30, "python3", "a"), recorded(31, "python3", "b")],
        {("127.0.0.1", 80): {7: {30}, 8: {31}}},
    )
    result = matches(target(ports=[80]), "web", there)
    assert result.ambiguous is not None and "2 processes match: pid 30 in /srv/shop" in result.ambiguous


def test_process_1_holds_sockets_for_services_and_is_none_of_them() -> None:
    there = seen(
        {1: 0, 20: 1},
        [recorded(1, "/sbin/init", program="/lib/systemd/systemd"), recorded(20, "app", program="/srv/app")],
        {("0.0.0.0", 80): {7: {1, 20}}},
    )
    assert roots(target(ports=[80]), there) == [20]
    alone = seen({1: 0}, [recorded(1, "/sbin/init")], {("0.0.0.0", 80): {7: {1}}})
    assert roots(target(ports=[80]), alone) == []


def test_a_command_is_known_by_where_it_listens_when_a_port_is_declared() -> None:
    there = seen(
        {1: 0, 20: 1, 21: 1, 22: 1},
        [recorded(pid, "python3", "app.py", cwd=f"/srv/{pid}") for pid in (20, 21, 22)],
        {("127.0.0.1", 80): {7: {20}}, ("127.0.0.1", 81): {8: {21}}},
    )
    assert roots(target(command=["python3", "app.py"], port=80), there) == [20]
    assert roots(target(command=["python3", "app.py"], port=80, count=2), there) == [20, 21]
    assert roots(target(command=["python3", "app.py"], port=82), there) == []
    assert roots(target(command=["python3", "app.py"], cwd="/srv/22"), there) == [22]
    assert roots(target(command=["python3", "other.py"], port=80), there) == []
    assert matches(target(command=["python3", "app.py"], count=3), "web", there).ambiguous is not None


def test_whoever_lives_in_another_namespace_or_is_another_user_is_none() -> None:
    there = seen(
        {1: 0, 20: 1, 21: 1, 22: 1},
        [recorded(20, "app"), recorded(21, "app", elsewhere=True), recorded(22, "app", uid=33)],
        {("127.0.0.1", 80): {7: {21}}},
    )
    assert roots(target(command=["app"], user=1000), there) == [20]
    contained = seen({1: 0, 20: 1}, [recorded(20, "app", other_root=True)], {("127.0.0.1", 80): {7: {20}}})
    assert roots(target(command=["app"]), contained) == []
    assert roots(target(command=["app"], port=80), contained) == [20], (
        "a daemon may lock itself up; it has the port"
    )
    assert roots(target(command=["app"], user="33"), there) == [22]
    assert roots(target(ports=[80]), there) == [], "a container that shares the network is a target of docker"


def test_a_socket_of_a_process_that_nobody_may_look_into_is_matched_by_its_user() -> None:
    there = seen(
        {1: 0, 20: 1, 21: 1, 22: 1},
        [recorded(20, "app", uid=5, cwd=None), recorded(21, "app", cwd=None), recorded(22, "app")],
        {("127.0.0.1", 80): {7: set()}},
    )
    assert roots(target(command=["app"], port=80), there) == [21]


SOCKETS = [
    Listener("127.0.0.1", 80, 1, 0),
    Listener("0.0.0.0", 80, 2, 0),
    Listener("127.0.0.2", 80, 3, 0),
    Listener("::1", 80, 4, 0),
    Listener("::", 81, 5, 0),
    Listener("0.0.0.0", 82, 6, 0),
]


@pytest.mark.parametrize(
    ("addresses", "port", "inodes"),
    [
        (["127.0.0.1"], 80, [1]),
        (["127.0.0.2"], 80, [3]),
        (["127.0.0.3"], 80, [2]),
        (["::1", "127.0.0.1"], 80, [4]),
        (["127.0.0.1"], 81, [5]),
        (["::1"], 82, []),
        (["203.0.113.7"], 82, []),
        ([], 82, []),
    ],
)
def test_the_socket_of_the_very_address_answers_before_one_of_all(
    addresses: list[str], port: int, inodes: list[int]
) -> None:
    assert [one.inode for one in answering(SOCKETS, port, addresses)] == inodes


@pytest.mark.parametrize(
    ("url", "service", "expected"),
    [
        (None, {"ports": [80]}, ("127.0.0.1", "::1")),
        ("http://127.0.0.2", {"ports": [80]}, ("127.0.0.2",)),
        ("http://127.0.0.2:8080", {"ports": [80]}, ("127.0.0.1", "::1")),
        ("https://[::1]", {"ports": [443]}, ("::1",)),
        ("http://localhost", {"ports": [80]}, ("127.0.0.1", "::1")),
        ("http://127.0.0.2", {"ports": [80], "address": "0:0:0:0:0:0:0:1"}, ("::1",)),
        ("http://no-such-host.invalid", {"ports": [80]}, ()),
    ],
)
def test_a_port_is_looked_for_at_the_address_the_file_names(
    url: str | None, service: dict[str, Any], expected: tuple[str, ...]
) -> None:
    found = target(url, **service)
    assert addresses_of(found, found.services["web"], found.services["web"].instance_ports[0] or 0) == expected


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["sh", "-c", "python3 app.py"], ("python3", "app.py")),
        (["/bin/bash", "-lc", "exec python3 app.py"], ("python3", "app.py")),
        (["sh", "-c", "A=1 B='x y' python3 app.py > /tmp/log 2>&1"], ("python3", "app.py")),
        (["sh", "-c", "'unbalanced"], None),
        (["sh", "run.sh"], None),
        (["python3", "-c", "print()"], None),
    ],
)
def test_what_a_shell_runs_is_read_from_its_text(argv: list[str], command: tuple[str, ...] | None) -> None:
    assert within_shell(argv) == command


APP = recorded(20, "python3", "app.py")


@pytest.mark.parametrize(
    ("parent", "wrapper"),
    [
        (("sh", "-c", "python3 app.py"), True),
        (("/usr/bin/tini", "--", "python3", "app.py"), True),
        (("tini", "-g", "python3", "app.py"), True),
        (("dumb-init", "sh", "-c", "python3 app.py"), True),
        (("sh", "-c", "while true; do python3 app.py; done"), False),
        (("sh", "-c", "python3 app.py; sleep 1"), False),
        (("supervise", "python3", "app.py"), False),
        (("tini", "--", "python3", "other.py"), False),
        ((), False),
    ],
)
def test_a_wrapper_does_nothing_but_run_the_service(parent: tuple[str, ...], wrapper: bool) -> None:
    above = recorded(10, *parent)
    assert wraps(above, APP) is wrapper
    there = seen({1: 0, 10: 1, 20: 10}, [above, APP], {("127.0.0.1", 80): {7: {20}}})
    assert roots(target(ports=[80]), there) == [10 if wrapper else 20]


def test_a_wrapper_that_is_process_1_or_has_more_children_is_left_alone() -> None:
    above = recorded(1, "tini", "--", "python3", "app.py")
    there = seen({1: 0, 20: 1}, [above, APP], {("127.0.0.1", 80): {7: {20}}})
    assert roots(target(ports=[80]), there) == [20]
    above = recorded(10, "sh", "-c", "python3 app.py")
    there = seen({1: 0, 10: 1, 20: 10, 21: 10}, [above, APP], {("127.0.0.1", 80): {7: {20}}})
    assert roots(target(ports=[80]), there) == [20]


@pytest.mark.parametrize(
    ("facts", "command", "same"),
    [
        (recorded(1, "/opt/venv/bin/python", "app.py"), ["python", "app.py"], True),
        (recorded(1, "python", "app.py", "x"), ["python", "app.py"], False),
        (recorded(1, "python3", "./app", "x", shebang=("/usr/bin/env", "python3")), ["./app", "x"], True),
        (recorded(1, "python3", "-u", "/srv/app", shebang=("/usr/bin/python3", "-u")), ["app"], True),
        (recorded(1, "python3", "-I", "/srv/app", shebang=("/usr/bin/python3", "-u")), ["app"], False),
        (recorded(1, "ruby", "/srv/app", shebang=("/usr/bin/python3",)), ["app"], False),
        (recorded(1, "python3", "/srv/app"), ["app"], False),
        (recorded(1, "python3", "app.py"), ["sh", "-c", "exec python3 app.py"], True),
        (recorded(1), ["app"], False),
    ],
)
def test_a_command_is_recognised_behind_its_interpreter(facts: Facts, command: list[str], same: bool) -> None:
    assert runs(facts, command) is same


@pytest.mark.parametrize(
    ("argv", "program", "titled"),
    [
        (("nginx: master process /usr/sbin/nginx",), "/usr/sbin/nginx", True),
        (("redis-server 127.0.0.1:6379",), "/usr/bin/redis-server", True),
        (("gunicorn: master [app]",), PYTHON, True),
        (("/opt/my server/run",), "/opt/my server/run", False),
        (("./my server",), "/opt/my server", False),
        (("redis-server", "--port", "6379"), "/usr/bin/redis-server", False),
        (("bash",), "/bin/bash", False),
    ],
)
def test_a_title_is_told_from_arguments(argv: tuple[str, ...], program: str, titled: bool) -> None:
    assert recorded(1, *argv, program=program).titled is titled


def test_a_titled_process_is_the_services_only_where_program_and_port_agree() -> None:
    redis = recorded(20, "redis-server 127.0.0.1:6379", program="/usr/bin/redis-server")
    other = recorded(21, "nginx: master process", program="/usr/sbin/nginx")
    there = seen(
        {1: 0, 20: 1, 21: 1}, [redis, other], {("127.0.0.1", 6379): {7: {20}}, ("127.0.0.1", 80): {8: {21}}}
    )
    command = ["redis-server", "--port", "{port}"]
    assert roots(target(command=command, port=6379), there) == [20]
    assert roots(target(command=command, port=80), there) == []
    gunicorn = recorded(22, "gunicorn: master [app]")
    there = seen({1: 0, 22: 1}, [gunicorn], {("127.0.0.1", 80): {7: {22}}})
    assert roots(target(command=["/opt/bin/gunicorn", "app"], port=80), there) == [22]


def test_who_a_process_is_stands_in_the_refusal() -> None:
    label = recorded(4711, "app", uid=987654321).label
    assert label.startswith("pid 4711 in /srv/shop, user 987654321, started ")
    assert recorded(1, "app", cwd=None).label.startswith("pid 1 in a folder that cannot be seen")


def test_the_facts_of_this_very_process_are_as_it_knows_them() -> None:
    import os
    import sys

    from faultload.host.processes import myself
    from faultload.platforms.local.facts import facts_of

    mine = facts_of(myself())
    assert mine is not None and not mine.elsewhere and not mine.deleted and not mine.titled
    assert mine.cwd == str(Path.cwd()) and mine.uid == os.geteuid()
    assert mine.program == os.path.realpath(sys.executable)
    assert facts_of(ProcessId(os.getpid(), 1.0)) is None
