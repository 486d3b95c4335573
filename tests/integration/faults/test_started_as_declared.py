"""A killed process comes back as the target file says: `start`, `systemd`, or a supervisor that is waited for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest
from light_system import injected, wait_for
from own_processes import PLAIN, PREFORK, Processes, opens
from served import behind, plain, refused, served

from faultload.agents.restart.circumstances import circumstances_of
from faultload.errors import TargetError
from faultload.host.processes import ProcessId
from faultload.host.trees import tree
from faultload.reference.kit.ports import free_ports


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def supervised(own: Processes, port: int, pause_s: float) -> ProcessId:
    """A loop that starts its server again after a while, and says when it could not."""
    loop = f"while :; do {' '.join(map(str, plain(port)))} || echo ended >> ended; sleep {pause_s}; done"
    (own.folder / "mine").mkdir()
    return served(own, port, "sh", "-c", loop)


@pytest.mark.long
@pytest.mark.parametrize("word", ["kill", "restart"])
def test_an_external_supervisor_is_waited_for_and_nothing_is_started_beside_it(
    own: Processes, port: int, word: str
) -> None:
    process = supervised(own, port, 2)
    [supervisor, *_] = own.here()
    own.declare(ports=[port], health="/health", supervisor="external")
    with injected(own, word, service="web") as fault:
        fault.handler.undo(fault.instances, fault.plan)
        sight = fault.undo_elsewhere()
        assert sight.seen, sight.what
        again = behind(own, port)
        assert again != process and tree([supervisor])[-1] == again
        ended = (own.folder / "mine" / "ended").read_text()
        assert ended.split() == ["ended"], "the supervisor's own never found its port taken"


def test_a_supervisor_that_does_not_bring_it_back_is_an_undo_that_failed_and_says_so(
    own: Processes, port: int
) -> None:
    process = supervised(own, port, 60)
    own.declare(ports=[port], health="/health", supervisor="external")
    with injected(own, "kill", service="web") as fault:
        fault.handler.undo(fault.instances, fault.plan)
        sight = fault.gone()
        assert not sight.seen and not process.alive() and not opens(port)
        assert "its own supervisor has not brought it back, and faultload starts none beside it" in sight.what


@pytest.mark.long
def test_a_declared_start_brings_back_what_wrote_a_title(own: Processes, port: int) -> None:
    served(own, port, sys.executable, PREFORK, port, 1, "--title", env={**os.environ, "GREETING": "hello"})
    start = [sys.executable, PREFORK, "{port}", "1"]
    own.declare(ports=[port], health="/health", start=start)
    with injected(own, "kill", service="web") as fault:
        assert fault.undo_elsewhere().seen
        again = own.here()
        assert fault.undo_elsewhere().seen and own.here() == again, "once only"
    environment = Path(f"/proc/{again[0].pid}/environ").read_bytes().split(b"\0")
    assert b"GREETING=hello" in environment
    assert Path(f"/proc/{again[0].pid}/cwd").readlink() == own.folder / "mine"
    own.declare(ports=[port], health="/health", start=["no-such-program"])
    assert "start (target file): there is no program 'no-such-program'" in refused(own)


SLOW = f"""#!/bin/sh
echo started >> starts
while [ ! -e listens ]; do sleep 0.05; done
exec {sys.executable} {PLAIN} --port $1
"""
STARTERS = {
    "a script that becomes the server": ["./slow.sh", "{port}"],
    "a script with a server below it": ["sh", "-c", "./slow.sh {port}; true"],
    "a command that leaves it running and ends": ["sh", "-c", "./slow.sh {port} & true"],
    "a command that leaves it in a session of its own": ["setsid", "--fork", "./slow.sh", "{port}"],
}


@pytest.mark.parametrize(
    "starter",
    [pytest.param(name, marks=[pytest.mark.long] if at else []) for at, name in enumerate(STARTERS)],
)
def test_a_slow_start_gets_no_second_one_from_the_next_undo(own: Processes, port: int, starter: str) -> None:
    served(own, port, *plain(port))
    script = own.folder / "mine" / "slow.sh"
    script.write_text(SLOW)
    script.chmod(0o755)
    own.declare(ports=[port], health="/health", start=STARTERS[starter])
    with injected(own, "kill", service="web") as fault:
        for _ in range(2):  # as the rollback and then the warden
            fault.handler.undo(fault.instances, fault.plan)
        assert not fault.gone().seen and not opens(port)
        (own.folder / "mine" / "listens").touch()
        sight = fault.undo_elsewhere()
        assert sight.seen, sight.what
        assert (own.folder / "mine" / "starts").read_text().split() == ["started"]


@pytest.mark.long
def test_what_restart_has_started_is_not_started_again_by_its_undo(own: Processes, port: int) -> None:
    served(own, port, *plain(port))
    script = own.folder / "mine" / "slow.sh"
    script.write_text(SLOW)
    script.chmod(0o755)
    own.declare(ports=[port], health="/health", start=["./slow.sh", "{port}"])
    with injected(own, "restart", service="web") as fault:
        fault.handler.undo(fault.instances, fault.plan)
        (own.folder / "mine" / "listens").touch()
        assert fault.undo_elsewhere().seen
        assert (own.folder / "mine" / "starts").read_text().split() == ["started"]


def test_a_start_that_fails_at_once_says_so_and_is_tried_again(own: Processes, port: int) -> None:
    served(own, port, *plain(port))
    command = f"echo started >> starts; [ -e may ] && exec {sys.executable} {PLAIN} --port {{port}}; exit 3"
    own.declare(ports=[port], health="/health", start=["sh", "-c", command])
    with injected(own, "kill", service="web") as fault:
        with pytest.raises(TargetError, match=r"start \(target file\): .* ended at once with exit code 3"):
            fault.handler.undo(fault.instances, fault.plan)
        (own.folder / "mine" / "may").touch()
        assert fault.undo_elsewhere().seen
        assert len((own.folder / "mine" / "starts").read_text().split()) == 2


@pytest.mark.parametrize("declared", [False, True])
def test_it_gets_its_rights_and_limits_again_and_none_of_the_signals_that_a_warden_ignores(
    own: Processes, port: int, declared: bool
) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    command = " ".join(map(str, plain(port)))
    process = served(own, port, "sh", "-c", f"ulimit -n 400; umask 027; exec setpriv --no-new-privs {command}")
    before = circumstances_of(process.pid)
    assert before["limits"]["Max open files"] == ["400", "400"] and before["no_new_privs"] == "1"
    if declared:
        own.declare(ports=[port], health="/health", start=[str(one) for one in plain(port)])
    ours = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with injected(own, "kill", service="web") as fault:
            assert fault.undo_elsewhere().seen
    finally:
        signal.signal(signal.SIGTERM, ours)
    assert circumstances_of(behind(own, port).pid) == before


def test_redis_comes_back_with_its_password_or_is_not_killed(own: Processes, port: int) -> None:
    redis = shutil.which("redis-server")
    if redis is None:
        pytest.skip("redis-server is not installed")
    command = [redis, "--bind", "127.0.0.1", "--port", str(port), "--requirepass", "geheim", "--save", ""]
    own.start(*command)
    wait_for(lambda: opens(port), 10, "it serves")
    own.declare(ports=[port])
    assert f"redis-server 127.0.0.1:{port}' over its arguments" in refused(own)
    own.declare(command=command, port=port)
    assert "over its arguments and its environment" in refused(own), "so its command alone is not enough"
    own.declare(ports=[port], start=command)
    with injected(own, "kill", service="web") as fault:
        wait_for(lambda: not opens(port), 10, "its last thread has let go of its socket")
        assert fault.undo_elsewhere().seen
        with socket.create_connection(("127.0.0.1", port), 2) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(100).startswith(b"-NOAUTH"), "it asks for its password"


SYSTEMCTL = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
*show*) echo LoadState={loaded}; echo "ControlGroup=$(tail -1 /proc/$$/cgroup | cut -d: -f3)";;
*start*)
    [ -e {refuse} ] && {{ echo 'Access denied' >&2; exit 4; }}
    cd {folder}
    {running} || setsid {server} > /dev/null 2>&1 < /dev/null & ;;
esac
"""


@pytest.mark.long
def test_systemd_starts_its_unit_and_what_it_refuses_is_refused_before(
    own: Processes, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for systemctl: what is asked of it, and what its answers lead to."""
    programs = own.folder / "bin"
    programs.mkdir()
    names = {
        "log": own.folder / "asked",
        "refuse": own.folder / "refuse",
        "folder": own.folder / "mine",
        "running": f"{sys.executable} -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'",
        "server": " ".join(map(str, plain(port))),
    }

    def systemctl(loaded: str) -> None:
        file = programs / "systemctl"
        file.write_text(SYSTEMCTL.format(**names, loaded=loaded))
        file.chmod(0o755)

    served(own, port, *plain(port))
    own.declare(ports=[port], health="/health", systemd="shop@{port}.service")
    with monkeypatch.context() as nowhere:
        nowhere.setenv("PATH", str(own.folder / "nothing"))
        assert "this machine has no systemctl" in refused(own)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    systemctl("not-found")
    assert f"systemd: shop@{port}.service (target file): systemd knows no such unit" in refused(own)
    systemctl("loaded")
    (own.folder / "refuse").touch()
    assert f"systemctl start shop@{port}.service: Access denied" in refused(own)
    (own.folder / "refuse").unlink()
    with injected(own, "kill", service="web") as fault:
        assert not opens(port)
        sight = fault.undo_elsewhere()
        assert sight.seen, sight.what
        assert len(own.here()) == 1
    asked = (own.folder / "asked").read_text().splitlines()
    assert asked[-1] == f"--no-ask-password start shop@{port}.service"
