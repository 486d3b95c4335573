"""Verifiers: acknowledged writes that are missing are found, and what cannot be looked at is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from faultload.load import acknowledge, attempt, observe, verify, words
from faultload.load.columns import Columns
from faultload.record.directory import RunDirectory
from faultload.record.tables import read

JOURNEYS = """
from locust import task
from faultload.load import Journey, verifies

class Write(Journey):
    @task
    def write(self): ...

@verifies("store")
def in_store(keys, target):
    assert len(keys) <= 200
    return {key for key in keys if not key.endswith("7")} | {"another"}

@verifies("broken", after_s=0.2)
def broken(keys, target):
    raise ConnectionError("no " + target["name"])
"""


def make_run(folder: Path, rows: list[tuple[int, str, str]]) -> RunDirectory:
    (folder / "writing.py").write_text(JOURNEYS)
    run = RunDirectory.create(folder / "run")
    load = {"host": "http://127.0.0.1:9", "journeys": str(folder / "writing.py"), "stages": [], "seed": 1}
    run.begin({"load": load})
    table = Columns(run.path, "writes", 0)
    for t_ns, key, state in rows:
        table.add(t_ns, table.code(key), table.code(state))
    table.close()
    return run


def test_missing_acknowledged_keys_and_present_indeterminate_ones_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target.yaml"
    target.write_text("name: store\n")
    monkeypatch.setenv("FAULTLOAD_TARGET", str(target))
    keys = [f"key-{number}" for number in range(1000)]
    rows = [(1, key, "attempted") for key in keys]
    rows += [(2, key, "acknowledged") for key in keys[:700]]
    run = make_run(tmp_path, rows)
    found = verify.verify(run, retry_s=0)
    assert found == json.loads(run.write_checks_path.read_text())
    assert (found["acknowledged"], found["indeterminate"]) == (700, 300)
    store, broken = found["checks"]
    assert store["name"] == "store"
    assert (store["checked"], store["missing_count"], store["indeterminate_present"]) == (700, 70, 270)
    assert store["missing"][:2] == ["key-7", "key-17"]
    assert store["error"] is None
    assert broken["error"] == "ConnectionError: no store"
    assert broken["checked"] == 0


def test_a_run_without_writes_has_nothing_to_check(tmp_path: Path) -> None:
    found = verify.verify(make_run(tmp_path, []))
    assert found == {"acknowledged": 0, "indeterminate": 0, "checks": []}


def test_at_most_100_missing_keys_are_named() -> None:
    verifier = words.Verifier("none", 0, lambda keys, target: set())
    result = verify.check(verifier, [str(k) for k in range(500)], [], {})
    assert (result["missing_count"], len(result["missing"])) == (500, 100)


def test_a_verifier_that_stumbles_is_asked_again() -> None:
    calls: list[int] = []

    def stumbles(keys: list[str], target: dict[str, Any]) -> set[str]:
        calls.append(len(keys))
        if len(calls) == 1:
            raise OSError("not yet")
        return set(keys)

    result = verify.check(words.Verifier("x", 0, stumbles), ["a"], [], {}, retry_s=5)
    assert (result["error"], result["missing_count"], len(calls)) == (None, 0, 2)


def test_outside_a_run_the_words_do_nothing() -> None:
    words.send_to(None)
    observe("anything", 1)
    attempt("key")
    acknowledge("key")


def test_rows_keep_their_texts_over_flushes(tmp_path: Path) -> None:
    table = Columns(tmp_path, "observations", 0)
    for batch in (["a", "b", "a"], ["c", None, "b"]):
        for value, name in enumerate(batch):
            table.add(value, table.code(name), value / 2, table.code("J"), table.code(None))
        table.write(table.take())
    table.close()
    rows = read(tmp_path, "observations")
    assert rows["name"].to_pylist() == ["a", "b", "a", "c", None, "b"]
    assert rows["value"].to_pylist() == [0, 0.5, 1, 0, 0.5, 1]
    assert set(rows["variant"].to_pylist()) == {None}
