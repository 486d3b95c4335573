"""cpu_stress and memory_stress beside light processes: taken, given back, and never more than is safe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from light_system import Fault, LightSystem, injected, prepared, wait_for

from faultload.agents.stress import cgroups
from faultload.agents.stress.stressor import MEMORY_FLOOR, available_memory
from faultload.errors import Refused, TargetError
from faultload.faults.stress import stressors
from faultload.faults.stress.local import EXPIRY_MARGIN_S
from faultload.host.processes import wait_gone
from faultload.platforms.local.processes import instances_of

pytestmark = pytest.mark.long

MIB = 1024**2
BURN = (
    "import time\nw, c = time.monotonic(), time.process_time()\n"
    "n = sum(i * i for i in range(2_000_000))\nprint((time.monotonic() - w) / (time.process_time() - c))"
)


def waits(cpu: int) -> float:
    """How many times as long as alone a fixed amount of work takes on one processor."""
    argv = ["taskset", "-c", str(cpu), sys.executable, "-c", BURN]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def shares_of(mark: str) -> list[psutil.Process]:
    """The stressors of a fault, found without the code under test."""
    return [one for one in psutil.process_iter(["cmdline"]) if mark in (one.info["cmdline"] or [])]


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in processes)


def test_processor_time_is_taken_and_given_back(light: LightSystem) -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(60)", stressors.MODULE, "faultload:of-another"]
    bystander = subprocess.Popen(argv)
    try:
        with injected(light, "cpu_stress", service="web", workers=2) as fault:
            mine = shares_of(fault.plan["mark"])
            before, started = cpu_s(mine), time.monotonic()
            time.sleep(1.0)
            used = (cpu_s(mine) - before) / (time.monotonic() - started)
            assert len(mine) == 3 and used > 0.03, "two workers and their parent, on a machine that may be busy"
            assert not fault.gone().seen
            assert fault.undo_elsewhere().seen
            assert shares_of(fault.plan["mark"]) == [] and bystander.poll() is None
            running = light.running()
            assert fault.undo_elsewhere().seen
            assert light.running() == running and bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_work_on_a_stressed_processor_takes_longer(light: LightSystem) -> None:
    """Beside six busy processes on one processor a seventh gets a seventh, or less where others run too."""
    [cpu, *_] = sorted(os.sched_getaffinity(0))
    with pinned(light, cpu) as pid, prepared(light, "cpu_stress", service="store", workers=6) as fault:
        assert int(fault.instances[0].id) == pid
        sight = fault.inject()
        assert sight.seen, sight.what
        assert waits(cpu) > 4
        assert fault.undo_elsewhere().seen and shares_of(fault.plan["mark"]) == []


def test_half_a_load_takes_half_the_time(light: LightSystem) -> None:
    with injected(light, "cpu_stress", service="store", workers=1, load=0.3) as fault:
        mine = shares_of(fault.plan["mark"])
        before, started = cpu_s(mine), time.monotonic()
        time.sleep(2.0)
        assert (cpu_s(mine) - before) / (time.monotonic() - started) < 0.45


@contextmanager
def pinned(light: LightSystem, cpu: int) -> Iterator[int]:
    """The process of the store on one processor only."""
    [instance] = instances_of(light.target, "store")
    pid = int(instance.id)
    before = os.sched_getaffinity(pid)
    os.sched_setaffinity(pid, {cpu})
    try:
        yield pid
    finally:
        os.sched_setaffinity(pid, before)


def test_stressors_stay_on_the_processors_of_the_instance(light: LightSystem) -> None:
    [cpu, *_] = sorted(os.sched_getaffinity(0))
    with pinned(light, cpu), injected(light, "cpu_stress", service="store") as fault:
        found = shares_of(fault.plan["mark"])
        assert len(found) == 2, "one worker for one processor, and its parent"
        assert {frozenset(os.sched_getaffinity(one.pid)) for one in found} == {frozenset({cpu})}


@contextmanager
def control_group(pid: int, controller: str, settings: dict[str, str]) -> Iterator[Path]:
    """A control group of its own around a process, with limits; the process goes back at the end."""
    root = Path("/sys/fs/cgroup", controller)
    [parent] = [one for one in cgroups.folders(pid, controller) if one.is_relative_to(root)]
    group = parent / f"faultload-test-{os.getpid()}"
    group.mkdir()
    try:
        for name, value in settings.items():
            (group / name).write_text(value)
        (group / "cgroup.procs").write_text(str(pid))
        yield group
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            (parent / "cgroup.procs").write_text(left)
        group.rmdir()


def v1(controller: str) -> bool:
    return Path("/sys/fs/cgroup", controller, "cgroup.procs").exists() and os.geteuid() == 0


needs_v1_cpu = pytest.mark.skipif(not v1("cpu"), reason="needs root and the cgroup v1 controller cpu")
needs_v1_memory = pytest.mark.skipif(not v1("memory"), reason="needs root and the cgroup v1 controller memory")


@needs_v1_cpu
def test_stressors_join_the_control_group_of_the_instance_and_its_limit_counts(light: LightSystem) -> None:
    [pid] = [one.id for one in instances_of(light.target, "store")]
    settings = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "40000"}
    with (
        control_group(int(pid), "cpu", settings) as group,
        injected(light, "cpu_stress", service="store", workers=2) as fault,
    ):
        found = shares_of(fault.plan["mark"])
        assert {str(one.pid) for one in found} <= set((group / "cgroup.procs").read_text().split())
        before, started = cpu_s(found), time.monotonic()
        time.sleep(1.5)
        assert (cpu_s(found) - before) / (time.monotonic() - started) < 0.55
        assert fault.undo_elsewhere().seen


@needs_v1_memory
def test_what_a_control_group_has_no_room_for_is_refused(light: LightSystem) -> None:
    with prepared(light, "pause", service="store") as other:
        pid = int(other.instances[0].id)
        limit = {"memory.limit_in_bytes": str(96 * MIB)}
        with control_group(pid, "memory", limit), pytest.raises(Refused, match="has room for"):
            Fault(light, "memory_stress", {"service": "store", "bytes": "90MiB"}, 10.0)


def test_memory_is_taken_and_given_back(light: LightSystem) -> None:
    with injected(light, "memory_stress", service="web", bytes="192MiB") as fault:
        [mine] = shares_of(fault.plan["mark"])
        assert mine.memory_info().rss > 190 * MIB
        assert Path(f"/proc/{mine.pid}/oom_score_adj").read_text().strip() == "1000", "the first to go"
        time.sleep(1.5)
        assert mine.memory_info().rss > 190 * MIB
        assert fault.undo_elsewhere().seen
        assert shares_of(fault.plan["mark"]) == []
        running = light.running()
        assert fault.undo_elsewhere().seen and light.running() == running


def test_memory_that_the_machine_cannot_spare_is_refused(light: LightSystem) -> None:
    too_much = available_memory() - MEMORY_FLOOR // 2
    with pytest.raises(Refused, match="512 MiB must stay"):
        Fault(light, "memory_stress", {"service": "web", "bytes": too_much}, 10.0)
    with pytest.raises(TargetError, match="512 MiB must stay"):
        stressors.Stressor("memory", "faultload:test-too-much", 5, ["--bytes", str(too_much)]).begin()
    assert stressors.running("faultload:test-too-much") == []


def test_a_stressor_ends_by_itself_when_nobody_is_left_to_end_it(light: LightSystem) -> None:
    """The process that injected is killed before it could do anything else: the time-out is the stressor's own."""
    mark = f"faultload:orphan-{os.getpid()}"
    code = (
        "import sys, os, signal\nfrom faultload.faults.stress import stressors\n"
        f"given = ('cpu', {mark!r}, {1.0 + EXPIRY_MARGIN_S / 5}, ['--workers', '1', '--load', '0.1'])\n"
        "one = stressors.Stressor(*given)\n"
        "one.begin()\n"
        "print('injected', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    injector = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert injector.returncode == -signal.SIGKILL and injector.stdout == "injected\n"
    started = time.monotonic()
    orphans = stressors.running(mark)
    assert len(orphans) == 2
    assert wait_gone(orphans, 15) == [] and time.monotonic() - started < 10


def test_workers_die_with_their_stressor() -> None:
    mark = f"faultload:headless-{os.getpid()}"
    stressors.Stressor("cpu", mark, 30, ["--workers", "2", "--load", "0.1"]).begin()
    processes = stressors.running(mark)
    try:
        parent = min(processes, key=lambda one: (one.started, one.pid))
        parent.signal(signal.SIGKILL)
        wait_for(lambda: stressors.running(mark) == [], 5, "the workers have died too")
    finally:
        stressors.stop(mark)


def test_a_prepared_stressor_takes_nothing_and_ends_where_nothing_is_injected(light: LightSystem) -> None:
    with prepared(light, "cpu_stress", service="store", workers=1) as fault:
        (mine,) = shares_of(fault.plan["mark"])
        before = cpu_s([mine])
        time.sleep(0.5)
        assert shares_of(fault.plan["mark"]) == [mine], "no worker yet"
        assert cpu_s([mine]) - before < 0.25
        fault.handler.release()
        assert stressors.running(fault.plan["mark"]) == []
