"""io_stress and fill_disk beside light processes: written, filled down to a floor, and free again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from light_system import Fault, LightSystem, injected, prepared, wait_for

from faultload.agents.stress.stressor import file_system, free_bytes
from faultload.errors import Refused
from faultload.faults.stress import stressors

MIB = 1024**2


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 64 MiB where it can be mounted, so that no real disk is filled."""
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid() == 0:
        argv = ["mount", "-t", "tmpfs", "-o", "size=64m", "faultload-test", str(folder)]
        if subprocess.run(argv, check=False).returncode == 0:
            yield folder
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
            return
    yield folder


def a_floor(disk: Path) -> int:
    """So that no more than 48 MiB are taken."""
    return free_bytes(str(disk)) - 48 * MIB


def stressors_of(mark: str) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if mark in (one.info["cmdline"] or [])]


def test_a_disk_is_filled_down_to_its_floor_and_free_again(light: LightSystem, disk: Path) -> None:
    before, floor = free_bytes(str(disk)), a_floor(disk)
    with injected(light, "fill_disk", service="store", path=str(disk), floor=floor) as fault:
        assert abs(free_bytes(str(disk)) - floor) < 4 * MIB
        if os.path.ismount(disk):
            with pytest.raises(OSError) as full, open(disk / "big", "wb") as file:
                os.posix_fallocate(file.fileno(), 0, floor + 2 * MIB)
            assert full.value.errno == errno.ENOSPC
            (disk / "big").unlink()
            (disk / "small").write_bytes(bytes(MIB))
            (disk / "small").unlink()
        assert [file.name for file in disk.iterdir()] == [], "what fills it has no name"
        assert not fault.gone().seen
        assert fault.undo_elsewhere().seen
        assert free_bytes(str(disk)) > before - 4 * MIB
        (disk / "of-somebody-else").write_text("kept")
        assert fault.undo_elsewhere().seen
        assert (disk / "of-somebody-else").read_text() == "kept" and free_bytes(str(disk)) > before - 4 * MIB
        (disk / "of-somebody-else").unlink()


def test_the_space_is_free_as_soon_as_the_filler_is_killed(light: LightSystem, disk: Path) -> None:
    before = free_bytes(str(disk))
    with injected(light, "fill_disk", service="store", path=str(disk), floor=a_floor(disk)) as fault:
        for process in stressors.running(fault.plan["mark"]):
            process.signal(signal.SIGKILL)
        wait_for(lambda: free_bytes(str(disk)) > before - 4 * MIB, 10, "the space is free again")
        assert fault.undo_elsewhere().seen


def test_a_filled_disk_is_free_when_its_time_is_over(disk: Path) -> None:
    before, mark = free_bytes(str(disk)), f"faultload:late-{os.getpid()}"
    stressors.Stressor("fill", mark, 1.5, ["--path", str(disk), "--floor", str(a_floor(disk))]).begin()
    assert free_bytes(str(disk)) < before - 40 * MIB
    wait_for(lambda: stressors.running(mark) == [], 10, "the filler has ended")
    wait_for(lambda: free_bytes(str(disk)) > before - 4 * MIB, 5, "the space is free again")


def test_a_floor_that_is_reached_already_or_too_low_is_refused(light: LightSystem, disk: Path) -> None:
    with pytest.raises(Refused, match="reached already"):
        Fault(light, "fill_disk", {"service": "store", "path": str(disk), "floor": "1000GB"}, 10.0)
    with pytest.raises(Refused, match="must be at least 256 MiB"):
        Fault(light, "fill_disk", {"service": "store", "floor": "100MB", "path": tempfile.gettempdir()}, 10.0)
    if os.path.ismount(disk):
        with pytest.raises(Refused, match="must be at least 16 MiB"):
            Fault(light, "fill_disk", {"service": "store", "path": str(disk), "floor": "1MB"}, 10.0)
    for path in ("relative", "/no/such/folder", "/proc"):
        with pytest.raises(Refused):
            Fault(light, "fill_disk", {"service": "store", "path": path, "floor": "1GB"}, 10.0)


def test_the_disk_is_written_to_and_synced_and_nothing_stays(light: LightSystem) -> None:
    if file_system(str(light.folder)) in ("tmpfs", "ramfs"):
        pytest.skip(f"{light.folder} is in memory: nothing written there reaches a disk")
    names = sorted(file.name for file in light.folder.iterdir())
    with injected(light, "io_stress", service="web", workers=2) as fault:
        assert {str(Path(file).parent) for file in fault.plan["files"]} == {str(light.folder)}, "where it lives"
        mine = stressors_of(fault.plan["mark"])
        before = sum(one.io_counters().write_bytes for one in mine)
        time.sleep(1.0)
        assert sum(one.io_counters().write_bytes for one in mine) - before > 512 * 1024
        assert all(Path(file).stat().st_size > 0 for file in fault.plan["files"])
        assert not fault.gone().seen
        assert fault.undo_elsewhere().seen
        assert stressors_of(fault.plan["mark"]) == []
        assert sorted(file.name for file in light.folder.iterdir()) == names
        (light.folder / ".faultload-of-another.0").write_text("kept")
        assert fault.undo_elsewhere().seen
        assert (light.folder / ".faultload-of-another.0").read_text() == "kept"
        (light.folder / ".faultload-of-another.0").unlink()


def test_undo_removes_the_files_of_a_writer_that_was_killed(light: LightSystem) -> None:
    if file_system(str(light.folder)) in ("tmpfs", "ramfs"):
        pytest.skip(f"{light.folder} is in memory: nothing written there reaches a disk")
    with injected(light, "io_stress", service="web") as fault:
        for process in stressors.running(fault.plan["mark"]):
            process.signal(signal.SIGKILL)
        wait_for(lambda: stressors.running(fault.plan["mark"]) == [], 5, "the writer is gone")
        [left] = [Path(file) for file in fault.plan["files"]]
        assert left.exists() and not fault.gone().seen
        assert fault.undo_elsewhere().seen and not left.exists()


def test_io_stress_in_memory_is_refused(light: LightSystem) -> None:
    if file_system("/dev/shm") not in ("tmpfs", "ramfs"):
        pytest.skip("/dev/shm is on a disk here")
    with pytest.raises(Refused, match="is in memory"):
        Fault(light, "io_stress", {"service": "web", "path": "/dev/shm"}, 10.0)


def test_a_file_of_the_stressors_name_is_left_alone(light: LightSystem) -> None:
    if file_system(str(light.folder)) in ("tmpfs", "ramfs"):
        pytest.skip(f"{light.folder} is in memory: nothing written there reaches a disk")
    mark = f"faultload:name-{os.getpid()}"
    taken = light.folder / "taken.0"
    taken.write_text("mine")
    try:
        with pytest.raises(Exception, match=r"there is a file taken\.0 already"):
            stressors.Stressor("io", mark, 5, ["--path", str(light.folder), "--name", "taken"]).begin()
        assert taken.read_text() == "mine"
    finally:
        taken.unlink()
        stressors.stop(mark)
    with prepared(light, "io_stress", service="web") as fault:
        assert "taken.0" not in " ".join(fault.plan["files"])
