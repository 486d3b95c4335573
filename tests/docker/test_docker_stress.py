"""Stress in the control groups of real containers: there, within their limits, gone after undo, undone once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from standin_project import Project, born, life, now, processes_in, wait_until

from faultload.agents.stress.stressor import available_memory
from faultload.errors import Refused, TargetError
from faultload.host.processes import identify
from faultload.platforms.docker import helper as docker_helper
from faultload.platforms.docker.stats import usage

pytestmark = pytest.mark.docker
MIB = 1024**2


def cpu_ticks(container) -> int:
    """Processor time of every process in a container's control group, in clock ticks."""
    total = 0
    for pid in processes_in(container):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total


def cpu_share(container, over_s: float = 1.5) -> float:
    """Processors' worth of time that the processes in a container use."""
    before, started = cpu_ticks(container), time.monotonic()
    time.sleep(over_s)
    return (cpu_ticks(container) - before) / 100 / (time.monotonic() - started)


def resident(container) -> int:
    """Anonymous memory of the processes in a container's control group, in bytes."""
    total = 0
    for pid in processes_in(container):
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += int(text.partition("RssAnon:")[2].split()[0]) * 1024 if "RssAnon:" in text else 0
    return total


def free_in(container, folder: str) -> int:
    """Bytes free in a folder, as a program in the container sees it."""
    program = f"import os; found = os.statvfs({folder!r}); print(found.f_bavail * found.f_frsize)"
    return int(now(container).exec_run(["python3", "-c", program]).output)


def files_in(container, folder: str) -> list[str]:
    done = now(container).exec_run(["python3", "-c", f"import os; print(*os.listdir({folder!r}))"])
    return done.output.decode().split()


def undone_twice(fault, containers) -> None:
    fault.undo()
    assert fault.wait_gone().seen
    before = [life(one) for one in containers]
    fault.undo()
    assert fault.gone().seen
    assert [life(one) for one in containers] == before
    assert fault.left() == []


def test_cpu_stress_is_in_the_containers_own_limit_and_gone_after_undo(project: Project) -> None:
    api, other = project.start("api", nano_cpus=500_000_000), project.start("other")
    before, lives, pids = born(api), [life(api), life(other)], set(processes_in(api))
    idle = cpu_share(api)
    fault = project.fault(project.target("api"), "cpu_stress", service="api").inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    assert set(processes_in(api)) > pids
    shares: list[float] = []

    def busy() -> bool:
        shares.append(cpu_share(api))
        return shares[-1] > idle + 0.1

    wait_until(busy, 15.0)  # a crowded machine may leave it little for a while
    assert max(shares) < 0.75, "held by the container's own limit of half a processor"
    assert len(processes_in(other)) == len(set(processes_in(other)) - pids)
    assert not fault.gone().seen
    undone_twice(fault, [api, other])
    assert set(processes_in(api)) == pids
    assert cpu_share(api) < 0.1
    assert ([life(api), life(other)], born(api)) == (lives, before)


def test_cpu_stress_that_does_not_run_is_not_witnessed(project: Project) -> None:
    api = project.start("api", nano_cpus=500_000_000)
    fault = project.fault(project.target("api"), "cpu_stress", service="api").planned()
    assert not fault.witness().seen
    undone_twice(fault, [api])


def test_stress_ends_by_itself_where_nobody_undoes_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faultload.faults.containers.EXPIRY_MARGIN_S", 0.5)
    api = project.start("api", nano_cpus=500_000_000)
    pids = set(processes_in(api))
    fault = project.fault(project.target("api"), "cpu_stress", duration_s=2.0, service="api", workers=1).inject()
    assert set(processes_in(api)) > pids
    wait_until(lambda: set(processes_in(api)) == pids, 15.0)
    wait_until(lambda: fault.left() == [], 15.0)
    undone_twice(fault, [api])


def test_trap_a_helper_killed_hard_leaves_nothing_after_undo(project: Project) -> None:
    """A helper that reverts at SIGTERM only leaves its fault behind when it is killed hard (litmus#2359)."""
    api = project.start("api", nano_cpus=500_000_000)
    pids = set(processes_in(api))
    fault = project.fault(project.target("api"), "io_stress", service="api").inject()
    (helper,) = docker_helper.helpers_of(fault.request.fault_id)
    process = identify(int(helper.attrs["State"]["Pid"]))
    assert process is not None
    process.signal(9)
    wait_until(lambda: set(processes_in(api)) == pids)
    wait_until(lambda: fault.left() == [])
    assert any(name.startswith(".faultload-") for name in files_in(api, "/tmp")), "nobody could take it away"
    assert not fault.gone().seen
    undone_twice(fault, [api])
    assert not [name for name in files_in(api, "/tmp") if name.startswith(".faultload-")]


def test_a_container_that_crashes_under_stress_starts_again_without_it(project: Project) -> None:
    """runc 1.2 refuses to start a container in a control group that is not empty."""
    api = project.start("api", nano_cpus=500_000_000)
    before = born(api)
    fault = project.fault(project.target("api"), "cpu_stress", service="api").inject()
    stressed = set(processes_in(api))
    project.fault(project.target("api"), "kill", service="api").inject()
    wait_until(lambda: born(api) not in (None, before))
    assert not stressed & set(processes_in(api))
    assert now(api).attrs["RestartCount"] == 1
    wait_until(lambda: fault.left() == [])
    undone_twice(fault, [api])


def test_stress_in_a_container_that_another_fault_paused_is_undone_after_it(project: Project) -> None:
    api = project.start("api", nano_cpus=500_000_000)
    target = project.target("api")
    stress = project.fault(target, "cpu_stress", service="api", workers=1).inject()
    pause = project.fault(target, "pause", service="api").inject()
    assert pause.witness().seen
    if project.client.info().get("CgroupVersion", "1") == "1":
        with pytest.raises(TargetError, match="undo the pause first"):
            stress.undo()
        assert not stress.gone().seen
    pause.undo()
    undone_twice(stress, [api])
    assert born(api) is not None


def test_stress_of_a_container_that_started_again_is_refused(project: Project) -> None:
    api = project.start("api")
    fault = project.fault(project.target("api"), "cpu_stress", service="api").planned()
    api.restart(timeout=1)
    wait_until(lambda: born(api) is not None)
    pids = set(processes_in(api))
    with pytest.raises(TargetError, match="restarted before the fault"):
        fault.here.inject(fault.instances, fault.plan)
    assert set(processes_in(api)) == pids


def test_memory_stress_is_charged_to_the_container_and_gone_after_undo(project: Project) -> None:
    api = project.start("api", mem_limit=256 * MIB)
    before, lives = resident(api), life(api)
    fault = project.fault(project.target("api"), "memory_stress", service="api", bytes="96MB").inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    assert resident(api) - before >= 90_000_000
    assert not fault.gone().seen
    undone_twice(fault, [api])
    assert resident(api) - before < 8 * MIB
    assert life(api) == lives


def test_memory_stress_up_to_the_limit_leaves_the_container_alive(project: Project) -> None:
    api = project.start("api", mem_limit=128 * MIB)
    lives = life(api)
    fault = project.fault(project.target("api"), "memory_stress", service="api", bytes=80 * MIB).inject()
    assert fault.witness().seen
    assert born(api) is not None
    undone_twice(fault, [api])
    assert life(api) == lives


def test_memory_stress_over_the_limit_is_refused(project: Project) -> None:
    api = project.start("api", mem_limit=96 * MIB)
    pids = processes_in(api)
    with pytest.raises(Refused, match="below its limit of 96 MiB"):
        project.fault(project.target("api"), "memory_stress", service="api", bytes="200MB").inject()
    assert processes_in(api) == pids


def test_trap_memory_stress_never_takes_what_the_machine_cannot_spare(project: Project) -> None:
    api = project.start("api")
    pids = processes_in(api)
    wanted = available_memory() - 256 * MIB
    with pytest.raises(Refused, match="512 MiB must stay"):
        project.fault(project.target("api"), "memory_stress", service="api", bytes=wanted).inject()
    assert processes_in(api) == pids


def changed_ns(container, folder: str) -> int:
    """When the files of a stressor in a folder were last written, as a program in the container sees it."""
    program = (
        f"import pathlib; files = pathlib.Path({folder!r}).glob('.faultload-*'); "
        "print(min((file.stat().st_mtime_ns for file in files), default=0))"
    )
    return int(now(container).exec_run(["python3", "-c", program]).output)


def test_io_stress_writes_in_the_container_and_leaves_no_file_after_undo(project: Project) -> None:
    api = project.start("api")
    lives, before, names = life(api), born(api), files_in(api, "/tmp")
    fault = project.fault(project.target("api"), "io_stress", service="api", workers=2).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    assert len(set(files_in(api, "/tmp")) - set(names)) == 2
    changed = changed_ns(api, "/tmp")
    wait_until(lambda: changed_ns(api, "/tmp") > changed > 0, 15.0)
    assert not fault.gone().seen
    undone_twice(fault, [api])
    assert files_in(api, "/tmp") == names
    assert (life(api), born(api)) == (lives, before)


def test_io_stress_where_nothing_reaches_a_disk_is_refused(project: Project) -> None:
    api = project.start("api", tmpfs={"/tmp": "size=64m"})
    with pytest.raises(Refused, match="in memory"):
        project.fault(project.target("api"), "io_stress", service="api").inject()
    assert files_in(api, "/tmp") == []


def test_a_disk_is_filled_to_its_floor_and_free_again_after_undo(project: Project) -> None:
    api = project.start("api", tmpfs={"/data": "size=96m"})
    lives, before = life(api), free_in(api, "/data")
    fault = project.fault(project.target("api"), "fill_disk", service="api", path="/data", floor=32 * MIB).inject()
    sight = fault.witness()
    assert sight.seen, sight.what
    assert 32 * MIB <= free_in(api, "/data") <= 33 * MIB
    assert not fault.gone().seen
    undone_twice(fault, [api])
    assert free_in(api, "/data") == before
    assert files_in(api, "/data") == []
    assert life(api) == lives


def test_a_filled_disk_is_free_again_as_soon_as_the_helper_is_dead(project: Project) -> None:
    api = project.start("api", tmpfs={"/data": "size=96m"})
    before = free_in(api, "/data")
    fault = project.fault(project.target("api"), "fill_disk", service="api", path="/data", floor=32 * MIB).inject()
    (helper,) = docker_helper.helpers_of(fault.request.fault_id)
    helper.kill()
    wait_until(lambda: free_in(api, "/data") == before)
    undone_twice(fault, [api])


def test_the_disk_of_the_machine_keeps_its_floor(project: Project) -> None:
    project.start("api")
    with pytest.raises(Refused, match="at least 256 MiB"):
        project.fault(project.target("api"), "fill_disk", service="api", floor=64 * MIB).inject()
    with pytest.raises(Refused, match="floor is reached already"):
        project.fault(project.target("api"), "fill_disk", service="api", floor="900TB").inject()


def test_filling_a_disk_in_memory_up_to_the_memory_limit_is_refused(project: Project) -> None:
    api = project.start("api", tmpfs={"/data": "size=512m"}, mem_limit=96 * MIB)
    lives = life(api)
    with pytest.raises(Refused, match="memory limit"):
        project.fault(project.target("api"), "fill_disk", service="api", path="/data", floor=32 * MIB).inject()
    assert life(api) == lives


def test_a_folder_that_is_not_there_is_told(project: Project) -> None:
    project.start("api")
    with pytest.raises(TargetError, match="/nowhere"):
        project.fault(project.target("api"), "io_stress", service="api", path="/nowhere").inject()


def test_stress_whose_helper_somebody_ended_is_seen_to_be_over(project: Project) -> None:
    api = project.start("api")
    fault = project.fault(project.target("api"), "memory_stress", service="api", bytes="8MiB").inject()
    assert fault.here.lasts(fault.instances, fault.plan).seen
    (helper,) = docker_helper.helpers_of(fault.request.fault_id)
    helper.kill()
    wait_until(lambda: docker_helper.helpers_of(fault.request.fault_id) == [])
    over = fault.here.lasts(fault.instances, fault.plan)
    assert (over.seen, over.what) == (False, f"the stressor in {api.name} ended")
    undone_twice(fault, [api])


def test_a_prepared_stressor_takes_nothing_until_it_is_told(project: Project) -> None:
    api = project.start("api")
    before = usage(str(api.id)).memory_bytes
    fault = project.fault(project.target("api"), "memory_stress", service="api", bytes="64MiB").planned()
    time.sleep(1.0)
    assert usage(str(api.id)).memory_bytes < before + 16 * 1024**2
    fault.here.inject(fault.instances, fault.plan)
    assert fault.witness().seen
    undone_twice(fault, [api])
