"""What stands behind a port is a process tree: killed, frozen and brought back whole, or one worker of it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from light_system import Fault, injected, prepared, wait_for
from own_processes import PLAIN, PREFORK, Processes, answers, opens, pids

from faultload.errors import Refused
from faultload.faults.process.workers import workers_of
from faultload.host.processes import ProcessId, identify
from faultload.host.trees import freeze, stopped, tree
from faultload.platforms.local.processes import certain_instances, process_of
from faultload.reference.kit.ports import free_ports

pytestmark = pytest.mark.long


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def root_of(own: Processes) -> ProcessId:
    [found] = certain_instances(own.target, "web")
    return process_of(found)


def by_command(port: int, *options: str) -> dict[str, object]:
    return {"command": [sys.executable, PREFORK, "{port}", "3", *options], "port": port, "health": "/health"}


@pytest.mark.parametrize("options", [(), ("--reuse-port",)])
@pytest.mark.parametrize("how", ["command", "ports"])
def test_the_root_is_the_master_whether_workers_share_a_socket_or_a_port(
    own: Processes, port: int, how: str, options: tuple[str, ...]
) -> None:
    master = own.prefork(port, 3, *options)
    own.declare(**(by_command(port, *options) if how == "command" else {"ports": [port], "health": "/health"}))
    assert root_of(own) == master
    assert len(tree([master])) == 4


@pytest.mark.parametrize("word", ["kill", "terminate"])
@pytest.mark.parametrize("options", [(), ("--reuse-port",)])
def test_master_and_workers_die_together_and_one_start_of_the_root_brings_them_back(
    own: Processes, port: int, word: str, options: tuple[str, ...]
) -> None:
    master = own.prefork(port, 3, *options)
    own.declare(ports=[port], health="/health")
    before = pids(own.here())
    with injected(own, word, service="web") as fault:
        assert own.here() == [] and not opens(port), "no worker serves on without its master"
        sight = fault.handler.witness(fault.instances)
        assert sight.seen and f"web:{port} (pid {master.pid}) with 3 processes below it" in sight.what
        assert fault.undo_elsewhere().seen
        wait_for(lambda: len(tree([root_of(own)])) == 4, 10, "the new master has its workers")
        assert len(own.here()) == 4 and not before & pids(own.here())
        again = own.here()
        assert fault.undo_elsewhere().seen and own.here() == again, "a second undo starts nothing"


@pytest.mark.parametrize("worker", [False, True])
def test_a_kill_that_was_cut_short_after_it_stopped_the_tree_is_continued_by_undo(
    own: Processes, port: int, worker: bool
) -> None:
    own.prefork(port)
    own.declare(ports=[port], health="/health")
    before = own.here()
    with prepared(own, "kill", service="web", worker=worker) as fault:
        freeze([process_of(fault.instances[0])])
        assert len(own.frozen()) == (1 if worker else 4)
        assert fault.undo_elsewhere().seen
        assert own.frozen() == [] and own.here() == before


def test_a_kill_that_was_cut_short_after_the_root_leaves_one_new_tree(own: Processes, port: int) -> None:
    master = own.prefork(port)
    own.declare(ports=[port], health="/health")
    with prepared(own, "kill", service="web") as fault:
        freeze([process_of(fault.instances[0])])
        master.signal(signal.SIGKILL)
        wait_for(lambda: not master.alive() and len(own.frozen()) == 3, 5, "its workers are left, and stopped")
        assert fault.undo_elsewhere().seen
        wait_for(lambda: len(own.here()) == 4, 10, "a new master with its workers, and nobody else")
        assert own.frozen() == [] and len(tree([root_of(own)])) == 4


def test_a_restart_replaces_the_whole_tree(own: Processes, port: int) -> None:
    own.prefork(port)
    own.declare(ports=[port], health="/health")
    before = pids(own.here())
    with injected(own, "restart", service="web"):
        wait_for(lambda: len(own.here()) == 4 and answers(port), 10, "it serves again")
        assert not before & pids(own.here())


def test_a_pause_freezes_every_process_and_undo_continues_every_one(own: Processes, port: int) -> None:
    own.prefork(port)
    own.declare(ports=[port], health="/health")
    before = own.here()
    with injected(own, "pause", service="web") as fault:
        assert own.frozen() == [process.pid for process in before] and not answers(port)
        assert fault.undo_elsewhere().seen
        assert own.frozen() == [] and answers(port) and own.here() == before


def test_a_worker_that_appears_during_a_pause_and_one_whose_master_died_are_continued_too(
    own: Processes, port: int
) -> None:
    master = own.prefork(port)
    own.declare(ports=[port], health="/health")
    with prepared(own, "pause", service="web") as fault:
        # between the plan and the fault the master replaced a worker
        victim = workers_of(master)[1][0]
        victim.signal(signal.SIGKILL)
        wait_for(lambda: len(workers_of(master)[1]) == 3 and not victim.alive(), 10, "another worker")
        assert fault.inject().seen and len(own.frozen()) == 4
        assert fault.undo_elsewhere().seen and own.frozen() == []
    with injected(own, "pause", service="web") as fault:
        master.signal(signal.SIGKILL)
        wait_for(lambda: not master.alive(), 5, "the master died while it was frozen")
        assert len(own.frozen()) == 3
        assert fault.undo_elsewhere().what == "the processes ended meanwhile"
        assert own.frozen() == [], "its workers are nobody's, and run again"


def test_one_worker_dies_the_others_serve_on_and_the_witness_says_one_of_three(own: Processes, port: int) -> None:
    master = own.prefork(port)
    own.declare(ports=[port], health="/health")
    before = workers_of(master)[1]
    with injected(own, "kill", service="web", worker=True) as fault:
        [victim] = fault.instances
        assert victim.name == f"web:{port}", "a worker of a protected instance is protected"
        assert process_of(victim) in before and not process_of(victim).alive() and master.alive()
        sight = fault.handler.witness(fault.instances)
        assert sight.what == f"gone: one of three workers of web:{port} (pid {victim.id}, master {master.pid})"
        wait_for(lambda: fault.gone().seen, 10, "its master started another")
        assert fault.undo_elsewhere().what == f"web:{port} has 3 of 3 workers"
        assert len(set(before) & set(workers_of(master)[1])) == 2 and len(own.here()) == 4


def test_one_worker_freezes_while_the_others_answer(own: Processes, port: int) -> None:
    master = own.prefork(port)
    own.declare(ports=[port], health="/health")
    with injected(own, "pause", service="web", worker=True) as fault:
        [victim] = fault.instances
        assert own.frozen() == [int(victim.id)] and not stopped(master) and answers(port, timeout_s=2)
        assert "one of three workers" in fault.handler.witness(fault.instances).what
        assert fault.undo_elsewhere().seen and own.frozen() == []


def test_the_same_seed_chooses_the_same_worker_and_a_service_without_workers_is_refused(
    own: Processes, port: int
) -> None:
    own.prefork(port)
    own.declare(ports=[port], health="/health")
    chosen = [Fault(own, "pause", {"service": "web", "worker": True}, 10.0).instances for _ in range(2)]
    assert chosen[0] != own.here()[:1]
    other = free_ports(1)[0]
    own.start(sys.executable, PLAIN, "--port", other)
    wait_for(lambda: answers(other), 10, "it serves")
    own.declare(ports=[other])
    with pytest.raises(Refused, match="has no workers"):
        Fault(own, "kill", {"service": "web", "worker": True}, 10.0)


def test_uvicorn_with_workers_is_one_tree_that_is_frozen_and_loses_one_worker(own: Processes, port: int) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    (own.folder / "mine").mkdir()
    (own.folder / "mine" / "app.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "        await send({'type': 'http.response.body', 'body': b'ok'})\n"
    )
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "app:app",
        "--lifespan",
        "off",
        "--workers",
        "2",
        "--port",
        "{port}",
    ]
    master = own.start(*(part.replace("{port}", str(port)) for part in command))
    wait_for(lambda: answers(port) and len(workers_of(master)[1]) == 2, 60, "it serves")
    own.declare(command=command, port=port, health="/health")
    assert root_of(own) == master
    with injected(own, "pause", service="web") as fault:
        assert set(own.frozen()) == pids(own.here()) and len(own.frozen()) >= 3
        assert fault.undo_elsewhere().seen and answers(port, timeout_s=5)
    with injected(own, "kill", service="web", worker=True) as fault:
        assert "one of two workers" in fault.handler.witness(fault.instances).what
        wait_for(lambda: fault.gone().seen, 60, "its supervisor started another")
        assert master.alive() and root_of(own) == master


def test_what_is_left_of_a_tree_whose_master_died_is_told_and_not_taken_for_one_instance(
    own: Processes, port: int
) -> None:
    master = own.prefork(port)
    own.declare(ports=[port], health="/health")
    master.signal(signal.SIGKILL)
    wait_for(lambda: not master.alive() and len(own.here()) == 3, 10, "three orphans serve on")
    with pytest.raises(Refused, match="declares 1 instance, and 3 processes match"):
        Fault(own, "kill", {"service": "web"}, 10.0)
    assert len(own.here()) == 3


def test_stress_is_put_on_every_processor_that_the_tree_may_use(own: Processes, port: int) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("this machine has one processor")
    master = own.prefork(port)
    os.sched_setaffinity(master.pid, {cpus[0]})
    for worker in workers_of(master)[1]:
        os.sched_setaffinity(worker.pid, {cpus[1]})
    own.declare(ports=[port])
    with injected(own, "cpu_stress", service="web", load=0.2, workers=1) as fault:
        assert "of 0.40 processors" in fault.handler.witness(fault.instances).what
        assert fault.undo_elsewhere().seen


@pytest.mark.parametrize("word", ["kill", "terminate", "pause"])
@pytest.mark.parametrize("declared", ["command", "ports"])
def test_a_shell_that_only_runs_the_service_belongs_to_it(
    own: Processes, port: int, declared: str, word: str
) -> None:
    command = [sys.executable, PLAIN, "--port", str(port)]
    shell = own.start("sh", "-c", f"LOUD=1 {' '.join(command)} 2>&1")
    wait_for(lambda: answers(port), 10, "it serves")
    if len(own.here()) == 1:
        pytest.skip("the shell of this machine becomes the last command of a string")
    own.declare(
        **({"command": command, "port": port} if declared == "command" else {"ports": [port]}), health="/health"
    )
    assert root_of(own) == shell
    before = own.here()
    with injected(own, word, service="web") as fault:
        if word == "pause":
            assert own.frozen() == [process.pid for process in before]
        else:
            assert own.here() == []
        assert fault.undo_elsewhere().seen
        assert len(own.here()) == len(before) and own.frozen() == []


def test_a_script_is_known_by_the_command_it_was_started_with(own: Processes, port: int) -> None:
    (own.folder / "mine").mkdir()
    script = own.folder / "mine" / "serve"
    script.write_text(f"#!{sys.executable} -u\nimport runpy\nrunpy.run_path({PLAIN!r}, run_name='__main__')\n")
    script.chmod(0o755)
    started = own.start("./serve", "--port", port)
    wait_for(lambda: answers(port), 10, "it serves")
    own.declare(command=["./serve", "--port", "{port}"], port=port)
    assert root_of(own) == started


def test_a_rewritten_title_is_known_by_its_program_and_started_by_its_command(own: Processes, port: int) -> None:
    master = own.prefork(port, 3, "--title")
    assert Path(f"/proc/{master.pid}/cmdline").read_bytes().startswith(b"prefork_server.py: master\0")
    own.declare(ports=[port])
    with pytest.raises(Refused, match=r"wrote the title 'prefork_server\.py: master' over its arguments"):
        Fault(own, "kill", {"service": "web"}, 10.0)
    own.declare(**by_command(port, "--title"))
    assert root_of(own) == master
    with injected(own, "kill", service="web") as fault:
        assert own.here() == [] and fault.undo_elsewhere().seen
        [root, *_] = own.here()
        wait_for(lambda: len(own.here()) == 4, 10, "it has its workers")
        assert root_of(own) == root


def test_a_deleted_program_is_found_and_not_killed_because_another_would_be_started(
    own: Processes, port: int
) -> None:
    folder = own.folder / "mine"
    folder.mkdir()
    program = folder / "server"
    shutil.copy(Path(sys.executable).resolve(), program)
    env = {**os.environ, "PYTHONHOME": sys.base_prefix}
    started = own.start("./server", PLAIN, "--port", port, env=env)
    wait_for(lambda: answers(port), 10, "it serves")
    own.declare(command=["./server", PLAIN, "--port", "{port}"], port=port, health="/health")
    program.unlink()
    shutil.copy(Path(sys.executable).resolve(), program)
    assert root_of(own) == started
    with pytest.raises(Refused, match="was removed or replaced since"):
        Fault(own, "kill", {"service": "web"}, 10.0)
    with injected(own, "pause", service="web") as fault:
        assert fault.undo_elsewhere().seen


def test_faultload_never_takes_the_tree_that_it_runs_in(own: Processes, port: int) -> None:
    own.declare(pids=[os.getpid()])
    with pytest.raises(Refused, match="faultload itself runs in the process tree"):
        Fault(own, "pause", {"service": "web"}, 10.0)
    own.declare(pids=[os.getppid()])
    with pytest.raises(Refused, match="faultload itself runs in the process tree"):
        Fault(own, "kill", {"service": "web"}, 10.0)


def test_undo_leaves_a_root_that_starts_slowly_alone(own: Processes, port: int) -> None:
    (own.folder / "mine").mkdir()
    slow = own.folder / "mine" / "slow.py"
    slow.write_text(
        f"import os, runpy, sys, time\ntime.sleep(1 if os.path.exists('slow') else 0)\n"
        f"sys.argv[0] = {PLAIN!r}\nrunpy.run_path({PLAIN!r}, run_name='__main__')\n"
    )
    argv = [sys.executable, "slow.py", "--port", str(port)]
    own.start(*argv)
    wait_for(lambda: answers(port), 10, "it serves")
    own.declare(command=argv, port=port, health="/health")
    with injected(own, "kill", service="web") as fault:
        (own.folder / "mine" / "slow").touch()
        started = own.start(*argv)
        time.sleep(0.1)
        assert not opens(port)
        fault.handler.undo(fault.instances, fault.plan)
        assert own.here() == [started], "a supervisor started it already, so undo does not"
        wait_for(lambda: fault.gone().seen, 10, "it serves again")
        assert identify(started.pid) == started
