"""A container's main process is found by the container's id in any cgroup layout, and only that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faultload.agents.container import process as container_process
from faultload.agents.container.process import end, main, main_process

ID = "3f1c0d2a9b7e" * 5 + "abcd"
OTHER = "77aa0d2a9b7e" * 5 + "abcd"
LAYOUTS = {
    "version 1, cgroupfs": "12:pids:/kubepods/burstable/pod1/{id}\n1:name=systemd:/kubepods/burstable/{id}\n",
    "version 2, systemd, containerd": "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope\n",
    "version 2, seen from a cgroup namespace": "0::/../cri-containerd-{id}.scope\n",
    "version 2, docker": "0::/system.slice/docker-{id}.scope\n",
    "cri-o": "0::/kubepods.slice/crio-{id}.scope/container\n",
}


def process(proc: Path, pid: int, cgroup: str, started: int, name: str = "(sh) -c)") -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(cgroup)
    fields = ["S", "1", *["0"] * 17, str(started), *["0"] * 30]
    (folder / "stat").write_text(f"{pid} {name} {' '.join(fields)}\n")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_main_process_is_the_oldest_of_the_containers_cgroup(tmp_path: Path, layout: str) -> None:
    """A command run in the container came later, whatever its pid is."""
    process(tmp_path, 300, layout.format(id=ID), started=1000)
    process(tmp_path, 100, layout.format(id=ID), started=2000)
    process(tmp_path, 50, layout.format(id=OTHER), started=10)
    (tmp_path / "self").mkdir()
    assert main_process(ID, tmp_path) == 300
    assert main_process(OTHER, tmp_path) == 50
    assert main_process("00" * 32, tmp_path) is None


def test_an_empty_or_short_id_never_finds_anything(tmp_path: Path) -> None:
    """An empty id would be part of every cgroup's path."""
    process(tmp_path, 1, LAYOUTS["version 2, docker"].format(id=ID), started=1)
    for short in ("", "3f1c"):
        with pytest.raises(ValueError, match="is not a container id"):
            main_process(short, tmp_path)


def test_kill_hits_the_process_that_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        monkeypatch.setattr(container_process, "main_process", lambda container_id: victim.pid)
        assert end([ID], None) == []
        assert victim.wait(10) == -signal.SIGKILL
    finally:
        victim.kill()
        victim.wait()


def test_a_process_that_is_another_at_the_second_look_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        answers = iter([bystander.pid, None])
        monkeypatch.setattr(container_process, "main_process", lambda container_id: next(answers))
        assert end([ID], None) == [ID]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_no_process_is_an_error_and_not_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kill", "00" * 32]) == 1
    assert "no process of container" in capsys.readouterr().err


def test_the_program_runs_by_itself() -> None:
    argv = [sys.executable, "-I", "-m", "faultload.agents.container.process", "pid", "00" * 32]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", env={"PATH": os.defpath})
    assert (done.returncode, done.stdout.strip()) == (1, "")
