"""Files and folders of faultload are their user's alone, and files in /tmp are what they should be."""

from __future__ import annotations

import ast
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faultload.commands.crash import write_crash
from faultload.errors import Refused
from faultload.host import private
from faultload.host.processes import log_file
from faultload.host.state import write_json
from faultload.record.directory import RunDirectory
from faultload.record.lines import append_line
from faultload.record.sealed import seal
from faultload.record.tables import TableWriter
from faultload.reference.kit.ports import free_ports


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def _metrics(path: Path) -> None:
    writer = TableWriter(path.parent, "metrics", None)
    writer.close()


WRITERS: dict[str, Callable[[Path], object]] = {
    "run.json": lambda path: write_json(path, {}),
    "events.jsonl": lambda path: append_line(path, {}),
    "logs/api.log": lambda path: os.close(log_file(path)),
    "report.html": lambda path: RunDirectory(path.parent).write_text(path.name, "x"),
    "image.log": lambda path: private.open_file(path, "a").close(),
    "api-1.log": lambda path: private.write_bytes(path, b"x"),
    "metrics.arrows": _metrics,
    "a.lock": lambda path: os.close(private.lock_file(path)),
}
"""Every way in which a file of a run or of the state folder is made."""


@pytest.mark.parametrize(("mask", "files"), [(0, 0o600), (0o022, 0o600), (0o277, 0o400)])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_its_users_alone_and_a_narrower_umask_counts(
    tmp_path: Path, name: str, mask: int, files: int
) -> None:
    path = tmp_path / name
    private.make_folder(path.parent)
    with umask(mask):
        WRITERS[name](path)
    assert mode(path) == files


def test_a_run_is_in_folders_of_its_users_alone(tmp_path: Path) -> None:
    with umask(0):
        run = RunDirectory.create(tmp_path / "runs" / "visit")
        run.begin({})
        run.event("note", what="x", text="y")
        TableWriter(run.path, "samples", 0).close()
        seal(run.path)
    made = [run.path.parent, *run.path.parent.rglob("*")]
    assert {mode(path) for path in made if path.is_dir()} == {0o700}
    assert {mode(path) for path in made if path.is_file()} == {0o600}
    assert {path.name for path in made if path.is_file()} == {"run.json", "events.jsonl", "samples-0.parquet"}


def test_an_empty_folder_that_is_given_for_a_run_is_closed_to_others(tmp_path: Path) -> None:
    given = tmp_path / "out"
    given.mkdir()
    given.chmod(0o755)
    RunDirectory.create(given)
    assert mode(given) == 0o700


def test_what_other_programs_wrote_is_closed_to_others_at_the_end(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    journal = run.chaos_journal("kill", 1)
    with umask(0):
        journal.write_text("{}")
    run.redact_foreign_files()
    assert mode(journal) == 0o600


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    with umask(0):
        assert private.make_folder(shared / "a" / "b") == shared / "a" / "b"
    assert [mode(path) for path in (shared, shared / "a", shared / "a" / "b")] == [0o775, 0o700, 0o700]


def test_a_crash_file_is_its_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with umask(0):
        said = write_crash(ValueError("x"))
    (path,) = (tmp_path / "state" / "faultload" / "crashes").iterdir()
    assert said.endswith(str(path)) and mode(path) == 0o600
    assert {mode(folder) for folder in path.parents if tmp_path in folder.parents} == {0o700}


def _link(path: Path) -> None:
    path.with_name("precious").write_text("precious")
    path.symlink_to(path.with_name("precious"))


def _hard_link(path: Path) -> None:
    path.with_name("precious").write_text("precious")
    path.hardlink_to(path.with_name("precious"))


TRAPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a symbolic link": (_link, "it is a symbolic link of user"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "it is a symbolic link of user"),
    "a FIFO": (os.mkfifo, "it is a FIFO of user"),
    "a folder": (Path.mkdir, "it is a folder of user"),
    "another name of a file": (_hard_link, "it is a file of user"),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("what", ["a lock", "the ports that are given out"])
def test_a_trap_in_tmp_is_refused_by_name_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, trap: str
) -> None:
    path = tmp_path / f"faultload-ports-{os.getuid()}"
    lay, says = TRAPS[trap]
    lay(path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Refused, match=f"{re.escape(str(path))}.*{says} {os.getuid()}; remove it"):
        private.lock_file(path) if what == "a lock" else free_ports(1)
    precious = path.with_name("precious")
    assert not precious.exists() or precious.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    os.chown(path, 12345, 12345)
    with pytest.raises(Refused, match=r"it is a file of user 12345; remove it"):
        private.lock_file(path)


MAKES = {"write_text", "write_bytes", "mkdir", "makedirs", "touch", "copyfile", "copy", "mkstemp", "mkdtemp"}
ELSEWHERE = {
    "host/private.py",
    "host/state.py",  # a temporary file, which tempfile makes private
    "load/worker.py",  # a file of /proc
    "reference/host/startrecord.py",  # a folder that must be new, with the same mode
    "faults/rbac.py",  # the manifests of this repository
}


def _makes(node: ast.AST) -> bool:
    """Whether a call makes a file or folder with modes of its own; `x.write_text` of a run directory does not."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="run" | "self" | "together"), attr="write_text")):
            return False
        case ast.Call(func=ast.Attribute(value=ast.Name(id="shutil" | "tempfile" | "os"), attr=name)):
            return name in MAKES
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in MAKES - {"copy"}
        case ast.Call(func=ast.Name(id="open"), args=[_, ast.Constant(value=str(way))]):
            return way[0] in "wax"
    return False


def test_nothing_else_decides_how_files_are_made() -> None:
    """Agents are alone in their targets, and write no file of a run."""
    root = Path(private.__file__).parents[1]
    files = [file for file in root.rglob("*.py") if "agents" not in file.parts]
    makers = {
        file.relative_to(root).as_posix()
        for file in files
        if any(_makes(node) for node in ast.walk(ast.parse(file.read_text())))
    }
    assert len(files) > 200 and makers == ELSEWHERE
