"""What Chaos Toolkit would refuse, or leave out in silence, is refused before anything starts, with its line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_chaos_toolkit import experiment, ours, probe
from small_workspace import SmallWorkspace

from faultload.chaos.validity import refusals
from faultload.commands.validate import validate_files
from faultload.errors import InvalidInput
from faultload.run.prepare import RunOptions, prepare

Change = Callable[[dict[str, Any]], object]
HTTP = {"type": "http", "url": "http://127.0.0.1:9/"}


def written(folder: Path, change: Change) -> Path:
    content = copy.deepcopy(experiment())
    change(content)
    file = folder / "e.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def hypothesis(**probe_: Any) -> dict[str, Any]:
    return {"steady-state-hypothesis": {"title": "h", "probes": [{"type": "probe", "name": "p", **probe_}]}}


def control(module: str) -> list[dict[str, Any]]:
    return [{"name": "c", "provider": {"type": "python", "module": module}}]


def test_an_experiment_with_all_that_a_team_may_add_is_in_order(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "0123456789")

    def add(content: dict[str, Any]) -> None:
        content.update(hypothesis(tolerance=200, provider=HTTP), controls=control("json"))
        content["secrets"] = {"shop": {"token": {"type": "env", "key": "SHOP_TOKEN"}, "path": {"type": "vault"}}}
        content["configuration"]["target"] = {"type": "env", "key": "FAULTLOAD_TARGET"}
        content["method"].insert(1, {**probe("size", "os", "getpid"), "background": True, "pauses": {"before": 1}})
        content["method"].append({"ref": "size"})

    assert refusals(written(tmp_path, add)) == []


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        (lambda e: e["configuration"].update(t={"type": "env", "key": "NO_SUCH"}), "configuration.t", "NO_SUCH"),
        (lambda e: e.update(secrets={"a": {"t": {"type": "env", "key": "NO_SUCH"}}}), "secrets.a.t", "NO_SUCH"),
        (lambda e: e.update(secrets=["a"]), "secrets", "must be a mapping"),
        (lambda e: e["method"].append(probe("p", "no_such", "f")), "method[2]", "'no_such'"),
        (lambda e: e["method"].append(probe("p", "os", "no_such")), "method[2]", "'no_such'"),
        (lambda e: e["method"].append(probe("p", "os", "stat", way=1)), "method[2]", "missing"),
        (lambda e: e["rollbacks"].append(probe("p", "no_such", "f")), "rollbacks[1]", "'no_such'"),
        (lambda e: e["method"].append({"ref": "no such"}), None, "no such"),
        (lambda e: e["method"].append({"ref": "pause"}), "method[2].ref", "played once"),
        (lambda e: e.update(hypothesis(provider=HTTP)), "steady-state-hypothesis.probes[0]", "tolerance"),
        (
            lambda e: e.update(hypothesis(provider=HTTP, tolerance={"type": "regex", "pattern": "("})),
            "steady-state-hypothesis.probes[0]",
            "pattern",
        ),
        (lambda e: e.update({"steady-state-hypothesis": {"probes": []}}), "steady-state-hypothesis", "title"),
        (lambda e: e["runtime"].update(hypothesis={"strategy": "often"}), "runtime.hypothesis", "'often'"),
        (lambda e: e.update(controls=control("no_such")), "controls[0]", "go on without this control"),
        (lambda e: e["method"][1].update(controls=control("no_such")), "method[1].controls[0]", "no_such"),
        (lambda e: e.update(controls=[None]), "controls[0]", "cannot use this"),
        (lambda e: e["method"][0].update(background=True), "method[0].background", "pause cannot run"),
        (lambda e: e["rollbacks"][0].update(background=True), "rollbacks[0].background", "undo cannot run"),
        (lambda e: e["method"][0].update(pauses={"before": 1}), "method[0].pauses", "does not move the fault"),
        (lambda e: e["method"][1].update(pauses="long"), "method[1]", "cannot use this"),
        (lambda e: e.update(dry="actions"), "dry", "takes no notice"),
        (lambda e: e["method"][1].update(dry="actions"), "method[1].dry", "takes no notice"),
        (lambda e: e.update(extensions=[{"a": 1}]), None, "name"),
    ],
)  # fmt: skip
def test_it_is_refused_by_name(tmp_path: Path, change: Change, key: str | None, said: str) -> None:
    file = written(tmp_path, change)
    (mistake,) = refusals(file)
    assert mistake.key == key and said in str(mistake)
    assert mistake.file == file and mistake.line is not None
    assert validate_files([str(file)], tmp_path).mistakes == [mistake]


def test_an_undo_in_the_method_is_sent_to_the_rollbacks(tmp_path: Path) -> None:
    file = written(tmp_path, lambda e: e["method"].append(ours("undo", fault="pause")))
    (mistake,) = validate_files([str(file)], tmp_path).mistakes
    assert "undo belongs to the rollbacks" in str(mistake)


def test_a_run_is_refused_before_it_starts(workspace: SmallWorkspace) -> None:
    file = next((workspace.folder / "experiments").rglob("*.yaml"))
    content = yaml.safe_load(file.read_text())
    content["secrets"] = {"shop": {"token": {"type": "env", "key": "NO_SUCH"}}}
    file.write_text(yaml.safe_dump(content))
    scenario = next((workspace.folder / "scenarios").rglob("*.yaml"))
    with pytest.raises(InvalidInput, match="NO_SUCH"):
        prepare(scenario, RunOptions())
    assert any("NO_SUCH" in str(one) for one in validate_files([str(scenario)], workspace.folder).mistakes)
