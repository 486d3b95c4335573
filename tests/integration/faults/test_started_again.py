"""Killed processes come back exactly as they were, or as the target file says, or are not killed."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from light_system import Fault, injected, wait_for
from own_processes import PLAIN, PREFORK, Processes, answers, opens
from served import behind, files_of, killed_and_undone, plain, refused, served

from faultload.agents.restart.circumstances import circumstances_of, mounted_groups
from faultload.errors import Refused, TargetError
from faultload.faults import fault_for
from faultload.faults.base import FaultRequest
from faultload.platforms.local import restart
from faultload.platforms.local.processes import certain_instances
from faultload.reference.kit.ports import free_ports

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process other rights")
HINT = "say in the target file who starts it: `start: [...]`, `systemd: NAME` or `supervisor: external`"

INSTEAD = "say `systemd: NAME` or `supervisor: external` in the target file instead of `start`"


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


# -- exactly as it was


def test_what_a_process_was_given_is_given_again(own: Processes, port: int) -> None:
    """Limits, mask, score, niceness, processors, ignored signals, groups and files: all of it, and nothing more."""
    log = own.folder / "its own log"
    given = "ulimit -n 400; ulimit -S -c 0; umask 027; echo 500 > /proc/$$/oom_score_adj; trap '' HUP"
    command = " ".join(map(str, plain(port)))
    script = f"{given}; exec nice -n 1 taskset -c 0 {command} >> '{log}' 2> /dev/null"
    process = served(own, port, "sh", "-c", script, env={**os.environ, "GREETING": "good = day"})
    before, files = circumstances_of(process.pid), files_of(process)
    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    again = killed_and_undone(own, port)
    assert again != process and circumstances_of(again.pid) == before
    assert before["limits"]["Max open files"] == ["400", "400"] and before["umask"] == "0027"
    assert before["oom_score_adj"] == "500" and before["processor affinity"] == [0]
    assert files_of(again) == files == ["/dev/null", str(log), "/dev/null"]
    assert Path(f"/proc/{again.pid}/environ").read_bytes() == environment
    ignored = [line for line in Path(f"/proc/{again.pid}/status").read_text().splitlines() if "SigIgn" in line]
    assert int(ignored[0].split()[1], 16) & 1, "nohup holds"


@pytest.fixture
def control_group() -> Iterator[Path]:
    """A control group of the test's own, in whichever hierarchy lets us make one."""
    for place in mounted_groups().values():
        folder = Path(place) / f"faultload-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        if (folder / "cgroup.procs").exists() and not list(folder.glob("cpuset.cpus")):
            yield folder
            folder.rmdir()
            return
        folder.rmdir()
    pytest.skip("this user may make no control group")


@as_root
def test_it_is_in_its_control_group_again(own: Processes, port: int, control_group: Path) -> None:
    command = " ".join(map(str, plain(port)))
    process = served(own, port, "sh", "-c", f"echo $$ > {control_group}/cgroup.procs; exec {command}")
    before = circumstances_of(process.pid)
    assert any(line.endswith(control_group.name) for line in before["control groups"])
    again = killed_and_undone(own, port)
    assert circumstances_of(again.pid) == before
    own.end()


@pytest.mark.long
@as_root
def test_rights_that_it_did_not_have_are_not_given_to_it(own: Processes, port: int) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    rights = ["--no-new-privs", "--bounding-set=-net_raw,-sys_admin", "--inh-caps=-all"]
    process = served(own, port, "setpriv", *rights, *plain(port))
    before = circumstances_of(process.pid)
    assert before["no_new_privs"] == "1" and before["capabilities"] != circumstances_of(os.getpid())["capabilities"]
    assert circumstances_of(killed_and_undone(own, port).pid) == before


@pytest.mark.long
@as_root
def test_a_right_that_another_user_has_is_given_to_it_again(own: Processes, port: int) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    user = ["--reuid=65534", "--regid=65534", "--groups=65534,100"]
    ambient = ["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"]
    server = ["-c", Path(PLAIN).read_text(), "--port", port]
    for folder in (own.folder, *own.folder.parents[:2]):
        folder.chmod(0o755)
    process = served(own, port, "setpriv", *user, *ambient, "/usr/bin/python3", *server)
    before = circumstances_of(process.pid)
    assert before["user"] == [65534] * 4 and int(before["capabilities"]["Amb"], 16) == 1 << 10
    assert circumstances_of(killed_and_undone(own, port).pid) == before


@pytest.mark.long
@pytest.mark.parametrize("declared", [False, True])
def test_a_limit_that_cannot_be_raised_again_is_named_before_the_process_is_killed(
    own: Processes, port: int, monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    if shutil.which("prlimit") is None or shutil.which("setpriv") is None:
        pytest.skip("prlimit or setpriv is not installed")
    served(own, port, *plain(port))
    # who undoes it has lower limits, and no right to raise them
    weaker = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-all", "prlimit", "--nofile=64:64"]
    if os.geteuid() != 0:
        weaker = weaker[3:]
    monkeypatch.setattr(restart, "HELPER", [*weaker, *restart.HELPER])
    if declared:
        own.declare(ports=[port], health="/health", start=[str(part) for part in plain(port)])
    said = refused(own)
    assert "has what undo could not give it again" in said and "limits: Max open files" in said
    assert "would be 64 64" in said and said.endswith(INSTEAD if declared else HINT)


@pytest.mark.long
@pytest.mark.parametrize("end", [" &", ""])
def test_a_job_that_was_typed_into_a_shell_comes_back_unless_it_is_in_the_foreground(
    own: Processes, port: int, end: str
) -> None:
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("bash is not installed")
    ours, theirs = pty.openpty()
    own.start(shell, "--norc", stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=_take_terminal)
    os.close(theirs)
    os.write(ours, f"{' '.join(map(str, plain(port)))}{end}\n".encode())
    wait_for(lambda: answers(port), 20, "it serves")
    process = behind(own, port)
    if end:
        files = files_of(process)
        assert files[0].startswith("/dev/pts/") and files_of(killed_and_undone(own, port)) == files
    else:
        assert "is the job in the foreground of the terminal /dev/pts/" in refused(own)
    os.close(ours)


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


# -- not certain, so not killed


ACTIVATED = f"""
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {{"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}}
serve = (
    "import socket, sys; sys.path.insert(0, {str(Path(PLAIN).parent)!r}); from light_server import Handler, Server;"
    "one = Server(('127.0.0.1', 0), Handler); one.socket = socket.socket(fileno=3); one.serve_forever()"
)
os.execv(sys.executable, [sys.executable, "-c", serve])
"""
"""As systemd does it: a bound socket as file 3, and two variables."""


UNCERTAIN: dict[str, tuple[Callable[[Processes, int], list[object]], str]] = {
    "a pipe for its output": (
        lambda own, port: ["bash", "-c", f"exec {' '.join(map(str, plain(port)))} > >(cat > /dev/null)"],
        "has its standard output in pipe:",
    ),
    "a log that was removed": (
        lambda own, port: ["sh", "-c", f"rm -f gone; exec {' '.join(map(str, plain(port)))} > gone; true"],
        "has its standard output in",
    ),
    "another name": (
        lambda own, port: ["bash", "-c", f"exec -a shop-web {' '.join(map(str, plain(port)))}"],
        "calls itself 'shop-web', which is not the program that it runs",
    ),
    "a title": (
        lambda own, port: [sys.executable, PREFORK, port, 1, "--title"],
        "wrote the title 'prefork_server.py: master' over its arguments",
    ),
    "a socket from its starter": (
        lambda own, port: [sys.executable, "-c", ACTIVATED, port],
        "was handed its sockets at its start (socket activation)",
    ),
    "a supervisor": (
        lambda own, port: ["sh", "-c", f"while :; do {' '.join(map(str, plain(port)))}; sleep 9; done"],
        "may be brought back by its parent, pid ",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("what", UNCERTAIN)
def test_what_undo_could_not_make_again_is_refused_with_what_to_do(own: Processes, port: int, what: str) -> None:
    start, says = UNCERTAIN[what]
    process = served(own, port, *start(own, port))
    if what == "a log that was removed":
        (own.folder / "mine" / "gone").unlink()
    for word in ("kill", "restart"):
        said = refused(own, word)
        assert says in said and f"pid {process.pid} in {own.folder}" in said and said.endswith(HINT)
    handler = fault_for(own.target, FaultRequest("kill#1@x", "kill", {"service": "web"}))
    with pytest.raises(Refused, match="say in the target file who starts it"):
        handler.see_way_back(handler.resolve())  # what `faultload plan` shows
    with injected(own, "pause", service="web") as fault:
        assert fault.undo_elsewhere().seen, "nothing is to be started again after a pause"


@as_root
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("os.setgid(65534); os.setuid(65534)", "changed its user or its rights after its start"),
        ("drop()", "gave up capabilities after its start, or kept some"),
    ],
)
def test_rights_that_it_gave_up_by_itself_are_not_given_back(
    own: Processes, port: int, change: str, says: str
) -> None:
    drop = (
        "def drop():\n    import ctypes\n    libc = ctypes.CDLL(None)\n"
        "    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
        "    libc.capget(header, data); data[0] &= ~(1 << 13); data[1] &= ~(1 << 13)\n"
        "    assert libc.capset(header, data) == 0\n"
    )
    late = f"import os\n{drop}{change}\nimport sys\n{Path(PLAIN).read_text().partition('from __future__')[2]}"
    late = late.replace(" import annotations\n", "", 1)
    for folder in (own.folder, *own.folder.parents[:2]):
        folder.chmod(0o755)
    served(own, port, "/usr/bin/python3", "-c", late, "--port", port)
    assert says in refused(own)


def test_a_service_by_pids_is_not_killed_as_what_comes_back_has_another(own: Processes, port: int) -> None:
    process = served(own, port, *plain(port))
    own.declare(pids=[process.pid])
    assert "declared by `pids`, and a process that comes back has another" in refused(own)


# -- never a port that was not open, never beside somebody else


@pytest.mark.long
def test_a_copy_that_opens_another_address_is_ended_and_the_undo_has_failed(own: Processes, port: int) -> None:
    """As Redis without its arguments: the same port, now on every address."""
    server = (
        "import os, sys; from pathlib import Path\n"
        f"sys.argv = [{PREFORK!r}, sys.argv[1], '1', '--host', Path('host').read_text()]\n"
        f"import runpy; runpy.run_path({PREFORK!r}, run_name='__main__')\n"
    )
    (own.folder / "mine").mkdir()
    (own.folder / "mine" / "host").write_text("127.0.0.1")
    served(own, port, sys.executable, "-c", server, port)
    fault = Fault(own, "kill", {"service": "web"}, 10.0)
    assert fault.inject().seen
    (own.folder / "mine" / "host").write_text("0.0.0.0")
    with pytest.raises(TargetError, match=rf"it opened 0\.0\.0\.0:{port}, which was not open: ended it"):
        fault.handler.undo(fault.instances, fault.plan)
    assert own.here() == [] and not opens(port) and not fault.gone().seen
    (own.folder / "mine" / "host").write_text("127.0.0.1")
    assert fault.undo_elsewhere().seen, "the next undo tries again"


@pytest.mark.long
def test_nothing_is_started_where_somebody_else_listens_by_now(own: Processes, port: int) -> None:
    served(own, port, *plain(port), folder="mine")
    own.declare(ports=[port], cwd=str(own.folder / "mine"), health="/health")
    fault = Fault(own, "kill", {"service": "web"}, 10.0)
    assert fault.inject().seen
    theirs = own.start(*plain(port), folder="theirs")
    wait_for(lambda: answers(port), 10, "theirs serves")
    with pytest.raises(TargetError, match=rf"127\.0\.0\.1:{port} is taken by pid {theirs.pid}"):
        fault.handler.undo(fault.instances, fault.plan)
    assert own.here() == [theirs]
    theirs.signal(signal.SIGKILL)
    wait_for(lambda: not opens(port), 5, "theirs is gone")
    assert fault.undo_elsewhere().seen


@pytest.mark.long
def test_instances_that_share_a_port_are_all_started_again(own: Processes, port: int) -> None:
    server = (
        f"import sys; sys.path.insert(0, {str(Path(PLAIN).parent)!r}); from light_server import Handler, Server\n"
        "Server.allow_reuse_port = True; Server(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()"
    )
    for _ in range(2):
        command = ["setsid", "--fork", sys.executable, "-c", server, str(port)]
        nowhere = subprocess.DEVNULL
        subprocess.run(command, cwd=own.folder, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=True)
    own.declare(ports=[port, port], health="/health")
    wait_for(lambda: len(certain_instances(own.target, "web")) == 2, 20, "both serve")
    with injected(own, "kill", service="web", count=2) as fault:
        sight = fault.undo_elsewhere()
        assert sight.seen, sight.what
        assert len(certain_instances(own.target, "web")) == 2
