"""Machines that are not kind: full and read-only folders, closed streams, no home, names of any bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fault_troubles import cannot
from standin import StandIn, Workspace, short, states


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with 5 MB."""
    why = cannot("run folder full")
    if why is not None:
        pytest.skip(why)
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "unkind", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"\0" * 65536)
            except OSError:
                return


def with_a_fault(workspace: Workspace, target: StandIn) -> Path:
    pause = {
        "name": "freeze",
        "experiment": workspace.experiment("f", "pause", {"service": "cache"}, 3),
        "at": "5s",
    }
    return workspace.scenario(target, faults=[pause], load=short(seconds=20))


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_state_folder_that_takes_nothing_is_refused_before_the_load(
    workspace: Workspace, target: StandIn, disk: Path, trouble: str
) -> None:
    scenario = with_a_fault(workspace, target)
    if trouble == "full":
        fill(disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    workspace.env["XDG_STATE_HOME"] = str(disk)
    done = workspace.faultload("run", scenario, "--out", workspace.folder / "out")
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("the state folder takes nothing more")
    assert len(done.stderr.splitlines()) == 1
    assert not (workspace.folder / "out").exists()


def test_a_run_folder_without_room_is_refused_and_nothing_is_made(
    workspace: Workspace, target: StandIn, disk: Path
) -> None:
    scenario = with_a_fault(workspace, target)
    fill(disk)
    done = workspace.faultload("run", scenario, "--out", disk / "out")
    assert done.returncode == 5, done.stderr
    assert "takes no record (No space left on device)" in done.stderr
    assert sorted(path.name for path in disk.iterdir()) == ["filler"]


def test_a_load_without_faults_needs_no_state_folder(workspace: Workspace, target: StandIn, disk: Path) -> None:
    fill(disk)
    workspace.env["XDG_STATE_HOME"] = str(disk)
    done = workspace.faultload(
        "run", workspace.scenario(target, load=short(seconds=1)), "--out", disk.parent / "out"
    )
    assert done.returncode in (0, 3, 4), done.stderr


def shell(command: str, folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=dict(env), capture_output=True, text=True, timeout=60, check=False
    )


FAULTLOAD = f"{sys.executable} -m faultload"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (f"{FAULTLOAD} list >&-", 0),
        (f"{FAULTLOAD} list >&- 2>&- <&-", 0),
        (f"{FAULTLOAD} schema > /dev/full", 70),
        (f"set -o pipefail; {FAULTLOAD} schema | head -1", 0),
        (f"{FAULTLOAD} validate nothing.yaml 2> /dev/full", 2),
        (f"{FAULTLOAD} undo --list > /dev/full", 0),
    ],
    ids=["closed", "all closed", "full", "no reader", "full error", "full list"],
)
def test_streams_that_take_nothing_end_no_command_wrongly(workspace: Workspace, command: str, code: int) -> None:
    done = shell(command, workspace.folder, {**os.environ, **workspace.env})
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_state_folder_that_is_not_absolute_is_left_out_as_its_standard_says(tmp_path: Path) -> None:
    env = {**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": "state"}
    assert shell(f"{FAULTLOAD} undo --list", tmp_path, env).returncode == 0
    assert not (tmp_path / "state").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    "env",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "tr_TR"}],
    ids=["C", "ASCII", "tr_TR"],
)
def test_a_run_in_a_folder_of_any_bytes_and_any_locale_is_judged(
    tmp_path: Path, target: StandIn, env: dict[str, str]
) -> None:
    folder = tmp_path / os.fsdecode(b"odd \xff\nname")
    folder.mkdir()
    workspace = Workspace(folder)
    workspace.env |= env
    try:
        scenario = with_a_fault(workspace, target)
        done = workspace.faultload("run", scenario, "--out", folder / "out")
        assert done.returncode in (0, 3, 4), done.stderr
        assert "Traceback" not in done.stderr
        assert states(folder / "out")["freeze"][-1] == "UNDONE"
        assert (folder / "out" / "report.html").exists()
        again = workspace.faultload("report", folder / "out")
        assert again.returncode == done.returncode, again.stderr
    finally:
        workspace.end()
