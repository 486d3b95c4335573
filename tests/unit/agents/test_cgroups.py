"""Control groups of both versions, as processes and mounts of other machines show them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faultload.agents.stress import cgroups

Mount = tuple[str, Path, str, set[str]]


class Machine:
    """The control groups of a machine, in a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, patch

    def mounted(self, *mounts: tuple[str, str, str, str]) -> None:
        found = [
            (root, self.folder / point, kind, set(options.split(","))) for root, point, kind, options in mounts
        ]
        self._patch.setattr(cgroups, "_mounts", lambda: iter(found))

    def process_in(self, *lines: str) -> None:
        self._patch.setattr(cgroups, "_memberships", lambda pid: list(lines))

    def group(self, path: str, **files: str) -> Path:
        folder = self.folder / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {"cgroup.procs": "", **{k.replace("__", "."): v for k, v in files.items()}}.items():
            (folder / name).write_text(text)
        return folder


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_version_2_has_one_group_with_the_controllers_it_names(machine: Machine) -> None:
    machine.mounted(("/", "unified", "cgroup2", "rw"))
    machine.process_in("0::/system.slice/web.service")
    web = machine.group("unified/system.slice/web.service", cgroup__controllers="cpu io memory pids")
    assert cgroups.folders(1) == cgroups.folders(1, "cpu") == cgroups.folders(1, "blkio") == [web]
    (web / "cgroup.controllers").write_text("pids")
    with pytest.raises(cgroups.CgroupError, match="a control group for cpu of process 1 cannot be reached"):
        cgroups.folders(1, "cpu")


def test_version_1_has_a_group_a_hierarchy_and_none_that_is_only_named(machine: Machine) -> None:
    machine.mounted(
        ("/", "cpu,cpuacct", "cgroup", "rw,cpu,cpuacct"),
        ("/", "memory", "cgroup", "rw,memory"),
        ("/", "systemd", "cgroup", "rw,name=systemd"),
        ("/", "unified", "cgroup2", "rw"),
    )
    machine.process_in("9:name=systemd:/x", "4:memory:/m", "1:cpu,cpuacct:/c", "0::/x")
    machine.group("unified/x", cgroup__controllers="")
    wanted = [machine.group("memory/m"), machine.group("cpu,cpuacct/c")]
    assert cgroups.folders(1) == cgroups.folders(1, "memory") == wanted
    with pytest.raises(cgroups.CgroupError):
        cgroups.folders(1, "blkio")


def test_a_group_outside_of_what_is_mounted_cannot_be_reached(machine: Machine) -> None:
    machine.mounted(("/docker/abc", "memory", "cgroup", "rw,memory"))
    machine.process_in("4:memory:/docker/abc/inner")
    assert cgroups.folders(1) == [machine.folder / "memory" / "inner"]
    machine.process_in("4:memory:/docker/other")
    with pytest.raises(cgroups.CgroupError, match="cannot be reached from here"):
        cgroups.folders(1)


def test_the_tightest_limit_above_a_process_counts(machine: Machine) -> None:
    machine.mounted(("/", "v2", "cgroup2", "rw"))
    machine.process_in("0::/a/b")
    machine.group("v2", cgroup__controllers="cpu memory")
    everything = {"cgroup__controllers": "cpu memory"}
    machine.group("v2/a", memory__max="1000", memory__current="400", cpu__max="150000 100000", **everything)
    machine.group("v2/a/b", memory__max="max", memory__current="300", cpu__max="max 100000", **everything)
    assert cgroups.memory_room(1) == 600 and cgroups.cpu_limit(1) == 1.5
    (machine.folder / "v2/a/b/memory.max").write_text("350")
    assert cgroups.memory_room(1) == 50


def test_without_a_limit_there_is_none(machine: Machine) -> None:
    machine.mounted(("/", "memory", "cgroup", "rw,memory"), ("/", "cpu", "cgroup", "rw,cpu"))
    machine.process_in("4:memory:/", "1:cpu:/")
    unlimited = {"memory__limit_in_bytes": "9223372036854771712", "memory__usage_in_bytes": "5"}
    machine.group("memory", **unlimited)
    cpu = machine.group("cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert cgroups.memory_room(1) is None and cgroups.cpu_limit(1) is None
    (cpu / "cpu.cfs_quota_us").write_text("50000")
    assert cgroups.cpu_limit(1) == 0.5


def test_joining_writes_this_process_into_every_group(machine: Machine) -> None:
    machine.mounted(("/", "memory", "cgroup", "rw,memory"), ("/", "cpu", "cgroup", "rw,cpu"))
    machine.process_in("4:memory:/m", "1:cpu:/c")
    groups = [machine.group("memory/m"), machine.group("cpu/c")]
    cgroups.join(1, "cpu")
    assert [(group / "cgroup.procs").read_text() for group in groups] == [str(os.getpid())] * 2
    groups[0].joinpath("cgroup.procs").unlink()
    groups[0].rmdir()
    with pytest.raises(cgroups.CgroupError, match="cannot be joined"):
        cgroups.join(1)


def test_a_process_that_is_gone_has_no_groups() -> None:
    with pytest.raises(cgroups.CgroupError, match="process 0 cannot be read"):
        cgroups.folders(0)
