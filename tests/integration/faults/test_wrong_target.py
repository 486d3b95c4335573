"""A look-alike is never touched: another folder, address, namespace, user or life of a pid; too many are told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from light_system import Fault, injected, wait_for
from own_processes import PLAIN, PREFORK, Processes, answers

from faultload.errors import InvalidInput, Refused
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest
from faultload.host.processes import ProcessId, identify
from faultload.host.trees import kill, stopped
from faultload.platforms.local.matching import Matches, matches
from faultload.platforms.local.processes import certain_instances, not_ready, process_of
from faultload.reference.kit.ports import free_ports
from faultload.spec.target import target_from_json

pytestmark = pytest.mark.long

APP = (
    "import runpy, sys; sys.argv[1:] = ['--port', open('port').read()]; "
    f"runpy.run_path({PLAIN!r}, run_name='__main__')"
)
COMMAND = [sys.executable, "-c", APP]


@pytest.fixture
def ports() -> list[int]:
    return free_ports(2)


def start(own: Processes, folder: str, port: int) -> ProcessId:
    """A server that has its port from its folder: two of them have the same arguments."""
    (own.folder / folder).mkdir()
    (own.folder / folder / "port").write_text(str(port))
    process = own.start(*COMMAND, folder=folder)
    wait_for(lambda: answers(port), 10, "it serves")
    return process


def found(own: Processes) -> list[ProcessId]:
    return [process_of(one) for one in certain_instances(own.target, "web")]


def refused(own: Processes, word: str = "kill") -> str:
    with pytest.raises(Refused) as error:
        Fault(own, word, {"service": "web"}, 10.0)
    return str(error.value)


def test_the_same_command_in_another_folder_is_never_frozen(own: Processes, ports: list[int]) -> None:
    theirs, mine = start(own, "theirs", ports[1]), start(own, "mine", ports[0])
    own.declare(command=COMMAND, port=ports[0], health="/health")
    for seed in range(1, 5):
        request = FaultRequest(f"pause#{seed}@x", "pause", {"service": "web"}, 10.0, seed)
        assert [process_of(one) for one in fault_for(own.target, request).resolve()] == [mine]
    with injected(own, "kill", service="web") as fault:
        assert own.here() == [theirs]
        assert fault.undo_elsewhere().seen
        assert len(own.here()) == 2 and answers(ports[0]) and answers(ports[1])
        assert Path(f"/proc/{found(own)[0].pid}/cwd").readlink() == own.folder / "mine"


def test_a_command_that_runs_in_two_folders_is_refused_with_both_of_them(own: Processes, ports: list[int]) -> None:
    theirs, mine = start(own, "theirs", ports[1]), start(own, "mine", ports[0])
    for count in (1, 2):
        own.declare(command=COMMAND, count=count)
        said = refused(own)
        number = "1 instance" if count == 1 else "2 instances"
        assert said.startswith(f"service 'web' declares {number}, and 2 processes match: pid ")
        for process, folder in ((theirs, "theirs"), (mine, "mine")):
            assert f"pid {process.pid} in {own.folder / folder}, user " in said and ", started 20" in said
        assert "say which are meant by `cwd`, `user`" in said
        assert not_ready(own.target, "web") == [said]
    own.declare(command=COMMAND, cwd=str(own.folder / "mine"))
    assert found(own) == [mine]
    own.declare(command=COMMAND, count=2, cwd=f"{own.folder}/*")
    assert set(found(own)) == {mine, theirs}


def test_more_of_a_command_than_count_is_refused_and_count_takes_them_all(own: Processes, ports: list[int]) -> None:
    processes = {own.start(sys.executable, PLAIN, "--port", port) for port in ports}
    wait_for(lambda: all(map(answers, ports)), 10, "both serve")
    (own.folder / "mine" / "port").write_text(str(ports[0]))
    own.declare(command=[sys.executable, "-c", "import time; time.sleep(60)"])
    sleepers = {own.start(sys.executable, "-c", "import time; time.sleep(60)") for _ in range(2)}
    assert "declares 1 instance, and 2 processes match" in refused(own, "pause")
    own.declare(command=[sys.executable, "-c", "import time; time.sleep(60)"], count=2)
    assert set(found(own)) == sleepers and not processes & set(found(own))


@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
@pytest.mark.parametrize("with_url", [True, False])
def test_the_same_port_number_on_another_address_is_somebody_elses(
    own: Processes, ports: list[int], host: str, with_url: bool
) -> None:
    if ":" in host and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    [port, _] = ports
    theirs = own.start(sys.executable, PREFORK, port, 1, "--host", host, folder="theirs")
    wait_for(lambda: answers(port, host), 10, "theirs serves")
    mine = own.prefork(port, 1)
    assert theirs.started <= mine.started
    own.declare(port if with_url else None, ports=[port], health="/health")
    assert found(own) == [mine]
    with injected(own, "kill", service="web") as fault:
        assert not mine.alive() and theirs.alive() and answers(port, host)
        assert fault.undo_elsewhere().seen
    [mine] = found(own)
    kill([mine])
    wait_for(lambda: not answers(port), 5, "mine is gone")
    if host == "::1" and not with_url:
        return  # without a URL, either loopback address is the service's
    own.declare(port if with_url else None, ports=[port])
    assert refused(own).startswith("service 'web' has no running instance")
    own.declare(ports=[port], address=host, health="/health")
    assert found(own) == [theirs] and not_ready(own.target, "web") == []


def test_whoever_listens_on_all_addresses_counts_only_where_nobody_has_the_very_address(
    own: Processes, ports: list[int]
) -> None:
    [port, _] = ports
    general = own.start(sys.executable, PREFORK, port, 1, "--host", "0.0.0.0")
    wait_for(lambda: answers(port), 10, "it serves")
    own.declare(port, ports=[port])
    assert found(own) == [general]


def unshared(*options: str) -> bool:
    """Whether this user may have namespaces of its own."""
    return (
        shutil.which("unshare") is not None
        and subprocess.run(["unshare", *options, "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize(
    "options", [("--net",), ("--pid", "--fork", "--kill-child"), ("--net", "--pid", "--fork", "--kill-child")]
)
def test_the_same_command_in_another_namespace_is_none(own: Processes, options: tuple[str, ...]) -> None:
    if not unshared(*options):
        pytest.skip(f"this user may not unshare {' '.join(options)}")
    command = [sys.executable, "-c", "import time; time.sleep(60)  # in a namespace"]
    own.start("unshare", *options, *command)
    wait_for(lambda: any(process != own.started[0].pid for process in own.here()), 10, "it runs")
    own.declare(command=command)
    wait_for(
        lambda: any(b"in a namespace" in cmdline(one) and b"unshare" not in cmdline(one) for one in own.here()),
        10,
        "the command runs in its namespace",
    )
    assert refused(own, "pause").startswith("service 'web' has no running instance")
    mine = own.start(*command)
    assert found(own) == [mine]
    with injected(own, "pause", service="web") as fault:
        assert own.frozen() == [mine.pid]
        assert fault.undo_elsewhere().seen


def cmdline(process: ProcessId) -> bytes:
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_copy_with_another_root_folder_is_none_and_would_not_be_killed(own: Processes) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change a root folder")
    (own.folder / "mine").mkdir()
    sleep = "import os, sys, time; os.chroot('.'); os.chdir('/'); print('locked up', flush=True); time.sleep(60)"
    theirs = own.start(sys.executable, "-c", sleep)
    wait_for(lambda: b"locked up" in (own.folder / "log").read_bytes(), 10, "it has a root folder of its own")
    own.declare(command=[sys.executable, "-c", sleep])
    assert refused(own).startswith("service 'web' has no running instance")
    own.declare(pids=[theirs.pid])
    assert "lives in other namespaces or has another root folder" in refused(own) and theirs.alive()
    theirs.signal(9)


def test_another_users_copy_is_none_and_two_users_are_told_apart(own: Processes) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process of another user")
    command = ["/bin/sleep", "61"]
    theirs = own.start(*command, user=65534)
    mine = own.start(*command)
    own.declare(command=command, count=2)
    assert "2 processes match" in refused(own, "pause")
    for user, process in ((65534, theirs), ("0", mine), ("root", mine)):
        own.declare(command=command, user=user)
        assert found(own) == [process]
    own.declare(command=command, user="nobody-of-this-name")
    assert refused(own) == "service 'web': this machine has no user 'nobody-of-this-name' (target file: user)"


def test_a_pid_means_the_process_that_had_it_when_the_file_was_read(own: Processes) -> None:
    mine = own.start("/bin/sleep", "62")
    target = own.declare(pids=[mine.pid])
    assert found(own) == [mine]
    value = target.to_json()
    assert value["services"]["web"]["pids"] == [{"pid": mine.pid, "started": mine.started}]
    assert target_from_json(value) == target, "whoever undoes the fault means the same process"
    # as if the pid had been used again since
    own.target = target_from_json({**value, "services": {"web": {"pids": [{"pid": mine.pid, "started": 1.0}]}}})
    assert refused(own).startswith("service 'web' has no running instance") and not stopped(mine)
    own.declare(pids=[{"pid": mine.pid}])
    assert matches(own.target, "web") == Matches(()), "it did not run when the file was read"
    gone = own.start("/bin/sleep", "0.1")
    wait_for(lambda: identify(gone.pid) is None, 5, "it ended")
    assert own.declare(pids=[gone.pid]).services["web"].pids[0].started is None  # type: ignore[index]


def test_worker_is_an_argument_of_local_targets_only() -> None:
    from faultload.spec.target import TargetFile

    target = TargetFile.model_validate(
        {"name": "d", "platform": "docker", "project": "p", "services": {"web": {"compose": "web"}}}
    )
    with pytest.raises(InvalidInput, match="'worker' is for platform local only, not for docker"):
        fault_for(target, FaultRequest("kill#1@x", "kill", {"service": "web", "worker": True}))
