"""The notebooks run from a clean kernel, show their figures and hold no outputs; their data is small and clean."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from parts import round_number
from repeats import WHOLE

from faultload.record.directory import RunDirectory
from faultload.verdict.judge import judge

FOLDER = Path(__file__).parents[3] / "notebooks"
DATA = FOLDER / "data"
FIGURES = {"anatomy_of_a_failover": 4, "finding_capacity": 3, "comparing_two_builds": 5, "planning_a_test": 2}
LARGEST_DATA_BYTES = 2_500_000
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|work|usr|var|opt|Users|mnt|srv)/|\b[A-Z]:\\")
NO_NETWORK = """
import sys

def _refuse(event, args):
    if event == "socket.getaddrinfo" and args[0] not in (None, "", "localhost", "127.0.0.1", "::1"):
        raise OSError(f"a notebook asked for {args[0]}")
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in ("127.0.0.1", "::1"):
        raise OSError(f"a notebook connects to {args[1]}")

sys.addaudithook(_refuse)
"""

by_notebook = pytest.mark.parametrize("name", FIGURES)


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AsyncKernelManager]:
    """A kernel of this very interpreter, that leaves the home folder alone and refuses the network.

    It is talked to over sockets in a folder: TCP ports would be chosen here and bound by the kernel a second later,
    when they may be another's. The folder's name is short, as such a socket's has to be.
    """
    for variable, folder in (
        ("JUPYTER_RUNTIME_DIR", "runtime"),
        ("IPYTHONDIR", "ipython"),
        ("MPLCONFIGDIR", "mpl"),
    ):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / folder))
    startup = tmp_path / "ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "00-no-network.py").write_text(NO_NETWORK)
    spec = tmp_path / "kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    found = KernelSpecManager(kernel_dirs=[str(spec.parents[1])])
    with tempfile.TemporaryDirectory() as sockets:
        yield AsyncKernelManager(
            kernel_name="python3", kernel_spec_manager=found, transport="ipc", ip=f"{sockets}/kernel"
        )


def run(notebook: Any, kernel: AsyncKernelManager) -> None:
    where = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, km=kernel, timeout=120, resources=where).execute()


def test_these_are_all_the_notebooks() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(FIGURES)


@by_notebook
def test_a_notebook_is_stored_without_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.metadata == {}
    for cell in code(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


@by_notebook
def test_a_notebook_names_no_path_of_a_machine(name: str) -> None:
    assert not ABSOLUTE_PATH.search((FOLDER / f"{name}.ipynb").read_text())


@pytest.mark.parametrize("name", FIGURES if WHOLE else [sorted(FIGURES)[round_number() % len(FIGURES)]])
def test_a_notebook_runs_from_the_top_and_shows_its_figures(name: str, kernel: AsyncKernelManager) -> None:
    notebook = read(name)
    run(notebook, kernel)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) == FIGURES[name]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]


@by_notebook
def test_a_notebook_asserts_what_it_tells(name: str) -> None:
    assert sum("assert " in cell.source for cell in code(read(name))) >= 2


def test_a_notebook_whose_story_is_not_true_does_not_run(kernel: AsyncKernelManager) -> None:
    """Without its last steps the load never saturated: the capacity is not bracketed, and the notebook says so."""
    notebook = read("finding_capacity")
    at = next(i for i, cell in enumerate(notebook.cells) if "bracket = capacity_bracket(steps)" in cell.source)
    notebook.cells = notebook.cells[: at + 1]
    notebook.cells[at].source = f"steps = [step for step in steps if step.kept_up]\n{notebook.cells[at].source}"
    with pytest.raises(Exception, match="AssertionError"):
        run(notebook, kernel)


def test_the_kernel_of_these_tests_refuses_the_network(kernel: AsyncKernelManager) -> None:
    cell = nbformat.v4.new_code_cell("import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)")
    with pytest.raises(Exception, match=r"a notebook (connects to|asked for)"):
        run(nbformat.v4.new_notebook(cells=[cell]), kernel)


def test_the_data_stays_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) <= LARGEST_DATA_BYTES


def recordings() -> list[Path]:
    return sorted(path.parent for path in DATA.rglob("run.json"))


def texts(path: Path) -> list[str]:
    if path.suffix != ".parquet":
        return path.read_text().splitlines()
    table = pq.read_table(path)
    names = [field.name for field in table.schema if pa.types.is_string(field.type)]
    told = [str(value) for value in (table.schema.metadata or {}).values()]
    return told + [text for name in names for text in set(table[name].to_pylist()) if text is not None]


@pytest.mark.parametrize("folder", recordings(), ids=lambda folder: folder.relative_to(DATA).as_posix())
def test_a_recording_is_readable_and_names_no_machine(folder: Path) -> None:
    assert judge(RunDirectory.existing(folder)).overview.count > 0
    info = json.loads((folder / "run.json").read_text())
    assert not {"file", "command", "machine", "secrets"} & set(info)
    assert not Path(info["load"]["journeys"]).is_absolute()
    for path in folder.iterdir():
        assert not [text for text in texts(path) if ABSOLUTE_PATH.search(text)], path.name


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("keep", DATA / "keep.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path / "data")
    return module


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run as it is recorded: with the command, the machine, and paths."""
    run = tmp_path / "runs/made"
    shutil.copytree(DATA / "failover", run)
    info = json.loads((run / "run.json").read_text())
    info |= {"file": "/home/ada/x.yaml", "command": ["faultload", "run"], "machine": {"system": "Linux"}}
    info["load"]["journeys"] = "/home/ada/work/loadtests/memory.py"
    (run / "run.json").write_text(json.dumps(info))
    faults = [json.loads(line) for line in (run / "faults.jsonl").read_text().splitlines()]
    lines = [json.dumps({**line, "undo": {"cwd": "/home/ada"}}) for line in faults]
    (run / "faults.jsonl").write_text("\n".join(lines) + "\n")
    return run


def event(run: Path, text: str) -> None:
    with open(run / "events.jsonl", "a") as file:
        file.write(json.dumps({"t": 1.0, "kind": "note", "what": "note", "text": text}) + "\n")


def keep_run(keep: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Path:
    monkeypatch.setattr(sys, "argv", ["keep.py", *arguments])
    keep.main()
    return Path(keep.HERE / arguments[1])


def test_a_kept_run_is_judged_like_the_run(
    keep: ModuleType, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event(recorded, "see /home/ada/run/worker.log, please")
    kept = keep_run(keep, monkeypatch, str(recorded), "made")
    assert judge(RunDirectory.existing(kept)).verdict == judge(RunDirectory.existing(recorded)).verdict
    told = "\n".join(text for path in kept.iterdir() for text in texts(path))
    assert "ada" not in told
    assert "see worker.log, please" in told
    assert json.loads((kept / "run.json").read_text())["load"]["journeys"] == "loadtests/memory.py"


def test_a_kept_run_has_no_keys_of_writes(
    keep: ModuleType, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pq.read_table(recorded / "writes-0.parquet")
    keyed = table.set_column(1, table.schema.field(1), pa.array(["a key"] * len(table)))
    pq.write_table(keyed, recorded / "writes-0.parquet")
    kept = pq.read_table(keep_run(keep, monkeypatch, str(recorded), "made") / "writes-0.parquet")
    assert kept["key"].null_count == len(kept) == len(table)
    assert kept.drop_columns("key").equals(table.drop_columns("key"))


@pytest.mark.parametrize("trace", ["ada", "box-17", "/folk/ada"])
def test_a_copy_that_names_the_machine_is_refused(
    keep: ModuleType, recorded: Path, monkeypatch: pytest.MonkeyPatch, trace: str
) -> None:
    monkeypatch.setattr(keep.getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(keep.socket, "gethostname", lambda: "box-17")
    monkeypatch.setenv("HOME", "/folk/ada")
    event(recorded, f"on {trace} today")
    with pytest.raises(SystemExit, match="still names"):
        keep_run(keep, monkeypatch, str(recorded), "made")
    assert not (keep.HERE / "made").exists()


def test_only_finished_runs_are_kept(
    keep: ModuleType, recorded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (recorded / "samples-0.arrows").touch()
    with pytest.raises(SystemExit, match="not a finished run"):
        keep_run(keep, monkeypatch, str(recorded), "made")
    with pytest.raises(SystemExit, match="does not lie in"):
        keep_run(keep, monkeypatch, str(recorded), "../elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", [*FIGURES, "reading"])
def test_of_faultload_a_notebook_uses_the_public_way_into_a_run_alone(name: str) -> None:
    source = (
        (FOLDER / "reading.py").read_text()
        if name == "reading"
        else "\n".join(line for cell in code(read(name)) for line in cell.source.split("\n") if line[:1] != "%")
    )
    nodes = list(ast.walk(ast.parse(source)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    of_ours = {one for one in imported if one.split(".")[0] == "faultload"}
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "faultload"
    }
    assert (of_ours, used) in (({"faultload"}, {"open"}), (set(), set()))
